//! Events: what happened to a pod, for `kubectl describe`.
//!
//! Repetitions are counted on one object instead of adding objects, as kubelet does. Events are best effort: a full queue
//! drops them, and nothing waits for them.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use naru_api::k8s::api::core::v1::Pod;
use naru_client::{Client, PatchKind, Resource};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::execute::UNBOUND;
use crate::machine::{Effect, EffectError, Outcome, Why};

const QUEUE: usize = 1024;
/// After this long a repetition is news again.
const FORGET: Duration = Duration::from_secs(3600);
/// How long a claim may be without its volume before anybody is told.
const CLAIM_PATIENCE: SignedDuration = SignedDuration::from_secs(3);
const REMEMBERED: usize = 4096;

/// What happened, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// CamelCase.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// The container it is about.
    pub container: Option<String>,
}

impl Note {
    /// Something expected.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Note {
        Note { warning: false, reason, message: message.into(), container: None }
    }

    /// Something a user should look at.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Note {
        Note { warning: true, ..Note::normal(reason, message) }
    }

    /// About one container.
    pub fn of(mut self, container: &str) -> Note {
        self.container = Some(container.to_owned());
        self
    }
}

struct Sent {
    involved: Value,
    namespace: String,
    note: Note,
    at: Timestamp,
}

/// Takes notes; clones share the queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Sent>,
}

impl Recorder {
    /// Starts the task that writes events for this node.
    pub fn start(client: Client, node: &str) -> Recorder {
        let (queue, inbox) = mpsc::channel(QUEUE);
        tokio::spawn(write(client, node.to_owned(), inbox));
        Recorder { queue }
    }

    /// Notes something about a pod.
    pub fn note(&self, pod: &Pod, note: Note) {
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let mut involved = json!({
            "kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": meta.name, "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        });
        if let Some(container) = &note.container {
            let is = |list: Option<&Vec<naru_api::k8s::api::core::v1::Container>>| {
                list.into_iter().flatten().any(|known| known.name == *container)
            };
            let init = is(pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()));
            let list = if init { "initContainers" } else { "containers" };
            involved["fieldPath"] = json!(format!("spec.{list}{{{container}}}"));
        }
        tracing::debug!(pod = %meta.name.as_deref().unwrap_or_default(), reason = note.reason, message = %note.message, "event");
        // A full queue means a storm of events: dropping one is better than holding a pod up.
        let _ = self.queue.try_send(Sent { involved, namespace, note, at: Timestamp::now() });
    }
}

impl Recorder {
    /// Notes something about an object that belongs to no namespace.
    pub fn note_about(&self, involved: Value, note: Note) {
        let _ = self.queue.try_send(Sent { involved, namespace: "default".into(), note, at: Timestamp::now() });
    }
}

/// An event already in the API.
struct Known {
    name: String,
    count: u64,
    last: Timestamp,
}

async fn write(client: Client, node: String, mut inbox: mpsc::Receiver<Sent>) {
    let resource = Resource {
        group: "".into(),
        version: "v1".into(),
        kind: "Event".into(),
        plural: "events".into(),
        namespaced: true,
    };
    let mut known: HashMap<(String, &'static str, String), Known> = HashMap::new();
    while let Some(Sent { involved, namespace, note, at }) = inbox.recv().await {
        let api = client.dynamic(resource.clone(), Some(&namespace));
        let key = (format!("{}{}", involved["uid"], involved["fieldPath"]), note.reason, note.message.clone());
        let fresh = known
            .get(&key)
            .filter(|seen| Duration::try_from(at.duration_since(seen.last)).is_ok_and(|age| age < FORGET));
        if let Some(seen) = fresh {
            let count = seen.count + 1;
            let patch = json!({"count": count, "lastTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
            if api.patch(&seen.name, PatchKind::Merge, &patch).await.is_ok() {
                let name = seen.name.clone();
                known.insert(key, Known { name, count, last: at });
                continue;
            }
        }
        let name = format!("{}.{:x}", involved["name"].as_str().unwrap_or_default(), rand::random::<u64>());
        let stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved, "reason": note.reason, "message": note.message,
            "type": if note.warning { "Warning" } else { "Normal" },
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet", "reportingInstance": node,
            "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1,
        });
        match api.create(&event).await {
            Ok(_) => {
                if known.len() >= REMEMBERED {
                    known.retain(|_, seen| {
                        Duration::try_from(at.duration_since(seen.last)).is_ok_and(|age| age < FORGET / 4)
                    });
                }
                known.insert(key, Known { name, count: 1, last: at });
            }
            // The namespace may be on its way out.
            Err(error) => tracing::debug!(%error, reason = note.reason, "an event was not written"),
        }
    }
}

/// What the end of an effect is worth telling. Pulls tell more themselves.
pub(crate) fn of_effect(effect: &Effect, result: &Result<Outcome, EffectError>) -> Option<Note> {
    match (effect, result) {
        (Effect::Start { container, .. }, Ok(_)) => {
            Some(Note::normal("Started", format!("Started container {container}")).of(container))
        }
        (Effect::Start { container, .. } | Effect::Pull { container }, Err(error)) => {
            Some(Note::warning("Failed", format!("Error: {}: {}", error.reason, error.message)).of(container))
        }
        (Effect::Mount, Err(error)) => Some(Note::warning("FailedMount", error.message.clone())),
        (Effect::CreateSandbox { .. } | Effect::Attach, Err(error)) => {
            Some(Note::warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {}", error.message)))
        }
        (Effect::PostStart { container }, Err(error)) => {
            Some(Note::warning("FailedPostStartHook", format!("PostStartHook failed: {}", error.message)).of(container))
        }
        (Effect::PreStop { container }, Err(error)) => {
            Some(Note::warning("FailedPreStopHook", format!("PreStopHook failed: {}", error.message)).of(container))
        }
        (Effect::DestroySandbox | Effect::Detach | Effect::Unmount | Effect::Clean, Err(error)) => {
            Some(Note::warning("FailedKillPod", format!("error killing pod: {}", error.message)))
        }
        (Effect::End { reason: "Evicted", message }, _) => Some(Note::warning("Evicted", message.clone())),
        (Effect::End { reason, message }, _) => Some(Note::normal(reason, message.clone())),
        (Effect::BeginStop { container, why, .. }, _) => Some(killing(container, why)),
        _ => None,
    }
}

/// A new claim gets its volume a moment after its pod: only a wait that lasts is news.
pub(crate) fn is_early_wait(result: &Result<Outcome, EffectError>, waited: SignedDuration) -> bool {
    let unbound = result.as_ref().is_err_and(|error| error.reason == UNBOUND);
    unbound && waited < CLAIM_PATIENCE
}

fn killing(container: &str, why: &Why) -> Note {
    let text = match why {
        Why::Unhealthy(probe) => format!("Container {container} failed {probe}, will be restarted"),
        Why::HookFailed(_) => "FailedPostStartHook".to_owned(),
        Why::ImageChanged => format!("Container {container} definition changed, will be restarted"),
        Why::Restart => format!("Container {container} is restarted on request"),
        Why::Deleted | Why::Ended | Why::Power => format!("Stopping container {container}"),
    };
    Note::normal("Killing", text).of(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_without_its_volume_is_news_after_a_while() {
        let wait: Result<Outcome, EffectError> = Err(EffectError::new(UNBOUND, "not bound yet"));
        let other: Result<Outcome, EffectError> = Err(EffectError::new("FailedMount", "no such folder"));
        let seconds = SignedDuration::from_secs;
        assert!(is_early_wait(&wait, seconds(2)) && !is_early_wait(&wait, seconds(3)));
        assert!(!is_early_wait(&other, seconds(0)) && !is_early_wait(&Ok(Outcome::Done), seconds(0)));
    }
}
