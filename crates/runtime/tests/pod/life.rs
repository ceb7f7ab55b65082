//! Starting, ending, logs, signals, removal.

use naru_runtime::pod::{
    ContainerName, ContainerState, LogConfig, NamespaceMode, PodError, RunAs, Runtime, StartFailure, StartStep,
};

use crate::support::{Machine, PATIENCE, machine, until};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

#[tokio::test]
async fn a_container_runs_logs_and_ends_with_its_code() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p1").await;
    let config = m.container(&uid, "web", "echo out; echo err >&2; printf unfinished; exit 7");
    let exit = m.run(&uid, config).await;
    assert_eq!((exit.code, exit.signal, exit.oom, exit.reason()), (7, None, false, "Error"));
    let raw = std::fs::read_to_string(m.log_path(&uid, "web")).unwrap();
    assert!(
        raw.contains(" stdout F out\n") && raw.contains(" stderr F err\n") && raw.contains(" F unfinished\n"),
        "{raw}"
    );
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn signals_reach_it_and_are_named_in_the_exit() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = m.container(&uid, "a", "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    m.start(&uid, config).await.unwrap();
    until("ready", || m.log(&uid, "a").contains("ready")).await;
    m.pods.signal(&uid, &name("a"), 15).await.unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 5);
    assert!(m.log(&uid, "a").contains("caught"));
    let config = m.container(&uid, "b", "sleep 1000");
    m.start(&uid, config).await.unwrap();
    m.pods.kill(&uid, &name("b")).await.unwrap();
    let exit = m.exit(&uid, &name("b"), 0).await;
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), false));
    // What has ended takes signals without complaint.
    m.pods.signal(&uid, &name("b"), 15).await.unwrap();
}

#[tokio::test]
async fn the_same_container_starts_again_with_its_files() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "cat /kept; echo one > /kept; echo gone > /tmp/x");
    m.run(&uid, config.clone()).await;
    let again = m.pods.start(&uid, config.clone()).await.unwrap_err();
    assert!(matches!(again, PodError::WrongState { .. }), "an attempt ran twice: {again}");
    config.attempt = 1;
    m.run(&uid, config.clone()).await;
    assert!(m.log(&uid, "a").ends_with("one\n"), "{}", m.log(&uid, "a"));
    m.pods.remove(&uid, &name("a")).await.unwrap();
    assert!(m.pods.state(&uid).await.unwrap().containers.is_empty());
    assert!(config.root.upper.join("kept").exists(), "removing took the container's files");
    m.pods.remove(&uid, &name("a")).await.unwrap();
}

#[tokio::test]
async fn removing_a_running_container_kills_it() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let started = m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    m.pods.remove(&uid, &name("a")).await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{}", started.pid)).exists(), "its process lives on");
    assert!(m.leftovers().iter().all(|l| !l.contains("a.0")), "{:?}", m.leftovers());
}

#[tokio::test]
async fn long_lines_are_parted_and_large_logs_rotated() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = m.container(&uid, "long", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end");
    m.run(&uid, config).await;
    let raw = std::fs::read_to_string(m.log_path(&uid, "long")).unwrap();
    let tags: Vec<_> = raw.lines().map(|l| l.split(' ').nth(2).unwrap()).collect();
    assert_eq!(tags, ["P", "P", "F", "F"]);
    assert_eq!(m.log(&uid, "long"), format!("{}\nend\n", "x".repeat(40_000)));

    let mut config = m.container(&uid, "much", "seq 1 20000");
    let path = m.log_path(&uid, "much");
    config.log = Some(LogConfig { path: path.clone(), max_size: 100_000, max_files: 3 });
    m.run(&uid, config).await;
    let sizes: Vec<_> = ["", ".1", ".2", ".3"]
        .iter()
        .map(|s| std::fs::metadata(format!("{}{s}", path.display())).map(|f| f.len()).unwrap_or(0))
        .collect();
    assert!(sizes[1] > 0 && sizes[2] > 0 && sizes[3] == 0, "{sizes:?}");
    assert!(sizes.iter().all(|s| *s < 200_000), "{sizes:?}");
    assert!(
        std::fs::read_to_string(&path).unwrap().ends_with(" F 20000\n"),
        "the newest line is not in the newest file"
    );
}

/// Nothing may be lost however fast it comes.
#[tokio::test]
async fn every_line_of_a_flood_arrives_in_order() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = m.container(&uid, "a", "seq 1 200000");
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert_eq!(text.lines().count(), 200_000);
    assert!(text.lines().enumerate().all(|(at, line)| line == (at + 1).to_string()));
}

async fn failure(m: &Machine, change: impl FnOnce(&mut naru_runtime::pod::ContainerConfig)) -> StartFailure {
    let uid = m.pod(&format!("p-{}", std::fs::read_dir(m.config.state_dir.join("pods")).unwrap().count())).await;
    let mut config = m.container(&uid, "a", "true");
    change(&mut config);
    match m.pods.start(&uid, config).await {
        Err(PodError::Start { failure, .. }) => failure,
        other => panic!("not a start failure: {other:?}"),
    }
}

#[tokio::test]
async fn start_errors_name_step_and_path() {
    let Some(m) = machine() else { return };
    let args = |args: &[&str]| args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    let f = failure(&m, |c| c.args = args(&["no-such-program"])).await;
    assert_eq!(
        (f.to_string(), f.exit_code()),
        ("exec: \"no-such-program\": executable file not found in $PATH".into(), 127)
    );
    let f = failure(&m, |c| c.args = args(&["/etc/plain"])).await;
    assert_eq!((f.to_string(), f.exit_code()), ("exec: \"/etc/plain\": permission denied".into(), 126));
    let f = failure(&m, |c| c.args = args(&["/nowhere/x"])).await;
    assert_eq!(
        (f.to_string(), f.exit_code()),
        ("exec: \"/nowhere/x\": stat /nowhere/x: no such file or directory".into(), 127)
    );
    let f = failure(&m, |c| c.user = RunAs { user: "nobody-here".into(), ..RunAs::default() }).await;
    assert!(f.step == StartStep::User && f.action.contains("nobody-here"), "{f:?}");
    let f = failure(&m, |c| c.user.must_not_be_root = true).await;
    assert!(f.step == StartStep::User && f.action.contains("runAsNonRoot"), "{f:?}");
    let f = failure(&m, |c| c.cwd = "/etc/plain".into()).await;
    assert!(f.step == StartStep::WorkingDirectory && f.action.contains("/etc/plain"), "{f:?}");
    let f = failure(&m, |c| c.root.lower = vec!["/no/such/layer".into()]).await;
    assert!(f.step == StartStep::Root && f.action.contains("/no/such/layer"), "{f:?}");
    let f = failure(&m, |c| c.args.clear()).await;
    assert_eq!(f.step, StartStep::ProgramNotFound);
}

#[tokio::test]
async fn a_failed_start_leaves_the_pod_usable() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "echo fine");
    config.args[0] = "nothing".into();
    assert!(m.pods.start(&uid, config.clone()).await.is_err());
    assert!(m.pods.state(&uid).await.unwrap().containers.is_empty());
    config.args[0] = "sh".into();
    assert_eq!(m.run(&uid, config).await.code, 0);
}

#[tokio::test]
async fn fifty_at_once() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let starts = (0..50).map(|at| {
        let config = m.container(&uid, &format!("c{at}"), &format!("echo I am {at}; exit {at}"));
        m.pods.start(&uid, config)
    });
    for started in futures_util::future::join_all(starts).await {
        started.unwrap();
    }
    for at in 0..50 {
        assert_eq!(m.exit(&uid, &name(&format!("c{at}")), 0).await.code, at);
        assert_eq!(m.log(&uid, &format!("c{at}")), format!("I am {at}\n"));
    }
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn many_pods_at_once() {
    let Some(mut m) = machine() else { return };
    let names: Vec<_> = (0..20).map(|at| format!("p{at}")).collect();
    let uids = futures_util::future::join_all(names.iter().map(|name| m.pod(name))).await;
    for uid in &uids {
        let config = m.container(uid, "a", "hostname; exit 3");
        m.start(uid, config).await.unwrap();
    }
    for uid in &uids {
        assert_eq!(m.exit(uid, &name("a"), 0).await.code, 3);
    }
    for done in futures_util::future::join_all(uids.iter().map(|uid| m.pods.destroy(uid))).await {
        done.unwrap();
    }
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn namespaces_are_shared_within_a_pod_and_private_between_pods() {
    let Some(mut m) = machine() else { return };
    let links = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts; readlink /proc/self/ns/pid";
    let one = m.pod_with("one", |p| p.hostname = "first".into()).await;
    let two = m.pod_with("two", |p| p.hostname = "second".into()).await;
    let a = m.output(&one, "a", links).await;
    let b = m.output(&one, "b", links).await;
    let c = m.output(&two, "c", links).await;
    let (a, b, c): (Vec<_>, Vec<_>, Vec<_>) = (a.lines().collect(), b.lines().collect(), c.lines().collect());
    assert_eq!(a.len(), 4);
    assert_eq!(a[..3], b[..3]);
    assert_ne!(a[3], b[3], "process namespaces are a container's own");
    assert!((0..4).all(|at| a[at] != c[at]), "{a:?} {c:?}");
    assert_eq!(m.output(&one, "d", "hostname; ip link show lo | head -1").await.lines().next(), Some("first"));
    assert_eq!(m.output(&two, "d", "hostname").await, "second\n");
    let net = std::fs::read_link("/proc/self/ns/net").unwrap();
    let host = m.pod_with("host", |p| p.network = NamespaceMode::Host).await;
    assert_eq!(m.output(&host, "e", "readlink /proc/self/ns/net").await.trim(), net.to_string_lossy());
}

#[tokio::test]
async fn processes_can_be_shared_and_orphans_are_collected() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod_with("p", |p| p.share_process_namespace = true).await;
    let config = m.container(&uid, "a", "sleep 987");
    m.start(&uid, config).await.unwrap();
    let seen = m.output(&uid, "b", "ps").await;
    assert!(seen.contains("sleep 987"), "{seen}");
    // Left behind by its container, in a namespace that lives on: it has to go with the container.
    let config = m.container(&uid, "c", "setsid sleep 654 & exit 0");
    m.run(&uid, config).await;
    let seen = m.output(&uid, "d", "ps").await;
    assert!(!seen.contains("sleep 654") && seen.contains("sleep 987"), "{seen}");
}

#[tokio::test]
async fn an_init_collects_orphans_and_passes_signals_and_codes_on() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "echo $$; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    config.init = true;
    m.start(&uid, config).await.unwrap();
    until("ready", || m.log(&uid, "a").contains("ready")).await;
    assert_ne!(m.log(&uid, "a").lines().next(), Some("1"), "the program is not behind the init");
    m.exec(&uid, "a", "(setsid true &)").await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while let (seen, _) = m.exec(&uid, "a", "ps").await
        && seen.contains("true")
    {
        assert!(std::time::Instant::now() < deadline, "nobody collects what ended: {seen}");
    }
    m.pods.signal(&uid, &name("a"), 15).await.unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 9);
}

#[tokio::test]
async fn state_tells_what_runs_and_what_ended() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let started = m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let config = m.container(&uid, "b", "exit 4");
    m.run(&uid, config).await;
    let state = m.pods.state(&uid).await.unwrap();
    assert!(
        matches!(state.containers[&name("a")].state, ContainerState::Running { pid, paused: false, .. } if pid == started.pid)
    );
    assert!(matches!(&state.containers[&name("b")].state, ContainerState::Exited { exit } if exit.code == 4));
    assert_eq!(m.pods.processes(&uid, &name("a")).await.unwrap().len(), 1);
    let unknown = naru_runtime::pod::PodUid::new("unknown").unwrap();
    assert!(matches!(m.pods.state(&unknown).await, Err(PodError::NoPod(_))));
    m.pods.destroy(&unknown).await.unwrap();
}
