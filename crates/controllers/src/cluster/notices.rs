//! Telling people: notices become Events beside their objects.
//!
//! Events are a courtesy: they are written by one task from a bounded queue, and when that is full they are dropped
//! with a line in the log, so that no decision ever waits for them. The same notice again raises a counter.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;
use naru_client::{Client, ClientError, ObjectRef, PatchKind, Resource};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Clock;
use crate::plan::Notice;
use crate::resources::EVENTS;
use crate::views::Owner;

/// Notices that wait to be written.
const WAITING: usize = 1024;
/// Notices that are remembered, so that repetition is counted.
const REMEMBERED: usize = 4096;

/// The way to the writing task.
pub(super) struct Notices {
    sender: mpsc::Sender<Notice>,
    /// How many were dropped since one was last taken.
    dropped: AtomicU64,
}

/// Which notices are the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Same(String, &'static str, String);

/// The Event of an earlier notice.
struct Told {
    namespace: String,
    name: String,
    count: u32,
}

struct Writer {
    client: Client,
    clock: Clock,
    told: HashMap<Same, Told>,
    order: VecDeque<Same>,
}

impl Notices {
    pub(super) fn start(client: Client, clock: Clock) -> Self {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let mut writer = Writer { client, clock, told: HashMap::new(), order: VecDeque::new() };
        tokio::spawn(async move {
            while let Some(notice) = receiver.recv().await {
                writer.write(notice).await;
            }
        });
        Notices { sender, dropped: AtomicU64::new(0) }
    }

    pub(super) fn tell(&self, notice: Notice) {
        // Thousands may be dropped in a second: that is one line.
        match self.sender.try_send(notice) {
            Err(_) => {
                if self.dropped.fetch_add(1, Relaxed) == 0 {
                    tracing::warn!("events are dropped: too many wait to be written");
                }
            }
            Ok(()) if self.sender.capacity() > WAITING / 2 => {
                let dropped = self.dropped.swap(0, Relaxed);
                if dropped > 0 {
                    tracing::warn!(dropped, "events are written again");
                }
            }
            Ok(()) => {}
        }
    }

    /// Tells the owner of an object why that could not be created.
    pub(super) fn tell_refused(&self, object: &Value, error: &ClientError) {
        let why = error.status().map_or_else(|| error.to_string(), |status| status.message.clone());
        self.tell_owner(object, true, "FailedCreate", &|_| format!("Error creating: {why}"));
    }

    /// Tells the owner of a pod that it was created.
    pub(super) fn tell_created(&self, pod: &Value) {
        let name = naru_api::meta::name(pod);
        self.tell_owner(pod, false, "SuccessfulCreate", &|owner| match owner.kind.as_str() {
            "StatefulSet" => format!("create Pod {name} in StatefulSet {} successful", owner.name),
            _ => format!("Created pod: {name}"),
        });
    }

    fn tell_owner(&self, object: &Value, warning: bool, reason: &'static str, message: &dyn Fn(&Owner) -> String) {
        let owner: Option<Owner> = serde_json::from_value(object["metadata"]["ownerReferences"][0].clone()).ok();
        let Some(owner) = owner.filter(|owner| !owner.uid.is_empty()) else { return };
        let message = message(&owner);
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        self.tell(Notice {
            resource: Resource {
                group: group.to_owned().into(),
                version: version.to_owned().into(),
                kind: owner.kind.into(),
                plural: "".into(),
                namespaced: true,
            },
            key: ObjectRef::new(object["metadata"]["namespace"].as_str().unwrap_or_default(), &owner.name),
            uid: owner.uid,
            warning,
            reason,
            message,
        });
    }
}

impl Writer {
    async fn write(&mut self, notice: Notice) {
        let now = (self.clock)();
        let same = Same(notice.uid.clone(), notice.reason, notice.message.clone());
        if let Some(told) = self.told.get_mut(&same) {
            let api = self.client.dynamic(EVENTS, Some(&told.namespace));
            let patch = json!({ "count": told.count + 1, "lastTimestamp": naru_api::meta::time(now) });
            match api.patch(&told.name, PatchKind::Merge, &patch).await {
                Ok(_) => {
                    told.count += 1;
                    return;
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return tracing::debug!(%error, "an event was not counted"),
            }
        }
        let event = event(&notice, now);
        let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        match self.client.dynamic(EVENTS, Some(&namespace)).create(&event).await {
            Ok(created) => {
                let name = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if self.told.insert(same.clone(), Told { namespace, name, count: 1 }).is_none() {
                    self.order.push_back(same);
                }
                if self.order.len() > REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.told.remove(&oldest);
                }
            }
            Err(error) => tracing::debug!(%error, reason = notice.reason, "an event was not written"),
        }
    }
}

fn event(notice: &Notice, now: Timestamp) -> Value {
    let time = naru_api::meta::time(now);
    let namespace = notice.key.scope().unwrap_or("default");
    let mut involved = json!({
        "apiVersion": notice.resource.api_version(),
        "kind": notice.resource.kind,
        "name": &*notice.key.name,
        "uid": notice.uid,
    });
    if let Some(namespace) = notice.key.scope() {
        involved["namespace"] = namespace.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": format!("{}.", notice.key.name), "namespace": namespace },
        "involvedObject": involved,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": notice.reason,
        "message": notice.message,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
        "source": { "component": "naru-controllers" },
        "reportingComponent": "naru-controllers",
        "reportingInstance": "",
    })
}
