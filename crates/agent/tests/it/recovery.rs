//! The agent dies, supervisors die, the API goes away.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{
    interface::exec,
    life::{ready, script},
    machine::{Machine, machine},
};

const LOOP: &str = "echo up; trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// The supervisor of the only pod there is.
fn supervisor(machine: &Machine) -> i32 {
    let scratch = machine.scratch.path().to_string_lossy().into_owned();
    let found = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&command).contains(&scratch).then_some(pid)
    });
    found.expect("a supervisor")
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_the_agent_and_exits_meanwhile_are_told() {
    let Some(mut machine) = machine().await else { return };
    machine.api.run("stays", script(LOOP), json!({}));
    let mut spec = script("while ! test -e /tmp/end; do sleep 0.02; done; exit 9");
    spec["restartPolicy"] = json!("Never");
    machine.api.run("ends", spec, json!({}));
    let before = machine.api.until("stays", "ready", ready).await;
    machine.api.until("ends", "ready", ready).await;
    exec(&machine, "ends", &["sh", "-c", "(sleep 0.3; touch /tmp/end) > /dev/null 2>&1 &"]).await;
    machine.crash();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    machine.start().await;
    let ended = machine.api.until("ends", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(status(&ended)["state"]["terminated"]["exitCode"], 9);
    let after = machine.api.until("stays", "ready", ready).await;
    assert_eq!(status(&before)["state"], status(&after)["state"], "the same process");
    assert_eq!(before["status"]["podIP"], after["status"]["podIP"], "the same address");
    assert!(machine.api.never_without_address("stays"), "an address that is taken back for a moment breaks services");
    assert_eq!(exec(&machine, "stays", &["echo", "yes"]).await, (0, "yes\n".into()));
    for pod in ["stays", "ends"] {
        machine.api.delete(pod, 5);
        machine.api.until_gone(pod).await;
    }
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_is_replaced_cleanly() {
    let Some(machine) = machine().await else { return };
    machine.api.run("web", script(LOOP), json!({}));
    machine.api.until("web", "ready", ready).await;
    let pid = rustix::process::Pid::from_raw(supervisor(&machine)).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let again = |pod: &Value| status(pod)["restartCount"] == 1 && ready(pod);
    let pod = machine.api.until("web", "replaced", again).await;
    assert_eq!(status(&pod)["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    machine.api.delete("web", 5);
    machine.api.until_gone("web").await;
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_looked_after_while_the_api_is_away() {
    let Some(mut machine) = machine().await else { return };
    let text = "echo run; while ! test -e /tmp/end; do sleep 0.02; done; exit 1";
    machine.api.run("web", script(text), json!({"naru.io/restart": "always"}));
    machine.api.until("web", "ready", ready).await;
    machine.crash();
    machine.api.away.store(true, Ordering::SeqCst);
    machine.start().await;
    // The worker comes from the ledger: its interface answers and its container is restarted.
    exec(&machine, "web", &["touch", "/tmp/end"]).await;
    machine.until_log("web", "c", "run\nrun\n").await;
    machine.api.away.store(false, Ordering::SeqCst);
    machine.api.until("web", "told of the restart", |pod| status(pod)["restartCount"].as_i64() >= Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_the_api_no_longer_knows_is_removed_at_boot() {
    let Some(mut machine) = machine().await else { return };
    machine.api.run("orphan", script(LOOP), json!({}));
    machine.api.until("orphan", "ready", ready).await;
    machine.crash();
    machine.api.forget("pods", "default", "orphan");
    machine.start().await;
    let deadline = std::time::Instant::now() + super::api::PATIENCE;
    while !machine.leftovers().is_empty() {
        assert!(std::time::Instant::now() < deadline, "{:?}", machine.leftovers());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_supervisor_holds_nobody_up() {
    let Some(machine) = machine().await else { return };
    machine.api.run("hung", script(LOOP), json!({}));
    machine.api.until("hung", "ready", ready).await;
    let pid = rustix::process::Pid::from_raw(supervisor(&machine)).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    machine.api.delete("hung", 1);
    machine.api.until_gone("hung").await;
    let told = machine.api.events("SupervisorNotAnswering");
    let texts: Vec<&str> = told.iter().filter_map(|event| event["message"].as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("does not answer within") && text.contains("killed")), "{texts:?}");
    assert_eq!(machine.leftovers(), Default::default());
}
