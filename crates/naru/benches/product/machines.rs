//! Several machines in little: a server and workers on one wire, with the benchmarks' image on each.

use naru_testkit::{Host, HostOptions, Lan};
use serde_json::json;

use crate::host::{Bench, NAMESPACE, program, worker_image};

/// A cluster.
pub struct Machines {
    pub server: Bench,
    pub workers: Vec<Host>,
}

impl Machines {
    /// A server and so many machines that belong nowhere yet; `None`, said aloud, where the machine lacks something.
    pub fn apart(workers: usize) -> Option<Self> {
        let lan = Lan::new()?;
        let start = |idle: bool| {
            let options =
                HostOptions { images: Some(Vec::new()), idle, lan: Some(lan.clone()), ..HostOptions::default() };
            Host::start_with(&program(), options)
        };
        let server = Bench { host: start(false)? };
        let workers = (0..workers).map(|_| start(true)).collect::<Option<Vec<Host>>>()?;
        Some(Self { server, workers })
    }

    /// The same, joined as `w1`…, with the image on each and the benchmarks' namespace.
    pub fn joined(workers: usize) -> Option<Self> {
        let machines = Self::apart(workers)?;
        let token = machines.token()?;
        let archive = worker_image();
        machines.server.load(&archive);
        for (at, worker) in machines.workers.iter().enumerate() {
            worker.naru(&["join", &token, "--node-name", &format!("w{}", at + 1)]).ok();
            worker.naru(&["image", "load", "-i", &archive.to_string_lossy()]).ok();
        }
        machines.server.call("POST", "/api/v1/namespaces", Some(&json!({"metadata": {"name": NAMESPACE}})));
        Some(machines)
    }

    /// What machines join with.
    pub fn token(&self) -> Option<String> {
        let line = self.server.host.naru(&["token", "create"]).ok().text().trim().to_owned();
        line.strip_prefix("naru join ").map(str::to_owned)
    }

    /// Makes a Deployment of the worker.
    pub fn deploy(&self, name: &str, replicas: usize) {
        let labels = json!({"app": name});
        let container = json!({"name": "main", "image": crate::host::IMAGE});
        let deployment = json!({"metadata": {"name": name}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}}});
        self.server.call("POST", &format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"), Some(&deployment));
    }
}
