//! Start gates over other pods.

use std::sync::Arc;

use naru_api::k8s::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::machine::{Gate, GateSpec, judge_gates};

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
