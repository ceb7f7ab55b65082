//! Whether a further server is there: what the cluster's objects tell about it, and how that is written down. Pure.

use naru_api::meta;
use serde_json::{Value, json};

use super::remote::Spec;

const CONDITION: &str = "Available";
/// The reason of what this server answers itself.
const LOCAL: &str = "Local";
/// The reason of a server that does not answer as it should.
pub(super) const SILENT: &str = "FailedDiscoveryCheck";

/// Why a server cannot be asked, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Whether an object says that its server is there.
pub(super) fn is(object: &Value) -> bool {
    conditions(object).any(|condition| condition["type"] == CONDITION && condition["status"] == "True")
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

/// What the objects of the cluster say against asking a server: its service, and the slices of the service's endpoints.
///
/// # Errors
/// What is missing.
pub(super) fn judge(spec: &Spec, service: Option<&Value>, slices: &[Value]) -> Result<(), Fault> {
    let at = format!("service/{} in {:?}", spec.service, spec.namespace);
    let fault = |reason, message| Err(Fault { reason, message });
    let Some(service) = service else { return fault("ServiceNotFound", format!("{at} is not present")) };
    if !matches!(meta::text(service, "spec.type"), "" | "ClusterIP") {
        return Ok(());
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(port) = ports.find(|port| port["port"] == spec.port) else {
        return fault("ServicePortError", format!("{at} is not listening on port {}", spec.port));
    };
    if slices.is_empty() {
        return fault("EndpointsNotFound", format!("cannot find endpointslices for {at}"));
    }
    let name = port["name"].as_str().unwrap_or_default();
    let is_ready = |slice: &Value| {
        let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
            && ports.any(|port| port["name"].as_str().unwrap_or_default() == name && port["port"].is_u64())
    };
    if !slices.iter().any(is_ready) {
        let text = format!("endpointslices for {at} have no addresses with port name {name:?}");
        return fault("MissingEndpoints", text);
    }
    Ok(())
}

/// Writes into an object what was found. What others wrote into its status stays.
pub(super) fn set(object: &mut Value, fault: Option<&Fault>, now: &str) {
    match fault {
        None => put(object, ("True", "Passed", "all checks passed"), now),
        Some(fault) => put(object, ("False", fault.reason, &fault.message), now),
    }
}

/// Whether an object that asks for nobody says so.
pub(super) fn is_local(object: &Value) -> bool {
    is(object) && conditions(object).any(|condition| condition["type"] == CONDITION && condition["reason"] == LOCAL)
}

/// Writes into an object that this server answers itself.
pub(super) fn set_local(object: &mut Value, now: &str) {
    put(object, ("True", LOCAL, "Local APIServices are always available"), now);
}

fn put(object: &mut Value, (status, reason, message): (&str, &str, &str), now: &str) {
    let mut all: Vec<Value> = conditions(object).cloned().collect();
    let at = all.iter().position(|condition| condition["type"] == CONDITION);
    let since = at.map(|at| &all[at]).filter(|before| before["status"] == status);
    let since = since.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
    let condition = json!({"type": CONDITION, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since});
    match at {
        Some(at) => all[at] = condition,
        None => all.push(condition),
    }
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    object["status"]["conditions"] = all.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::remote::tests::spec;

    fn slice(ready: bool, name: &str) -> Value {
        json!({"endpoints": [{"addresses": ["10.42.0.7"], "conditions": {"ready": ready}}],
            "ports": [{"name": name, "port": 8443}]})
    }

    #[test]
    fn what_is_missing_is_told_in_order() {
        let spec = spec("far.example.com", "v1", (1, 1));
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "web", "port": 443}]}});
        let reason = |service: Option<&Value>, slices: &[Value]| judge(&spec, service, slices).err().map(|f| f.reason);
        assert_eq!(reason(None, &[]), Some("ServiceNotFound"));
        let closed = json!({"spec": {"ports": [{"port": 80}]}});
        assert_eq!(reason(Some(&closed), &[slice(true, "")]), Some("ServicePortError"));
        assert_eq!(reason(Some(&service), &[]), Some("EndpointsNotFound"));
        assert_eq!(reason(Some(&service), &[slice(false, "web")]), Some("MissingEndpoints"));
        assert_eq!(reason(Some(&service), &[slice(true, "other")]), Some("MissingEndpoints"));
        assert_eq!(reason(Some(&service), &[slice(false, "web"), slice(true, "web")]), None);
        let elsewhere = json!({"spec": {"type": "ExternalName", "externalName": "far.example.com"}});
        assert_eq!(reason(Some(&elsewhere), &[]), None, "nobody here knows its endpoints");
        let fault = judge(&spec, None, &[]).expect_err("not there");
        assert_eq!(fault.message, "service/api in \"far\" is not present");
    }

    #[test]
    fn the_time_is_that_of_the_last_change_and_others_conditions_stay() {
        let mut object = json!({"status": {"conditions": [{"type": "Mine", "status": "True"}]}});
        let fault = Fault { reason: SILENT, message: "late".to_owned() };
        set(&mut object, Some(&fault), "t1");
        assert!(!is(&object));
        let other = Fault { reason: "MissingEndpoints", message: "none".to_owned() };
        set(&mut object, Some(&other), "t2");
        let of = |object: &Value| object["status"]["conditions"][1].clone();
        assert_eq!(
            (&of(&object)["lastTransitionTime"], &of(&object)["reason"]),
            (&json!("t1"), &json!("MissingEndpoints"))
        );
        let before = object.clone();
        set(&mut object, Some(&other), "t3");
        assert_eq!(object, before, "nothing to write");
        set(&mut object, None, "t4");
        assert!(is(&object));
        assert_eq!(of(&object)["lastTransitionTime"], "t4");
        assert!(!is_local(&object));
        set_local(&mut object, "t5");
        assert!(is_local(&object) && is(&object));
        assert_eq!(of(&object)["lastTransitionTime"], "t4", "it was there before");
        assert_eq!(object["status"]["conditions"][0]["type"], "Mine");
    }
}
