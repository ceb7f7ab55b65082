//! Pods that share a claim.

use serde_json::{Value, json};

use super::{
    life::{ready, running, script},
    machine::{Machine, machine},
};

/// Stops when it is told to, in its own time.
const SLOW: &str = "echo in >> /data/log; trap 'while ! test -e /data/end; do sleep 0.02; done; echo out >> /data/log; exit 0' TERM; \
                    echo up; while :; do sleep 0.05; done";
const QUICK: &str = "echo next >> /data/log; echo up; trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn on_the_claim(text: &str) -> Value {
    let mut spec = script(text);
    spec["terminationGracePeriodSeconds"] = json!(60);
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    spec
}

fn claim(machine: &Machine) -> std::path::PathBuf {
    let path = machine.state().join("volumes/pv-1");
    machine.api.put("persistentvolumes", json!({"metadata": {"name": "pv-1"}, "spec": {"local": {"path": path}}}));
    machine.api.put(
        "persistentvolumeclaims",
        json!({"metadata": {"name": "data", "namespace": "default"},
        "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}),
    );
    path
}

fn message(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap_or_default()
}

fn waits(pod: &Value) -> bool {
    message(pod).contains("pod old, which is ending, lets go of persistentvolumeclaim \"data\"")
}

/// Lets what ends end, and sees that the next one came after it.
async fn until_handed_over(machine: &Machine, volume: &std::path::Path) {
    assert_eq!(machine.log("new", "c"), "", "started beside the one that is ending");
    std::fs::write(volume.join("end"), "").unwrap();
    machine.api.until("new", "running", running).await;
    machine.until_log("new", "c", "up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_on_a_claim_only_after_the_one_that_is_ending() {
    let Some(machine) = machine().await else { return };
    let volume = claim(&machine);
    machine.api.run("old", on_the_claim(SLOW), json!({}));
    machine.until_log("old", "c", "up").await;
    machine.api.delete("old", 60);
    machine.api.run("new", on_the_claim(QUICK), json!({}));
    machine.api.until("new", "waiting for the claim", waits).await;
    assert!(running(&machine.api.pod("old").unwrap()));
    until_handed_over(&machine, &volume).await;
    assert_eq!(std::fs::read_to_string(volume.join("log")).unwrap(), "in\nout\nnext\n");
    assert_eq!(machine.api.events("WaitingForVolume").len(), 1);
    machine.api.until_gone("old").await;
    // Two that both live may share it.
    machine.api.run("beside", on_the_claim(QUICK), json!({}));
    machine.api.until("beside", "ready", ready).await;
    for pod in ["new", "beside"] {
        machine.api.delete(pod, 5);
        machine.api.until_gone(pod).await;
    }
    assert_eq!(machine.leftovers(), Default::default());
}

/// `kubectl delete --force` leaves no object; a hung stop of what it left must not be overtaken either, nor after the
/// agent's restart, when only the ledger knows the pod.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_stays_taken_while_processes_without_an_object_run() {
    let Some(mut machine) = machine().await else { return };
    let volume = claim(&machine);
    machine.api.run("old", on_the_claim(SLOW), json!({}));
    machine.until_log("old", "c", "up").await;
    machine.crash();
    machine.api.forget("pods", "default", "old");
    machine.api.run("new", on_the_claim(QUICK), json!({}));
    machine.start().await;
    machine.api.until("new", "running", running).await;
    machine.until_log("new", "c", "up").await;
    assert_eq!(std::fs::read_to_string(volume.join("log")).unwrap(), "in\nnext\n");
    let old = machine.api.events("WaitingForVolume");
    assert_eq!(old.len(), 1, "it had to wait until the old one was killed");
    machine.api.delete("new", 5);
    machine.api.until_gone("new").await;
    assert_eq!(machine.leftovers(), Default::default());
}
