//! Memory, processes, pause, statistics.

use naru_runtime::pod::{ContainerName, ContainerState, PodError, Resources, Runtime};

use crate::support::{machine, until};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

/// Fills memory inside the shell's own process: an endless string.
const HOG: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

#[tokio::test]
async fn running_out_of_memory_is_named() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", HOG);
    config.resources = Resources { memory_limit: Some(32 << 20), ..Resources::default() };
    let exit = m.run(&uid, config).await;
    assert_eq!((exit.code, exit.oom, exit.reason()), (137, true, "OOMKilled"));
    // Under the same limit but killed by hand: not named so.
    let mut config = m.container(&uid, "b", "sleep 1000");
    config.resources = Resources { memory_limit: Some(32 << 20), ..Resources::default() };
    m.start(&uid, config).await.unwrap();
    m.pods.kill(&uid, &name("b")).await.unwrap();
    let exit = m.exit(&uid, &name("b"), 0).await;
    assert_eq!((exit.code, exit.oom, exit.reason()), (137, false, "Error"));
}

#[tokio::test]
async fn the_number_of_processes_is_limited() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let script = "n=0; while [ $n -lt 20 ]; do sleep 100 & n=$((n+1)); echo $n; done; echo done";
    let mut config = m.container(&uid, "a", script);
    config.resources = Resources { pids_limit: Some(5), ..Resources::default() };
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(!text.contains("done") && text.contains("fork"), "{text}");
}

#[tokio::test]
async fn limits_change_while_it_runs() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", &format!("while [ ! -e /go ]; do sleep 0.05; done; {HOG}"));
    config.resources = Resources { memory_limit: Some(1 << 30), cpu_shares: Some(512), ..Resources::default() };
    m.start(&uid, config).await.unwrap();
    let less = Resources { memory_limit: Some(24 << 20), ..Resources::default() };
    m.pods.update(&uid, &name("a"), less).await.unwrap();
    let stats = m.pods.stats(&uid).await.unwrap();
    assert_eq!(stats.containers[0].usage.memory_limit, Some(24 << 20));
    m.exec(&uid, "a", "touch /go").await;
    assert!(m.exit(&uid, &name("a"), 0).await.oom);
}

#[tokio::test]
async fn paused_means_still() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let config = m.container(&uid, "a", "while :; do echo tick; sleep 0.02; done");
    m.start(&uid, config).await.unwrap();
    until("ticking", || m.log(&uid, "a").lines().count() > 3).await;
    m.pods.pause(&uid, &name("a")).await.unwrap();
    let state = m.pods.state(&uid).await.unwrap();
    assert!(matches!(state.containers[&name("a")].state, ContainerState::Running { paused: true, .. }));
    let cpu = m.pods.stats(&uid).await.unwrap().containers[0].usage.cpu_ns;
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(m.pods.stats(&uid).await.unwrap().containers[0].usage.cpu_ns, cpu, "it ran while paused");
    let exec = naru_runtime::pod::ExecConfig { args: vec!["true".into()], ..Default::default() };
    assert!(matches!(m.pods.exec(&uid, &name("a"), exec).await, Err(PodError::WrongState { .. })));
    m.pods.resume(&uid, &name("a")).await.unwrap();
    let before = m.log(&uid, "a").lines().count();
    until("ticking again", || m.log(&uid, "a").lines().count() > before + 3).await;
    m.pods.pause(&uid, &name("a")).await.unwrap();
    m.pods.signal(&uid, &name("a"), 9).await.unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 137);
}

#[tokio::test]
async fn statistics_count_what_happens() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 1000");
    config.resources = Resources { pids_limit: Some(50), memory_limit: Some(64 << 20), ..Resources::default() };
    m.start(&uid, config).await.unwrap();
    until("ready", || m.log(&uid, "a").contains("ready")).await;
    let stats = m.pods.stats(&uid).await.unwrap();
    let usage = &stats.containers[0].usage;
    assert!(usage.cpu_ns > 1_000_000 && usage.memory > 0 && usage.working_set > 0, "{usage:?}");
    assert_eq!((usage.pids, usage.pids_limit, usage.memory_limit), (1, Some(50), Some(64 << 20)));
    assert!(stats.pod.memory >= usage.memory, "{stats:?}");
    assert!(stats.interfaces.iter().any(|i| i.name == "lo"), "{:?}", stats.interfaces);
    let (groups, _) = m.exec(&uid, "a", "cat /proc/self/cgroup | grep -c naru; ls /sys/fs/cgroup | wc -l").await;
    let lines: Vec<_> = groups.lines().collect();
    assert!(lines[0] == "0" && lines[1] != "0", "its groups are shown with the host's paths: {groups}");
    drop(m.pods.remove(&uid, &name("a")).await);
}

#[tokio::test]
async fn cpus_can_be_chosen() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "grep Cpus_allowed_list /proc/self/status");
    config.resources = Resources { cpuset_cpus: Some("0".into()), ..Resources::default() };
    m.run(&uid, config).await;
    assert!(m.log(&uid, "a").ends_with("\t0\n"), "{}", m.log(&uid, "a"));
}
