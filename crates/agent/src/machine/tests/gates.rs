//! Start gates over other pods.

use std::sync::Arc;

use naru_api::k8s::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::machine::{Gate, GateSpec, judge_gates, to_reach};

fn pod(restart: &str, ready: bool, state: Value, phase: &str) -> Arc<Pod> {
    let ready = if ready { "True" } else { "False" };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"annotations": {"naru.io/restart": restart}},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}
        }))
        .unwrap(),
    )
}

fn judge(condition: &str, required: bool, pods: &[Arc<Pod>]) -> Gate {
    let gate = GateSpec { service: "db".into(), condition: condition.into(), required, template: None };
    judge_gates(&[gate], |_| pods.to_vec())
}

#[test]
fn conditions_are_judged_over_every_pod_of_the_service() {
    let running = pod("always", false, json!({"running": {}}), "Running");
    let healthy = pod("always", true, json!({"running": {}}), "Running");
    let waiting = pod("always", false, json!({"waiting": {}}), "Pending");
    let done = pod("no", false, json!({"terminated": {"exitCode": 0}}), "Running");
    let failed = pod("no", false, json!({"terminated": {"exitCode": 3}}), "Running");
    let open = |condition: &str, pods: &[&Arc<Pod>]| {
        judge(condition, true, &pods.iter().map(|pod| (*pod).clone()).collect::<Vec<_>>()) == Gate::Open
    };
    assert!(open("service_started", &[&running]) && !open("service_started", &[&running, &waiting]));
    assert!(open("service_healthy", &[&healthy]) && !open("service_healthy", &[&healthy, &running]));
    assert!(open("service_completed_successfully", &[&done]) && !open("service_completed_successfully", &[&running]));
    assert!(
        matches!(judge("service_completed_successfully", true, std::slice::from_ref(&failed)), Gate::Failed(text) if text.contains('3'))
    );
    assert!(matches!(judge("service_healthy", true, &[failed]), Gate::Failed(_)));
}

#[test]
fn what_is_missing_holds_only_when_required() {
    assert!(matches!(judge("service_started", true, &[]), Gate::Waiting(_)));
    assert_eq!(judge("service_started", false, &[]), Gate::Open);
}

#[test]
fn a_gate_may_wait_for_one_version_of_its_service() {
    let mut old = Pod::clone(&pod("always", true, json!({"running": {}}), "Running"));
    old.metadata.annotations.get_or_insert_default().insert("naru.io/template".into(), "v1".into());
    let mut new = old.clone();
    new.metadata.annotations.get_or_insert_default().insert("naru.io/template".into(), "v2".into());
    let gate: GateSpec =
        serde_json::from_value(json!({"service": "db", "condition": "service_healthy", "template": "v2"})).unwrap();
    assert!(matches!(judge_gates(std::slice::from_ref(&gate), |_| vec![Arc::new(old.clone())]), Gate::Waiting(_)));
    assert_eq!(judge_gates(&[gate], |_| vec![Arc::new(old.clone()), Arc::new(new.clone())]), Gate::Open);
}

#[test]
fn an_unhealthy_service_fails_its_gate_until_its_test_passes() {
    let sick = |restart: &str, status: &str| {
        let mut pod = Pod::clone(&pod(restart, false, json!({"running": {}}), "Running"));
        let told = json!({"type": "naru.io/Unhealthy", "status": status, "message": "c: exit code 1: no table"});
        pod.status.as_mut().unwrap().conditions.as_mut().unwrap().push(serde_json::from_value(told).unwrap());
        Arc::new(pod)
    };
    let said = "service \"db\" is unhealthy: exit code 1: no table";
    assert_eq!(judge("service_healthy", true, &[sick("always", "True")]), Gate::Failed(said.to_owned()));
    assert_eq!(judge("service_healthy", false, &[sick("always", "True")]), Gate::Open, "it is optional");
    assert_eq!(judge("service_started", true, &[sick("always", "True")]), Gate::Open);
    assert!(matches!(judge("service_healthy", true, &[sick("always", "False")]), Gate::Waiting(_)));
}

#[test]
fn an_open_gate_leads_to_the_pods_that_take_connections() {
    let at = |ready: bool, address: &str| {
        let mut pod = Pod::clone(&pod("always", ready, json!({"running": {}}), "Running"));
        pod.status.as_mut().unwrap().pod_ip = Some(address.to_owned());
        Arc::new(pod)
    };
    let pods = [at(true, "10.42.0.7"), at(false, "10.42.0.8")];
    let reach = |condition: &str| {
        let gate = GateSpec { service: "db".into(), condition: condition.into(), required: true, template: None };
        to_reach(&[gate], |_| pods.to_vec())
    };
    assert_eq!(reach("service_started"), [("db".to_owned(), "10.42.0.7".parse().unwrap())]);
    assert!(reach("service_completed_successfully").is_empty(), "what has ended is not asked");
}
