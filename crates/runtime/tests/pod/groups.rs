//! The v2 way of groups, also on machines whose controllers are v1's, and the group of what outlives the daemon.

use std::path::{Path, PathBuf};

use naru_runtime::pod::{ContainerName, ContainerState, ExecConfig, PodLiveness, Pods, Runtime, SupervisorCommand};

use crate::support::{machine, machine_v2, until};

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

/// Groups of a service manager's for one service, in every tree; what is started by [`Service::command`] is in them.
struct Service(Vec<PathBuf>);

impl Service {
    fn new(name: &str) -> Self {
        let top = Path::new("/sys/fs/cgroup");
        let trees = std::fs::read_dir(top).unwrap().flatten().map(|tree| tree.path()).chain([top.to_owned()]);
        // A new cpuset has no processor: services have none of their own on v1.
        let trees = trees.filter(|tree| tree.join("cgroup.procs").exists() && !tree.join("cpuset.cpus").exists());
        let trees = trees.filter(|tree| tree == top || !top.join("cgroup.procs").exists());
        let groups: Vec<_> = trees.map(|tree| tree.join(name)).collect();
        groups.iter().for_each(|group| std::fs::create_dir_all(group).unwrap());
        Self(groups)
    }

    fn command(&self, program: &SupervisorCommand) -> SupervisorCommand {
        let enter: String =
            self.0.iter().map(|group| format!("echo 0 >{}/cgroup.procs && ", group.display())).collect();
        let script = format!("{enter} exec {} \"$@\"", program.program.display());
        SupervisorCommand { program: "/bin/sh".into(), args: ["-c", &script, "naru"].map(str::to_owned).to_vec() }
    }

    fn members(&self) -> Vec<String> {
        let lists = self.0.iter().map(|group| std::fs::read_to_string(group.join("cgroup.procs")).unwrap());
        lists.flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for group in &self.0 {
            for member in std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(member) = member.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(member, rustix::process::Signal::KILL);
                }
            }
            while matches!(std::fs::remove_dir(group), Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

fn supervisor_of(record: &naru_runtime::pod::PodRecord) -> i32 {
    match &record.liveness {
        PodLiveness::Alive(created) => created.supervisor_pid,
        PodLiveness::SupervisorLost => panic!("no supervisor"),
    }
}

#[tokio::test]
async fn who_kills_everything_in_the_daemons_groups_ends_no_pod() {
    let Some(mut m) = machine() else { return };
    let service = Service::new(&format!("{}-service", m.config.cgroup));
    m.config.supervisor = service.command(&m.config.supervisor);
    m.pods = Pods::open(m.config.clone()).unwrap();
    m.events = m.pods.events().unwrap();
    let uid = m.pod_with("p", |p| p.share_process_namespace = true).await;
    let started = m.start(&uid, m.container(&uid, "a", "setsid sleep 900 & sleep 1000")).await.unwrap();
    let supervisor = supervisor_of(&m.pods.state(&uid).await.unwrap());
    let config = ExecConfig { args: ["sleep", "1000"].map(str::to_owned).to_vec(), ..ExecConfig::default() };
    let session = m.pods.exec(&uid, &name("a"), config).await.unwrap();
    for process in [supervisor, started.pid] {
        let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
        assert!(!groups.contains("-service"), "{process} is where a service manager kills: {groups}");
    }
    assert_eq!(service.members(), Vec::<String>::new());
    drop(service);
    let record = m.pods.state(&uid).await.unwrap();
    assert_eq!(supervisor_of(&record), supervisor);
    assert!(matches!(record.containers[&name("a")].state, ContainerState::Running { pid, .. } if pid == started.pid));
    drop(session);

    // Whoever is nobody's child that was started here is collected all the same.
    m.pods.destroy(&uid).await.unwrap();
    until("the supervisor is gone", || !Path::new(&format!("/proc/{supervisor}")).exists()).await;
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn a_supervisor_of_before_is_taken_out_of_the_daemons_group() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let supervisor = supervisor_of(&m.pods.state(&uid).await.unwrap());
    let service = Service::new(&format!("{}-service", m.config.cgroup));
    for group in &service.0 {
        std::fs::write(group.join("cgroup.procs"), supervisor.to_string()).unwrap();
    }
    m.pods = Pods::open(m.config.clone()).unwrap();
    m.events = m.pods.events().unwrap();
    m.pods.adopt().await.unwrap();
    until("it is where it outlives the daemon", || service.members().is_empty()).await;
}
