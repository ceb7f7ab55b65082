//! SIGTERM to a supervisor: the machine goes down.

use std::fs;

use naru_runtime::pod::{ContainerName, ContainerState, PodError, PodLiveness, PodRecord, PodUid, Pods, Runtime, Stop};
use rustix::process::{Pid, Signal, getpgid, getsid, kill_process};

use crate::support::{Machine, machine, until};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

async fn supervisor(m: &Machine, uid: &PodUid) -> Pid {
    match m.pods.state(uid).await.unwrap().liveness {
        PodLiveness::Alive(created) => Pid::from_raw(created.supervisor_pid).unwrap(),
        PodLiveness::SupervisorLost => panic!("no supervisor"),
    }
}

/// What the next boot finds.
async fn next_boot(m: &mut Machine) -> PodRecord {
    m.pods = Pods::open(m.config.clone()).unwrap();
    m.pods.adopt().await.unwrap().remove(0)
}

fn code(record: &PodRecord, container: &str) -> i32 {
    match &record.containers[&name(container)].state {
        ContainerState::Exited { exit } => exit.code,
        other => panic!("{container}: {other:?}"),
    }
}

#[tokio::test]
async fn term_stops_every_container_and_records_how_it_ended() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let listening = "echo ready; while :; do sleep 0.02; done";
    let scripts = [
        ("polite", format!("trap 'exit 0' TERM; {listening}")),
        ("behind-init", format!("trap - TERM; {listening}")),
        ("deaf", listening.to_owned()),
        ("asked", format!("trap 'echo asked' TERM; {listening}")),
        ("paused", format!("trap 'exit 3' TERM; {listening}")),
    ];
    for (container, script) in &scripts {
        let mut config = m.container(&uid, container, script);
        config.init = *container == "behind-init";
        m.start(&uid, config).await.unwrap();
        until("ready", || m.log(&uid, container).contains("ready")).await;
    }
    let ended = m.container(&uid, "ended", "exit 5");
    m.run(&uid, ended).await;
    m.pods.signal(&uid, &name("asked"), 15).await.unwrap();
    until("it was asked", || m.log(&uid, "asked").contains("asked")).await;
    m.pods.pause(&uid, &name("paused")).await.unwrap();

    let pid = supervisor(&m, &uid).await;
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(m.exit(&uid, &name("polite"), 0).await.code, 0);
    // A second one changes nothing, and nothing starts any more.
    kill_process(pid, Signal::TERM).unwrap();
    let late = m.container(&uid, "late", "true");
    let refused = m.start(&uid, late).await;
    assert!(matches!(&refused, Err(PodError::WrongState { state, .. }) if state.contains("goes down")), "{refused:?}");
    for (container, code) in [("behind-init", 143), ("paused", 3), ("deaf", 137), ("asked", 137)] {
        assert_eq!(m.exit(&uid, &name(container), 0).await.code, code, "{container}");
    }
    m.lost(&uid).await;
    assert_eq!(m.log(&uid, "asked").matches("asked").count(), 1, "asked twice");

    let record = next_boot(&mut m).await;
    assert_eq!(record.liveness, PodLiveness::SupervisorLost);
    let codes = ["polite", "behind-init", "paused", "deaf", "asked", "ended"].map(|c| code(&record, c));
    assert_eq!(codes, [0, 143, 3, 137, 137, 5]);
    assert!(!record.containers.contains_key(&name("late")));
    m.pods.sweep(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

/// Nobody is there to be told, as when the daemon ended first.
#[tokio::test]
async fn term_needs_no_daemon() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod_with("p", |pod| pod.share_process_namespace = true).await;
    m.start(&uid, m.container(&uid, "a", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done"))
        .await
        .unwrap();
    until("ready", || m.log(&uid, "a").contains("ready")).await;
    let pid = supervisor(&m, &uid).await;
    m.pods = Pods::open(m.config.clone()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    until("the exit on disk", || m.pods.pod_dir(&uid).join("attempts/a.0.exit").exists()).await;
    until("its end", || !lives(pid)).await;
    assert_eq!(code(&next_boot(&mut m).await, "a"), 0);
}

fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

#[tokio::test]
async fn term_ends_an_idle_supervisor_at_once() {
    let Some(mut m) = machine() else { return };
    for ended in [false, true] {
        let uid = m.pod(if ended { "ended" } else { "empty" }).await;
        if ended {
            let config = m.container(&uid, "a", "exit 5");
            m.run(&uid, config).await;
        }
        kill_process(supervisor(&m, &uid).await, Signal::TERM).unwrap();
        m.lost(&uid).await;
        let record = m.pods.state(&uid).await.unwrap();
        assert_eq!(record.liveness, PodLiveness::SupervisorLost);
        assert_eq!(record.containers.len(), usize::from(ended));
    }
}

/// The session of a process as `/proc` tells it: 0, which `getsid` of rustix cannot say, when the session's leader is
/// outside of this process namespace, as that of a test run in a container is.
fn session(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned()
}

/// What a terminal or a service manager sends to a group or a session does not reach a supervisor, and what a terminal
/// sends means nothing to it.
#[tokio::test]
async fn a_supervisor_is_on_its_own() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let started = m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let pid = supervisor(&m, &uid).await;
    assert_eq!((getsid(Some(pid)).unwrap(), getpgid(Some(pid)).unwrap()), (pid, pid));
    assert_ne!(session(&started.pid.to_string()), session("self"));
    for signal in [Signal::INT, Signal::HUP] {
        kill_process(pid, signal).unwrap();
    }
    let (text, _) = m.exec(&uid, "a", "echo still here").await;
    assert_eq!(text, "still here\n");
}

#[tokio::test]
async fn each_container_ends_by_its_own_signal_and_in_its_own_time() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let quick = Stop { signal: 15, grace: 1 };
    let user = Stop { signal: 10, grace: 60 };
    for (container, stop, script) in [
        ("own", user, "trap 'exit 7' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.02; done"),
        ("quick", quick, "echo ready; while :; do sleep 0.02; done"),
        ("slow", Stop::default(), "echo ready; while :; do sleep 0.02; done"),
    ] {
        let mut config = m.container(&uid, container, script);
        config.stop = stop;
        m.start(&uid, config).await.unwrap();
        until("ready", || m.log(&uid, container).contains("ready")).await;
    }
    kill_process(supervisor(&m, &uid).await, Signal::TERM).unwrap();
    assert_eq!(m.exit(&uid, &name("own"), 0).await.code, 7);
    let (quick, slow) = (m.exit(&uid, &name("quick"), 0).await, m.exit(&uid, &name("slow"), 0).await);
    assert_eq!((quick.code, slow.code), (137, 137));
    assert!(quick.finished_at < slow.finished_at);
    m.lost(&uid).await;
    m.pods.sweep(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}
