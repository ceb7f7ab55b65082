//! Why a container does not come up, in one line.
//!
//! The pod's own status says most: no node takes it, its image cannot be had. What the status does not carry (a sandbox
//! that cannot be made, a volume that cannot be mounted) stands in the newest warning event of the pod.

use std::collections::BTreeMap;

use naru_api::k8s::api::core::v1::Event;
use naru_client::{Client, ClientError, ListOptions, Resource};
use serde_json::Value;

use super::container::{Container, State};

/// The newest warning of each pod, by its uid: reason and text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warnings {
    newest: BTreeMap<String, (String, String, String)>,
    /// What the last failed health test of a pod said.
    unhealthy: BTreeMap<String, (String, String)>,
}

/// Warnings that speak of what the status says better, or of a container that was started.
const ELSEWHERE: [&str; 5] = ["FailedScheduling", "Unhealthy", "BackOff", "Killing", "Evicted"];

/// Asks for the warnings of a namespace.
///
/// # Errors
/// When the server refuses or does not answer.
pub(crate) async fn warnings(client: &Client, namespace: &str) -> Result<Warnings, ClientError> {
    let events = client.dynamic(Resource::of::<Event>(), Some(namespace));
    let list = events.list(&ListOptions { fields: "type=Warning".to_owned(), ..ListOptions::default() }).await?;
    Ok(Warnings::of(&list.items))
}

impl Warnings {
    /// The newest of `events` for each pod.
    pub fn of(events: &[Value]) -> Self {
        let mut newest: BTreeMap<String, (String, String, String)> = BTreeMap::new();
        let mut unhealthy: BTreeMap<String, (String, String)> = BTreeMap::new();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for event in events.iter().filter(|event| event["involvedObject"]["kind"] == "Pod") {
            let reason = text(&event["reason"]);
            if reason == "Unhealthy" {
                let known = unhealthy.entry(text(&event["involvedObject"]["uid"])).or_default();
                let at = time(event);
                if at >= known.0.as_str() {
                    *known = (at.to_owned(), text(&event["message"]));
                }
            }
            if ELSEWHERE.contains(&reason.as_str()) {
                continue;
            }
            let at = time(event).to_owned();
            let known = newest.entry(text(&event["involvedObject"]["uid"])).or_default();
            if at >= known.0 {
                *known = (at, reason, text(&event["message"]));
            }
        }
        Self { newest, unhealthy }
    }

    /// Why a container was ended that its health test found unhealthy: a stop's codes alone do not tell it.
    pub fn of_end(&self, container: &Container) -> Option<String> {
        let State::Exited(137 | 143, ..) = container.state else { return None };
        let uid = container.object["metadata"]["uid"].as_str().unwrap_or_default();
        self.unhealthy.get(uid).map(|(_, message)| line("", message))
    }

    /// What keeps a container from being started, if anything is known to: nothing once it runs or has ended.
    pub fn of_container(&self, container: &Container) -> Option<String> {
        let (reason, message) = match &container.state {
            State::Waiting(reason, message) => (reason, message),
            // It ran, and waits for a new sandbox: its end is what is shown, and this is why no other start came.
            State::Exited(..) => return again(container),
            _ => return None,
        };
        if let Some(text) = unscheduled(&container.object) {
            return Some(text);
        }
        // Another container of the same pod is waited for: that one's state says why.
        if reason == "WaitingForDependency" {
            return None;
        }
        if !message.is_empty() {
            return Some(line(reason, message));
        }
        let uid = container.object["metadata"]["uid"].as_str().unwrap_or_default();
        let (_, reason, message) = self.newest.get(uid)?;
        Some(line(reason, message))
    }
}

/// When an event happened last.
fn time(event: &Value) -> &str {
    let times = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
    times.into_iter().find_map(Value::as_str).unwrap_or_default()
}

/// What keeps a container that ran before from being started again.
fn again(container: &Container) -> Option<String> {
    let statuses = container.object["status"]["containerStatuses"].as_array()?;
    let waiting = &statuses.iter().find(|status| status["name"] == container.name.as_str())?["state"]["waiting"];
    let message = waiting["message"].as_str().filter(|message| !message.is_empty())?;
    (waiting["reason"] == "ContainerCreating").then(|| line("", message))
}

/// Whether what is waited for comes by itself: a neighbour that is ending lets go of a volume.
pub(crate) fn passes(trouble: &str) -> bool {
    trouble.contains("waits until pod ")
}

/// A reason and its text on one line.
fn line(reason: &str, message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match (reason, message.as_str()) {
        ("", text) => text.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, text) => format!("{reason}: {text}"),
    }
}

/// Why no node takes a pod.
pub(crate) fn unscheduled(pod: &Value) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == "PodScheduled" && c["status"] == "False")?;
    Some(found["message"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::container::of_pod;
    use super::*;
    use serde_json::json;

    fn pod(status: &Value) -> Container {
        let pod = json!({
            "metadata": {"name": "p", "uid": "u", "labels": {"naru.io/service": "web"}},
            "spec": {"containers": [{"name": "web"}]},
            "status": status,
        });
        of_pod("shop", &pod).remove(0)
    }

    fn event(reason: &str, at: &str, message: &str) -> Value {
        json!({
            "involvedObject": {"kind": "Pod", "uid": "u"}, "reason": reason, "lastTimestamp": at, "message": message,
        })
    }

    #[test]
    fn the_newest_warning_speaks_where_the_status_is_silent() {
        let warnings = Warnings::of(&[
            event("FailedMount", "2026-01-01T00:00:02Z", "the second\nattempt"),
            event("FailedMount", "2026-01-01T00:00:01Z", "the first"),
            event("FailedScheduling", "2026-01-01T00:00:03Z", "was placed since"),
        ]);
        let waiting = json!({"containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        assert_eq!(warnings.of_container(&pod(&waiting)).as_deref(), Some("FailedMount: the second attempt"));
        assert_eq!(Warnings::default().of_container(&pod(&waiting)), None);
        let running = json!({"containerStatuses": [{"name": "web", "state": {"running": {}}}]});
        assert_eq!(warnings.of_container(&pod(&running)), None, "what was is over");
    }

    #[test]
    fn a_stop_for_ill_health_is_told_from_others() {
        let warnings = Warnings::of(&[
            event("Unhealthy", "2026-01-01T00:00:01Z", "first"),
            event("Unhealthy", "2026-01-01T00:00:02Z", "Liveness probe failed: no page"),
        ]);
        let ended = |code: i64| {
            pod(&json!({"containerStatuses": [{"name": "web", "state": {"terminated": {"exitCode": code}}}]}))
        };
        assert_eq!(warnings.of_end(&ended(143)).as_deref(), Some("Liveness probe failed: no page"));
        assert_eq!(warnings.of_end(&ended(3)), None, "its own end says more");
        assert_eq!(warnings.of_container(&ended(143)), None);
    }

    #[test]
    fn the_status_speaks_first() {
        let refused = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Too many pods."}]});
        let warnings = Warnings::of(&[event("FailedMount", "2026-01-01T00:00:02Z", "later")]);
        assert_eq!(warnings.of_container(&pod(&refused)).as_deref(), Some("0/1 nodes are available: 1 Too many pods."));
        let sandbox = json!({"reason": "ContainerCreating", "message": "no address is left"});
        let never = json!({"containerStatuses": [{"name": "web", "state": {"waiting": sandbox}}]});
        assert_eq!(warnings.of_container(&pod(&never)).as_deref(), Some("no address is left"));
        let before = json!({"containerStatuses": [
            {"name": "web", "state": {"waiting": sandbox}, "lastState": {"terminated": {"exitCode": 137}}}]});
        assert_eq!(warnings.of_container(&pod(&before)).as_deref(), Some("no address is left"));
        let image = json!({"containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]});
        assert_eq!(warnings.of_container(&pod(&image)).as_deref(), Some("ErrImagePull: not found"));
    }
}
