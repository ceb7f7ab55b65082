//! Pods of a namespace as the API tells of them, seen the moment it does.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::http;
use crate::stamps::PATIENCE;

/// A watch; its thread ends with the server.
pub struct PodWatch {
    events: Receiver<(Instant, Value)>,
    /// Name of each pod, and whether its containers run.
    pods: BTreeMap<String, bool>,
}

impl PodWatch {
    /// Watches the pods of a namespace.
    pub fn start(socket: &Path, namespace: &str) -> Self {
        let path = format!("/api/v1/namespaces/{namespace}/pods?watch=1");
        let (status, reader) = http::open(socket, "GET", &path, None).expect("a watch");
        assert_eq!(status, 200, "{path}");
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let at = Instant::now();
                let event = serde_json::from_str(&line).unwrap_or(Value::Null);
                if sender.send((at, event)).is_err() {
                    return;
                }
            }
        });
        Self { events, pods: BTreeMap::new() }
    }

    /// When the pods became so.
    pub fn until(&mut self, what: &str, holds: impl Fn(&BTreeMap<String, bool>) -> bool) -> Instant {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let (at, event) = event.unwrap_or_else(|error| panic!("{what}: {error}; pods: {}", self.pods.len()));
            let pod = &event["object"];
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let is_gone = event["type"] == "DELETED";
            let is_leaving = !pod["metadata"]["deletionTimestamp"].is_null();
            let containers = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            let running =
                !containers.is_empty() && containers.iter().all(|status| status["state"]["running"].is_object());
            match is_gone {
                true => self.pods.remove(&name),
                false => self.pods.insert(name, running && !is_leaving),
            };
            if holds(&self.pods) {
                return at;
            }
        }
    }
}
