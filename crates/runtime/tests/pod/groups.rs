//! The v2 way of groups, also on machines whose controllers are v1's.

use naru_runtime::pod::{ContainerName, ContainerState, PodLiveness, Runtime};

use crate::support::{machine_v2, until};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

#[tokio::test]
async fn a_container_lives_and_ends_in_a_v2_group() {
    let Some(mut m) = machine_v2() else { return };
    let uid = m.pod("p").await;
    let config =
        m.container(&uid, "a", "cat /proc/self/cgroup; setsid sleep 900 & while :; do echo tick; sleep 0.02; done");
    let started = m.start(&uid, config).await.unwrap();
    let group = format!("{}/pod-p/a.0", m.config.cgroup);
    let members = || std::fs::read_to_string(format!("{group}/cgroup.procs")).unwrap_or_default();
    assert!(members().lines().any(|l| l == started.pid.to_string()), "not in its group");
    until("ticking", || m.log(&uid, "a").matches("tick").count() > 3).await;
    assert!(m.log(&uid, "a").lines().any(|l| l == "0::/"), "{}", m.log(&uid, "a"));
    let (text, _) = m.exec(&uid, "a", "cat /proc/self/cgroup").await;
    assert!(text.lines().any(|l| l == "0::/"), "exec is in another group: {text}");

    m.pods.pause(&uid, &name("a")).await.unwrap();
    assert!(std::fs::read_to_string(format!("{group}/cgroup.events")).unwrap().contains("frozen 1"));
    m.pods.resume(&uid, &name("a")).await.unwrap();
    assert!(std::fs::read_to_string(format!("{group}/cgroup.events")).unwrap().contains("frozen 0"));
    m.pods.pause(&uid, &name("a")).await.unwrap();
    m.pods.kill(&uid, &name("a")).await.unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 137);
    m.pods.destroy(&uid).await.unwrap();
    assert!(!std::path::Path::new(&format!("{}/pod-p", m.config.cgroup)).exists());
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn a_device_program_refuses_what_no_rule_allows() {
    let Some(mut m) = machine_v2() else { return };
    let uid = m.pod("p").await;
    let script = "exec 2>&1; head -c 4 /dev/zero | wc -c; mknod /tmp/mem c 1 1; head -c 1 /tmp/mem; echo end";
    let text = m.output(&uid, "a", script).await;
    assert!(text.starts_with("4\n") && text.contains("not permitted") && text.ends_with("end\n"), "{text}");
}

#[tokio::test]
async fn a_killed_supervisor_leaves_nothing_in_v2_groups() {
    let Some(mut m) = machine_v2() else { return };
    let uid = m.pod_with("p", |p| p.share_process_namespace = true).await;
    m.start(&uid, m.container(&uid, "a", "setsid sleep 900 & sleep 1000")).await.unwrap();
    let state = m.pods.state(&uid).await.unwrap();
    let PodLiveness::Alive(created) = state.liveness else { panic!("no supervisor") };
    let pid = rustix::process::Pid::from_raw(created.supervisor_pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    m.lost(&uid).await;
    assert_eq!(m.pods.state(&uid).await.unwrap().containers[&name("a")].state, ContainerState::Lost);
    m.pods.sweep(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}
