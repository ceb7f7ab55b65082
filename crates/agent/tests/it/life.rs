//! Pods from their appearance to their end.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    api::PATIENCE,
    machine::{Others, machine},
};

pub fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && !pod["status"]["containerStatuses"][0]["state"]["running"].is_null()
}

pub fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

pub fn script(text: &str) -> Value {
    json!({"containers": [{"name": "c", "image": "box:1", "command": ["sh", "-c", text]}], "terminationGracePeriodSeconds": 5})
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_is_told_and_leaves_nothing() {
    let Some(machine) = machine().await else { return };
    machine.api.run(
        "web",
        script(
            "echo hello $HOSTNAME; cat /etc/hosts /etc/resolv.conf; trap 'exit 0' TERM; while :; do sleep 0.05; done",
        ),
        json!({}),
    );
    let pod = machine.api.until("web", "ready", ready).await;
    assert!(running(&pod));
    assert_eq!((&pod["status"]["podIP"], &pod["status"]["hostIP"]), (&json!("10.42.0.2"), &json!("192.0.2.1")));
    let status = &pod["status"]["containerStatuses"][0];
    assert!(status["containerID"].as_str().unwrap().starts_with("naru://uid-web/c/0"));
    assert!(status["imageID"].as_str().unwrap().contains("sha256:"));
    let log = machine.until_log("web", "c", "nameserver").await;
    assert!(
        log.starts_with("hello web\n") && log.contains("10.42.0.2\tweb") && log.contains("nameserver 10.43.0.10"),
        "{log}"
    );
    machine.api.delete("web", 5);
    machine.api.until_gone("web").await;
    assert_eq!(machine.leftovers(), Default::default());
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert_eq!(machine.api.events(reason).len(), 1, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_pod_tells_its_exit_and_its_last_words() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("printf 'last words' > /dev/termination-log; exit 3");
    spec["restartPolicy"] = json!("Never");
    machine.api.run("job", spec, json!({}));
    let pod = machine.api.until("job", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["reason"], &ended["message"]),
        (&json!(3), &json!("Error"), &json!("last words"))
    );
    machine.api.delete("job", 0);
    machine.api.until_gone("job").await;
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_dies_comes_back() {
    let Some(machine) = machine().await else { return };
    machine.api.run("flaky", script("echo run; sleep 0.2; exit 1"), json!({}));
    let pod = machine.api.until("flaky", "restarted", |pod| restarts(pod) >= 1).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    let waits = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    machine.api.until("flaky", "backing off", waits).await;
    let log = machine.log("flaky", "c");
    assert!(log.starts_with("run\nrun\n"), "{log}");
    machine.api.delete("flaky", 0);
    machine.api.until_gone("flaky").await;
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_and_a_missing_image_are_named() {
    let Some(machine) = machine().await else { return };
    let program =
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "box:1", "command": ["/nope"]}]});
    machine.api.run("program", program, json!({}));
    let pod = machine.api.until("program", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(127), &json!("StartError")));
    assert!(ended["message"].as_str().unwrap().contains("/nope"), "{ended}");
    let image = json!({"containers": [{"name": "c", "image": "none:1", "imagePullPolicy": "Never"}]});
    machine.api.run("image", image, json!({}));
    let waits =
        |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImageNeverPull";
    machine.api.until("image", "waiting for its image", waits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_run_in_order_and_sidecars_last_to_the_end() {
    let Some(machine) = machine().await else { return };
    let step = |name: &str, text: &str| {
        json!({"name": name, "image": "box:1", "command": ["sh", "-c", text],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]})
    };
    let mut side = step("side", "echo side >> /shared/order; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    side["restartPolicy"] = json!("Always");
    // It ends only when the sidecar runs, which is therefore started before.
    let after_side = "while ! grep -q side /shared/order; do sleep 0.02; done; echo second >> /shared/order";
    let spec = json!({"restartPolicy": "Never", "volumes": [{"name": "shared", "emptyDir": {}}],
        "initContainers": [step("first", "echo first >> /shared/order"), side, step("second", after_side)],
        "containers": [step("app", "cat /shared/order")]});
    machine.api.run("ordered", spec, json!({}));
    machine.api.until("ordered", "succeeded", |pod| pod["status"]["phase"] == "Succeeded").await;
    let order = machine.log("ordered", "app");
    assert!(order.starts_with("first\n") && order.ends_with("second\n") && order.contains("side\n"), "{order}");
    machine.api.delete("ordered", 0);
    machine.api.until_gone("ordered").await;
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn power_keeps_the_address_and_the_writable_layer() {
    let Some(machine) = machine().await else { return };
    let text = "cat /kept; echo again > /kept; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    machine.api.run("compose", script(text), json!({"naru.io/restart": "unless-stopped"}));
    let before = machine.api.until("compose", "ready", ready).await;
    machine.api.annotate("compose", "naru.io/power", "stopped");
    let ended = |pod: &Value| !pod["status"]["containerStatuses"][0]["state"]["terminated"].is_null();
    let stopped = machine.api.until("compose", "stopped", ended).await;
    assert_eq!(stopped["status"]["phase"], "Running", "its controller keeps it");
    machine.api.annotate("compose", "naru.io/power", "running");
    let after = machine.api.until("compose", "running again", ready).await;
    assert_eq!(before["status"]["podIP"], after["status"]["podIP"]);
    machine.until_log("compose", "c", "again\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide_readiness_and_restart_the_unhealthy() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("touch /live /ready; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let probe =
        |file: &str| json!({"exec": {"command": ["test", "-e", file]}, "periodSeconds": 1, "failureThreshold": 1});
    spec["containers"][0]["readinessProbe"] = probe("/ready");
    spec["containers"][0]["livenessProbe"] = probe("/live");
    spec["containers"][0]["livenessProbe"]["initialDelaySeconds"] = json!(1);
    spec["containers"][0]["lifecycle"] =
        json!({"postStart": {"exec": {"command": ["sh", "-c", "while ! test -e /live; do sleep 0.01; done"]}}});
    machine.api.run("probed", spec, json!({}));
    machine.api.until("probed", "ready", ready).await;
    super::interface::exec(&machine, "probed", &["rm", "/ready"]).await;
    machine.api.until("probed", "not ready", |pod| !ready(pod)).await;
    super::interface::exec(&machine, "probed", &["rm", "/live"]).await;
    let pod = machine.api.until("probed", "restarted", |pod| restarts(pod) == 1 && ready(pod)).await;
    assert!(running(&pod));
    assert!(!machine.api.events("Unhealthy").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_beyond_its_limit_evicts_its_pod_and_block_devices_are_refused() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("head -c 3000000 /dev/zero > /v/file; while :; do sleep 0.05; done");
    (spec["terminationGracePeriodSeconds"], spec["volumes"]) =
        (json!(0), json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]));
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    machine.api.run("greedy", spec, json!({}));
    let mut block = script("sleep 1000");
    block["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    block["containers"][0]["volumeDevices"] = json!([{"name": "v", "devicePath": "/dev/x"}]);
    machine.api.run("block", block, json!({}));
    let refused = |pod: &Value| {
        let text = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str();
        text.is_some_and(|text| text.contains("volumeDevices"))
    };
    machine.api.until("block", "refused", refused).await;
    let pod = machine.api.until("greedy", "evicted", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "Evicted");
    assert!(pod["status"]["message"].as_str().unwrap().contains("\"v\""), "{pod:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_cannot_be_made_says_so() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("echo up; sleep 1000");
    // The whole machine's, not a pod's.
    spec["securityContext"] = json!({"sysctls": [{"name": "vm.swappiness", "value": "10"}]});
    machine.api.run("bad", spec, json!({}));
    let told = |pod: &Value| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["message"].as_str().is_some_and(|text| text.contains("vm.swappiness is not the pod's own"))
    };
    let pod = machine.api.until("bad", "waiting with its reason", told).await;
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == "PodReadyToStartContainers").unwrap();
    assert_eq!((&found["status"], &found["reason"]), (&json!("False"), &json!("FailedCreatePodSandBox")));
    assert!(found["message"].as_str().unwrap().contains("vm.swappiness"));
    machine.api.delete("bad", 0);
    machine.api.until_gone("bad").await;
    let events = machine.api.events("FailedCreatePodSandBox");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_told_to_end_when_every_node_has_followed() {
    let Some(machine) = machine().await else { return };
    let others = Arc::new(Others::default());
    *machine.network.others.lock() = Some(others.clone());
    // It goes on until it is killed: the log goes with the pod.
    let text = "trap 'echo told' TERM; echo up; while :; do sleep 0.02; done";
    for (name, grace) in [("held", 6), ("hasty", 4)] {
        machine.api.run(name, script(text), json!({}));
        machine.until_log(name, "c", "up").await;
        machine.api.delete(name, grace);
        tokio::time::timeout(PATIENCE, others.asked.notified()).await.expect("the other nodes are asked");
        if name == "held" {
            // Held back for longer than anything else takes, and less than the wait may take at most.
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert!(!machine.log(name, "c").contains("told"), "it was told before all had followed");
            others.followed.notify_one();
        }
        // Nobody follows in time for the other, and it is told all the same.
        machine.until_log(name, "c", "told").await;
        machine.api.until_gone(name).await;
    }
}
