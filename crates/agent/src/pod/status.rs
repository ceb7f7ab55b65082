//! Telling the API: one writer a pod, the newest status wins.
//!
//! At most one request is under way; what changes meanwhile is told once, as it stands when the answer came. A failed
//! write is repeated with the newest status, never queued.

use std::{sync::Arc, time::Duration};

use naru_api::{
    View,
    k8s::api::core::v1::{Pod, PodStatus},
    naru::names,
};
use naru_client::PatchKind;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::Node;

/// Gives the newest status to the writing task, which ends when this is dropped and the last one is written.
pub(super) struct StatusWriter {
    newest: watch::Sender<Option<PodStatus>>,
}

impl StatusWriter {
    /// Starts the writer of a pod.
    pub fn start(node: Arc<Node>, pod: Arc<Pod>) -> StatusWriter {
        let (newest, inbox) = watch::channel(None);
        tokio::spawn(write(node, pod, inbox));
        StatusWriter { newest }
    }

    /// Tells this status unless it was the last one told.
    pub fn tell(&self, status: PodStatus) {
        self.newest.send_if_modified(|last| {
            let differs = last.as_ref() != Some(&status);
            if differs {
                *last = Some(status);
            }
            differs
        });
    }
}

async fn write(node: Arc<Node>, pod: Arc<Pod>, mut inbox: watch::Receiver<Option<PodStatus>>) {
    let api = node.config.client.api::<Pod>(Some(pod.namespace()));
    while inbox.changed().await.is_ok() {
        let mut wait = Duration::from_millis(20);
        loop {
            let Some(status) = inbox.borrow_and_update().clone() else { break };
            match api
                .dynamic()
                .patch_subresource(pod.name(), "status", PatchKind::Strategic, &patch(pod.uid(), &status))
                .await
            {
                Ok(_) => break,
                // The object is gone, or another one has its name: nobody is left to tell.
                Err(error) if error.is_not_found() || error.is_conflict() => break,
                Err(error) if error.is_retriable() => {
                    tracing::debug!(pod = %pod.name(), %error, "a status was not told and is tried again");
                }
                Err(error) => {
                    tracing::warn!(pod = %pod.name(), error = %crate::chain(&error), "a status was refused");
                    break;
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }
}

/// A strategic patch that says everything this node owns, absences included.
fn patch(uid: &str, status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        absent(map, &["reason", "message", "podIP", "startTime"]);
        for condition in map.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                absent(condition, &["reason", "message"]);
            }
        }
        // A condition that is not named would stay.
        if let Some(list) = map.get_mut("conditions").and_then(Value::as_array_mut)
            && !list.iter().any(|condition| condition["type"] == names::UNHEALTHY)
        {
            list.push(json!({"type": names::UNHEALTHY, "$patch": "delete"}));
        }
        // These lists merge by address; what is told is the whole list.
        if let Some(list) = map.get_mut("podIPs").and_then(Value::as_array_mut) {
            list.push(json!({"$patch": "replace"}));
        }
    }
    json!({"metadata": {"uid": uid}, "status": value})
}

fn absent(map: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        map.entry(*key).or_insert(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use naru_api::k8s::api::core::v1::{PodCondition, PodIP};

    use super::*;

    #[test]
    fn what_no_longer_holds_is_taken_back() {
        let condition = PodCondition { type_: "Ready".into(), status: "True".into(), ..PodCondition::default() };
        let ips = vec![PodIP { ip: "10.42.0.2".into() }];
        let status = PodStatus { conditions: Some(vec![condition]), pod_ips: Some(ips), ..PodStatus::default() };
        let patch = patch("u", &status);
        assert_eq!(patch["metadata"]["uid"], "u");
        let status = patch["status"].as_object().unwrap();
        assert_eq!(status.get("message"), Some(&Value::Null));
        assert_eq!(patch["status"]["conditions"][0].get("reason"), Some(&Value::Null));
        assert_eq!(patch["status"]["podIPs"][1]["$patch"], "replace");
        let mut told = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False"}, {"type": "naru.io/Unhealthy", "status": "True"}]}});
        let pods = naru_api::Registry::builtin().find("pods").unwrap().clone();
        naru_api::patch::strategic(&pods, &mut told, &patch).unwrap();
        let kinds: Vec<_> = told["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
        assert_eq!(kinds, ["Ready"]);
    }
}
