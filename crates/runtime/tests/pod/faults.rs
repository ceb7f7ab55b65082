//! Deaths of the daemon and of supervisors.

use std::{collections::BTreeSet, fs, process::Stdio};

use naru_runtime::pod::{
    ContainerName, ContainerState, PodError, PodLiveness, PodUid, Pods, PodsConfig, Runtime, SupervisorCommand,
};

use crate::support::{Machine, machine, until};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

fn supervisor_pid(liveness: &PodLiveness) -> i32 {
    match liveness {
        PodLiveness::Alive(created) => created.supervisor_pid,
        PodLiveness::SupervisorLost => panic!("no supervisor"),
    }
}

fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

/// The body of the daemon that the next test kills: creates a pod with two containers, says so, waits for its death.
/// It is this test program itself, started again with variables set.
#[tokio::test]
async fn daemon_to_be_killed() {
    let (Ok(scratch), Ok(cgroup)) = (std::env::var("NARU_TEST_SCRATCH"), std::env::var("NARU_TEST_CGROUP")) else {
        return;
    };
    let scratch = std::path::PathBuf::from(scratch);
    let pods = Pods::open(PodsConfig {
        state_dir: scratch.join("state"),
        run_dir: scratch.join("run"),
        supervisor: SupervisorCommand { program: env!("CARGO_BIN_EXE_naru-supervisor").into(), args: Vec::new() },
        cgroup,
    })
    .unwrap();
    let uid = PodUid::new("p").unwrap();
    pods.create(naru_runtime::pod::PodConfig::new(uid.clone(), "default", "web")).await.unwrap();
    for (container, script) in
        [("short", "while [ ! -e /dev/shm/go ]; do sleep 0.02; done; exit 42"), ("long", "sleep 1000")]
    {
        let text = fs::read(scratch.join(format!("{container}.json"))).unwrap();
        let mut config: naru_runtime::pod::ContainerConfig = serde_json::from_slice(&text).unwrap();
        config.args[2] = script.to_owned();
        pods.start(&uid, config).await.unwrap();
    }
    fs::write(scratch.join("up"), "").unwrap();
    futures_util::future::pending::<()>().await;
}

#[tokio::test]
async fn containers_outlive_the_daemon_and_exits_are_kept() {
    let Some(mut m) = machine() else { return };
    let uid = PodUid::new("p").unwrap();
    for container in ["short", "long"] {
        let config = m.container(&uid, container, "");
        fs::write(m.scratch.path().join(format!("{container}.json")), serde_json::to_vec(&config).unwrap()).unwrap();
    }
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::daemon_to_be_killed", "--nocapture"])
        .env("NARU_TEST_SCRATCH", m.scratch.path())
        .env("NARU_TEST_CGROUP", &m.config.cgroup)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the daemon to be up", || m.scratch.path().join("up").exists()).await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    // Nobody listens: one container ends now.
    fs::write(m.config.run_dir.join("pods/p/shm/go"), "").unwrap();
    until("the exit on disk", || m.pods.pod_dir(&uid).join("attempts/short.0.exit").exists()).await;

    let records = m.pods.adopt().await.unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    let code = match &record.containers[&name("short")].state {
        ContainerState::Exited { exit } => exit.code,
        // On disk, but not yet told: the event follows.
        _ => m.exit(&uid, &name("short"), 0).await.code,
    };
    assert_eq!(code, 42, "{record:?}");
    assert!(matches!(record.containers[&name("long")].state, ContainerState::Running { .. }), "{record:?}");
    let (text, _) = m.exec(&uid, "long", "echo still here").await;
    assert_eq!(text, "still here\n");
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn adopted_pods_tell_what_ends_later() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = m.container(&uid, "a", "while [ ! -e /dev/shm/go ]; do sleep 0.02; done; exit 11");
    m.start(&uid, config).await.unwrap();
    // A second daemon in the place of the first.
    m.pods = Pods::open(m.config.clone()).unwrap();
    m.events = m.pods.events().unwrap();
    assert_eq!(m.pods.adopt().await.unwrap().len(), 1);
    fs::write(m.config.run_dir.join("pods/p/shm/go"), "").unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 11);
    assert!(m.pods.events().is_none(), "events can be taken once");
}

/// Everything running in pods of this machine, by what only the pod's processes have.
fn processes_in_groups(m: &Machine) -> BTreeSet<String> {
    m.leftovers()
        .into_iter()
        .filter(|l| l.starts_with("process") || l.starts_with("mount") || l.starts_with("group"))
        .collect()
}

#[tokio::test]
async fn a_killed_supervisor_is_told_and_swept_without_a_trace() {
    let Some(mut m) = machine() else { return };
    for shared in [false, true] {
        let uid = m.pod_with(if shared { "shared" } else { "own" }, |p| p.share_process_namespace = shared).await;
        let config = m.container(&uid, "ended", "exit 5");
        m.run(&uid, config).await;
        let mut pids = Vec::new();
        for (container, init) in [("a", false), ("b", true)] {
            let mut config = m.container(&uid, container, "sleep 500 & setsid sleep 600 & sleep 1000");
            config.init = init;
            m.start(&uid, config).await.unwrap();
            until("its children", || m_processes(&m, &uid, container).len() >= 3).await;
            pids.extend(m_processes(&m, &uid, container));
        }
        let supervisor = supervisor_pid(&m.pods.state(&uid).await.unwrap().liveness);
        kill(supervisor);
        m.lost(&uid).await;
        let config = m.container(&uid, "c", "true");
        assert!(matches!(m.pods.start(&uid, config).await, Err(PodError::SupervisorLost(_))));
        let record = m.pods.state(&uid).await.unwrap();
        assert_eq!(record.liveness, PodLiveness::SupervisorLost);
        assert_eq!(record.containers[&name("a")].state, ContainerState::Lost);
        assert!(matches!(&record.containers[&name("ended")].state, ContainerState::Exited { exit } if exit.code == 5));
        m.pods.sweep(&uid).await.unwrap();
        assert_eq!(m.leftovers(), Default::default());
        for pid in pids {
            until("the processes to be gone", || !runs(pid)).await;
        }
        m.pods.sweep(&uid).await.unwrap();
    }
}

/// Not a zombie that init has yet to collect.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

fn m_processes(m: &Machine, uid: &PodUid, container: &str) -> Vec<i32> {
    let path = format!("{}/pod-{uid}/{container}.0/cgroup.procs", m.config.cgroup);
    let find = |base: std::path::PathBuf| fs::read_to_string(base.join(&path)).ok();
    let text = find("/sys/fs/cgroup".into()).or_else(|| find("/sys/fs/cgroup/freezer".into())).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

#[tokio::test]
async fn an_adopting_daemon_finds_dead_pods() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = m.container(&uid, "ended", "exit 5");
    m.run(&uid, config).await;
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    kill(supervisor_pid(&m.pods.state(&uid).await.unwrap().liveness));
    m.lost(&uid).await;
    // Somebody's file is no pod, and no reason to refuse.
    let stray = m.config.state_dir.join("pods/stray");
    fs::write(&stray, "x").unwrap();
    m.pods = Pods::open(m.config.clone()).unwrap();
    let records = m.pods.adopt().await.unwrap();
    fs::remove_file(&stray).unwrap();
    assert_eq!((records.len(), &records[0].liveness), (1, &PodLiveness::SupervisorLost));
    assert_eq!(records[0].containers.len(), 2);
    m.pods.sweep(&uid).await.unwrap();
    assert_eq!(processes_in_groups(&m), BTreeSet::new());
    m.pod("p").await;
}

#[tokio::test]
async fn a_supervisor_that_hangs_is_swept_too() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let pid = supervisor_pid(&m.pods.state(&uid).await.unwrap().liveness);
    let stop = rustix::process::Signal::STOP;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), stop).unwrap();
    m.pods.sweep(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn only_root_may_speak_and_nonsense_is_survived() {
    use std::io::{Read, Write};
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let socket = m.config.run_dir.join("pods/p/socket");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\x05\0\0\0hello", b"\x02\0", b""] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
    }
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let frame = br#"{"v":99,"request":"state"}"#;
    stream.write_all(&(frame.len() as u32).to_le_bytes()).unwrap();
    stream.write_all(frame).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    let mut body = vec![0; u32::from_le_bytes(answer) as usize];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), r#"{"v":1,"answer":"version"}"#);
    let config = m.container(&uid, "a", "exit 2");
    assert_eq!(m.run(&uid, config).await.code, 2);
}

#[tokio::test]
async fn a_pod_is_created_once() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = naru_runtime::pod::PodConfig::new(uid, "default", "web");
    assert!(matches!(m.pods.create(config).await, Err(PodError::PodExists(_))));
}

#[tokio::test]
async fn a_silent_supervisor_is_told_and_can_be_killed() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let pid = supervisor_pid(&m.pods.state(&uid).await.unwrap().liveness);
    let stop = rustix::process::Signal::STOP;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), stop).unwrap();
    let silent = m.pods.signal(&uid, &name("a"), 15).await.unwrap_err();
    assert!(matches!(silent, PodError::NoAnswer { process: Some(found), .. } if found == pid), "{silent}");
    assert!(silent.to_string().contains("does not answer"), "{silent}");
    m.pods.kill_supervisor(&uid).await.unwrap();
    m.lost(&uid).await;
    m.pods.sweep(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}
