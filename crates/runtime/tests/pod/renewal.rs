//! Supervisors whose program is replaced while their containers run.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use naru_runtime::pod::{
    ContainerName, ContainerState, ExecConfig, PodError, PodLiveness, PodUid, Pods, PodsConfig, Renewal, Runtime,
    TerminalSize,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Machine, PATIENCE, finish, machine, until};

/// Counts until it is told to stop, a number about each millisecond, and ends with 7.
const COUNTER: &str = "i=0; while [ ! -e /dev/shm/stop ]; do echo $i; i=$((i+1)); usleep 1000; done; echo end; exit 7";

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

/// The same program as another file.
fn copy(m: &Machine, name: &str) -> PathBuf {
    let to = m.scratch.path().join(name);
    fs::copy(env!("CARGO_BIN_EXE_naru-supervisor"), &to).unwrap();
    to
}

/// A program that is a script. `$NARU` in it is the real program.
fn script(m: &Machine, name: &str, text: &str) -> PathBuf {
    let to = m.scratch.path().join(name);
    let text = text.replace("$NARU", env!("CARGO_BIN_EXE_naru-supervisor"));
    fs::write(&to, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    to
}

/// A daemon of this program, beside the machine's own.
fn daemon(m: &Machine, program: &Path) -> Pods {
    let mut config: PodsConfig = m.config.clone();
    config.supervisor.program = program.to_owned();
    Pods::open(config).unwrap()
}

async fn supervisor(m: &Machine, uid: &PodUid) -> i32 {
    match m.pods.state(uid).await.unwrap().liveness {
        PodLiveness::Alive(created) => created.supervisor_pid,
        PodLiveness::SupervisorLost => panic!("no supervisor"),
    }
}

fn file(path: impl AsRef<Path>) -> (u64, u64) {
    let found = fs::metadata(path).unwrap();
    (found.dev(), found.ino())
}

fn program(process: i32) -> (u64, u64) {
    file(format!("/proc/{process}/exe"))
}

fn shell(text: &str) -> ExecConfig {
    ExecConfig { args: ["sh", "-c", text].map(str::to_owned).to_vec(), ..ExecConfig::default() }
}

/// Checks that lines are 0, 1, 2, … and then `end`; gives how many numbers there were.
fn counted(text: &str, from: usize) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"end"));
    for (at, line) in lines[..lines.len() - 1].iter().enumerate() {
        assert_eq!(*line, (at + from).to_string(), "line {at} of {}", lines.len());
    }
    lines.len() - 1
}

#[tokio::test]
async fn containers_do_not_notice_twenty_new_programs_in_a_row() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", COUNTER);
    config.stdin = true;
    let pid = m.start(&uid, config).await.unwrap().pid;
    let mut attached = m.pods.attach(&uid, &name("a")).await.unwrap();
    let mut copied = attached.stdout.take().unwrap();
    let copied = tokio::spawn(async move {
        let mut text = String::new();
        copied.read_to_string(&mut text).await.unwrap();
        text
    });
    // One session with pipes, and one on a terminal, which goes on after the others.
    let waits = shell("while [ ! -e /dev/shm/stop ]; do sleep 0.01; done; exit 5");
    let piped = m.pods.exec(&uid, &name("a"), waits).await.unwrap();
    let terminal = ExecConfig {
        terminal: Some(TerminalSize { columns: 80, rows: 20 }),
        stdin: true,
        ..shell("read word; echo said $word; exit 6")
    };
    let mut typed = m.pods.exec(&uid, &name("a"), terminal).await.unwrap();

    let programs = ["one", "two"].map(|name| copy(&m, name));
    let daemons = programs.clone().map(|program| daemon(&m, &program));
    let process = supervisor(&m, &uid).await;
    for turn in 0..20 {
        daemons[turn % 2].renew_supervisor(&uid).await.unwrap();
        assert_eq!(program(process), file(&programs[turn % 2]), "turn {turn}");
    }
    assert_eq!(supervisor(&m, &uid).await, process, "another process");
    let state = m.pods.state(&uid).await.unwrap();
    assert!(matches!(state.containers[&name("a")].state, ContainerState::Running { pid: now, .. } if now == pid));
    let (text, _) = m.exec(&uid, "a", "echo still; grep Seccomp: /proc/self/status").await;
    assert_eq!(text, "still\nSeccomp:\t2\n");

    fs::write(m.config.run_dir.join("pods/p/shm/stop"), "").unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 7, "told on the connection of before");
    let numbers = counted(&m.log(&uid, "a"), 0);
    eprintln!("{numbers} lines through 20 programs");
    assert!(numbers > 20, "{numbers}: more than one a program");
    let seen = tokio::time::timeout(PATIENCE, copied).await.unwrap().unwrap();
    assert_eq!(counted(&seen, 0), numbers, "the attached client saw everything");
    assert_eq!(attached.exit.await.unwrap().code, 7);
    // These ended with their container, and how is told.
    assert!(matches!(finish(piped).await.1.code, 5 | 137));
    typed.stdin.as_mut().unwrap().write_all(b"word\n").await.ok();
    assert!(matches!(typed.exit.await.unwrap().code, 6 | 129 | 137));
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn sessions_go_on_and_every_end_is_seen() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod_with("p", |pod| pod.share_process_namespace = true).await;
    m.start(&uid, m.container(&uid, "long", "sleep 1000")).await.unwrap();
    let terminal = ExecConfig {
        terminal: Some(TerminalSize { columns: 80, rows: 20 }),
        stdin: true,
        ..shell("read word; echo said $word; exit 6")
    };
    let mut typed = m.pods.exec(&uid, &name("long"), terminal).await.unwrap();
    let other = copy(&m, "other");
    let (back, there) = (daemon(&m, &m.config.supervisor.program), daemon(&m, &other));
    let renewing = {
        let (uid, stop) = (uid.clone(), m.scratch.path().join("enough"));
        tokio::spawn(async move {
            let mut turns = 0;
            while !stop.exists() {
                there.renew_supervisor(&uid).await.unwrap();
                back.renew_supervisor(&uid).await.unwrap();
                turns += 2;
            }
            turns
        })
    };
    // Containers that start and end all the time, some with an unfinished line, and processes in one that stays.
    for number in 0..20 {
        let container = format!("c{number}");
        let script = format!("sleep 0.0{}; printf 'last words'; exit {number}", number % 10);
        m.start(&uid, m.container(&uid, &container, &script)).await.unwrap();
        let (text, exit) = m.exec(&uid, "long", &format!("echo from {number}; exit {number}")).await;
        assert_eq!((text, exit.code), (format!("from {number}\n"), number));
        if number % 3 == 0 {
            assert_eq!(m.exit(&uid, &name(&container), 0).await.code, number);
            m.pods.remove(&uid, &name(&container)).await.unwrap();
        }
    }
    for number in 0..20 {
        assert_eq!(m.exit(&uid, &name(&format!("c{number}")), 0).await.code, number);
        assert_eq!(m.log(&uid, &format!("c{number}")), "last words\n");
    }
    fs::write(m.scratch.path().join("enough"), "").unwrap();
    let turns = renewing.await.unwrap();
    eprintln!("{turns} programs meanwhile");
    assert!(turns > 0);
    typed.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    let mut text = Vec::new();
    typed.stdout.take().unwrap().read_to_end(&mut text).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("said hello"), "{text:?}");
    assert_eq!(typed.exit.await.unwrap().code, 6);
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn a_program_that_cannot_take_over_changes_nothing() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let pid = m.start(&uid, m.container(&uid, "a", COUNTER)).await.unwrap().pid;
    let process = supervisor(&m, &uid).await;
    let before = program(process);
    let missing = m.scratch.path().join("missing");
    let text = m.scratch.path().join("text");
    fs::write(&text, "no program").unwrap();
    for (program, why) in [
        (missing, "No such file"),
        (text, "Permission denied"),
        (script(&m, "silent", "exit 1"), "without a word"),
        (script(&m, "stranger", "echo hello"), "hello"),
        (script(&m, "unwilling", "echo 'Eits state needs a newer program'"), "needs a newer program"),
        // Killed when its time is over.
        (script(&m, "hangs", "exec sleep 1000"), "without a word"),
        // Shows that it can, and cannot be executed when it counts.
        (script(&m, "vanishes", "rm -f \"$0\"; exec $NARU \"$@\""), "No such file"),
    ] {
        let error = daemon(&m, &program).renew_supervisor(&uid).await.unwrap_err();
        assert!(error.to_string().contains(why), "{}: {error}", program.display());
    }
    assert_eq!(program(process), before);
    let (text, _) = m.exec(&uid, "a", "echo still").await;
    assert_eq!(text, "still\n");
    let state = m.pods.state(&uid).await.unwrap();
    assert!(matches!(state.containers[&name("a")].state, ContainerState::Running { pid: now, .. } if now == pid));
    fs::write(m.config.run_dir.join("pods/p/shm/stop"), "").unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 7);
    counted(&m.log(&uid, "a"), 0);
    m.pods.destroy(&uid).await.unwrap();
    assert_eq!(m.leftovers(), Default::default());
}

#[tokio::test]
async fn a_supervisor_killed_at_any_step_is_found_and_swept() {
    let Some(mut m) = machine() else { return };
    let real = "exec $NARU \"$@\"";
    let mut steps = vec![
        // While the new program shows that it can, and when it has.
        "case $1 in --can-take-over) kill -9 SUPERVISOR; sleep 1;; esac".to_owned(),
        format!("case $1 in --can-take-over) $NARU \"$@\"; kill -9 SUPERVISOR;; esac; {real}"),
        // As the first thing that it does in the other's place.
        format!("case $1 in --take-over) kill -9 $$;; esac; {real}"),
    ];
    // And at some moments after.
    for delay in ["0.001", "0.005", "0.02"] {
        steps.push(format!(
            "case $1 in --take-over) (sleep {delay}; kill -9 SUPERVISOR) >/dev/null 2>&1 & ;; esac; {real}"
        ));
    }
    for (at, step) in steps.iter().enumerate() {
        let uid = m.pod("p").await;
        m.run(&uid, m.container(&uid, "ended", "exit 5")).await;
        m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
        let process = supervisor(&m, &uid).await;
        let program = script(&m, &format!("step-{at}"), &step.replace("SUPERVISOR", &process.to_string()));
        let renewed = daemon(&m, &program).renew_supervisor(&uid).await;
        // Of those that are killed later, some have told that they took over.
        assert!(at > 2 || matches!(renewed, Err(PodError::SupervisorLost(_))), "step {at}: {renewed:?}");
        m.lost(&uid).await;
        m.forget();
        m.pods = Pods::open(m.config.clone()).unwrap();
        m.events = m.pods.events().unwrap();
        let records = m.pods.adopt().await.unwrap();
        assert_eq!((records.len(), &records[0].liveness), (1, &PodLiveness::SupervisorLost), "step {at}");
        let ended = &records[0].containers[&name("ended")].state;
        assert!(matches!(ended, ContainerState::Exited { exit } if exit.code == 5), "step {at}: {ended:?}");
        assert_eq!(records[0].containers[&name("a")].state, ContainerState::Lost);
        m.pods.sweep(&uid).await.unwrap();
        assert_eq!(m.leftovers(), Default::default(), "step {at}");
    }
}

#[tokio::test]
async fn a_daemon_of_another_program_replaces_what_it_adopts() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    m.start(&uid, m.container(&uid, "a", COUNTER)).await.unwrap();
    let process = supervisor(&m, &uid).await;
    let other = copy(&m, "other");
    for (turn, renewed) in [(1, 1), (2, 0)] {
        m.pods = daemon(&m, &other);
        m.events = m.pods.events().unwrap();
        let mut renewal = m.pods.renewal();
        assert_eq!(m.pods.adopt().await.unwrap().len(), 1);
        let over = tokio::time::timeout(PATIENCE, renewal.wait_for(|renewal| renewal.pending == 0)).await;
        assert_eq!(*over.expect("over").unwrap(), Renewal { pending: 0, renewed, kept: vec![] }, "turn {turn}");
        assert_eq!(program(process), file(&other));
    }
    // A file by the same name is another program; one that refuses leaves the supervisor as it is.
    fs::remove_file(&other).unwrap();
    let unwilling = script(&m, "other", "exit 1");
    m.pods = daemon(&m, &unwilling);
    m.events = m.pods.events().unwrap();
    let mut renewal = m.pods.renewal();
    m.pods.adopt().await.unwrap();
    let over = tokio::time::timeout(PATIENCE, renewal.wait_for(|renewal| renewal.pending == 0)).await.unwrap();
    assert_eq!(over.unwrap().kept.len(), 1);
    fs::write(m.config.run_dir.join("pods/p/shm/stop"), "").unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 7);
    counted(&m.log(&uid, "a"), 0);
    let gone = tokio::time::timeout(Duration::from_secs(20), m.pods.destroy(&uid)).await;
    gone.expect("destroyed").unwrap();
    until("nothing is left", || m.leftovers().is_empty()).await;
}
