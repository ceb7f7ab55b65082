//! Processes started later, terminals, attaching.

use naru_runtime::pod::{ContainerName, ExecConfig, PodError, RunAs, Runtime, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PATIENCE, finish, machine, until};

fn name(text: &str) -> ContainerName {
    ContainerName::new(text).unwrap()
}

fn shell(script: &str) -> ExecConfig {
    ExecConfig { args: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecConfig::default() }
}

/// Reads until the text so far holds `wanted`.
async fn read_until(reader: &mut (impl tokio::io::AsyncRead + Unpin), wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let read = tokio::time::timeout(PATIENCE, reader.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("{wanted:?} does not come; so far: {text:?}")).unwrap();
        assert!(read > 0, "ended before {wanted:?}: {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[tokio::test]
async fn a_process_joins_everything_of_its_container() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "sleep 1000");
    config.env.push("GREETING=hello".into());
    let pid = m.start(&uid, config).await.unwrap().pid;
    // The shell becomes it.
    let comm = format!("/proc/{pid}/comm");
    until("its program", || std::fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")).await;
    let (text, exit) = m.exec(&uid, "a", "echo $GREETING; echo err >&2; cat /proc/1/comm; exit 3").await;
    assert_eq!((text.as_str(), exit.code), ("hello\nsleep\nerr\n", 3));
    for ns in ["mnt", "net", "ipc", "uts", "pid", "cgroup"] {
        let (text, _) = m.exec(&uid, "a", &format!("readlink /proc/self/ns/{ns}; readlink /proc/1/ns/{ns}")).await;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], lines[1], "{ns}");
    }
    let (text, _) = m.exec(&uid, "a", "grep -E 'CapEff|Seccomp:' /proc/self/status; unshare -m true").await;
    assert!(
        text.contains("00000000a80425fb") && text.contains("Seccomp:\t2") && text.contains("not permitted"),
        "{text}"
    );
    let privileged = ExecConfig { privileged: true, ..shell("grep Seccomp: /proc/self/status; unshare -m echo may") };
    let (text, _) = finish(m.pods.exec(&uid, &name("a"), privileged).await.unwrap()).await;
    assert_eq!(text, "Seccomp:\t0\nmay\n");
    let user = RunAs { user: "web".into(), ..RunAs::default() };
    let as_web = ExecConfig { user: Some(user), cwd: Some("/tmp".into()), ..shell("id -u; pwd; echo $HOME") };
    let (text, _) = finish(m.pods.exec(&uid, &name("a"), as_web).await.unwrap()).await;
    assert_eq!(text, "101\n/tmp\n/srv/web\n");
}

#[tokio::test]
async fn stdin_closes_by_halves() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let config = ExecConfig { stdin: true, ..shell("cat; echo after the end; exit 6") };
    let mut session = m.pods.exec(&uid, &name("a"), config).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"some text\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let (text, exit) = finish(session).await;
    assert_eq!((text.as_str(), exit.code), ("some text\nafter the end\n", 6));
}

#[tokio::test]
async fn a_terminal_with_a_size_that_changes() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let config = ExecConfig {
        terminal: Some(TerminalSize { columns: 91, rows: 27 }),
        stdin: true,
        ..shell("stty size; tty; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done")
    };
    let mut session = m.pods.exec(&uid, &name("a"), config).await.unwrap();
    let mut stdout = session.stdout.take().unwrap();
    let text = read_until(&mut stdout, "ready").await;
    assert!(text.contains("27 91") && text.contains("/dev/pts/"), "{text:?}");
    session.terminal.as_ref().unwrap().resize(TerminalSize { columns: 120, rows: 50 }).unwrap();
    read_until(&mut stdout, "50 120").await;
    assert_eq!(session.exit.await.unwrap().code, 4);
    let config = ExecConfig { terminal: Some(TerminalSize::default()), stdin: true, ..shell("cat") };
    let mut session = m.pods.exec(&uid, &name("a"), config).await.unwrap();
    let mut stdout = session.stdout.take().unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    read_until(&mut stdout, "typed\r\ntyped").await;
    stdin.write_all(&[3]).await.unwrap();
    assert_eq!(session.exit.await.unwrap().signal, Some(2), "Ctrl-C");
}

#[tokio::test]
async fn what_cannot_be_executed_is_said() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let missing = m.pods.exec(&uid, &name("a"), shell("true")).await.unwrap_err();
    assert!(matches!(missing, PodError::WrongState { .. }), "{missing}");
    m.start(&uid, m.container(&uid, "a", "sleep 1000")).await.unwrap();
    let config = ExecConfig { args: vec!["bash".into()], ..ExecConfig::default() };
    match m.pods.exec(&uid, &name("a"), config).await.unwrap_err() {
        PodError::Exec { failure, .. } => {
            assert_eq!(failure.to_string(), "exec: \"bash\": executable file not found in $PATH");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn attaching_to_streams() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "echo early; while read line; do echo got $line; done; echo eof; exit 8");
    config.stdin = true;
    config.stdin_once = true;
    m.start(&uid, config).await.unwrap();
    let mut session = m.pods.attach(&uid, &name("a")).await.unwrap();
    let mut stdout = session.stdout.take().unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\n").await.unwrap();
    read_until(&mut stdout, "got one").await;
    drop(stdin);
    read_until(&mut stdout, "eof").await;
    assert_eq!(session.exit.await.unwrap().code, 8);
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 8);
    assert_eq!(m.log(&uid, "a"), "early\ngot one\neof\n", "attaching took lines from the log");
}

#[tokio::test]
async fn attaching_to_a_terminal() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config =
        m.container(&uid, "a", "tty; stty size; test -c /dev/console && echo console; read line; echo got $line");
    config.stdin = true;
    config.terminal = Some(TerminalSize { columns: 70, rows: 20 });
    m.start(&uid, config).await.unwrap();
    until("its size", || m.log(&uid, "a").contains("20 70")).await;
    let mut session = m.pods.attach(&uid, &name("a")).await.unwrap();
    assert!(session.stderr.is_none() && session.terminal.is_some());
    session.stdin.as_mut().unwrap().write_all(b"words\n").await.unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 0);
    let text = m.log(&uid, "a");
    assert!(text.contains("/dev/pts/0") && text.contains("console") && text.contains("got words"), "{text:?}");
}

/// A client that does not read must cost the container and its log nothing.
#[tokio::test]
async fn a_slow_client_is_cut_off() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "read go; seq 1 400000");
    config.stdin = true;
    m.start(&uid, config).await.unwrap();
    let mut session = m.pods.attach(&uid, &name("a")).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    assert_eq!(m.exit(&uid, &name("a"), 0).await.code, 0);
    assert_eq!(m.log(&uid, "a").lines().count(), 400_000);
    let mut text = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut text).await.unwrap();
    assert!(text.len() < 2_500_000, "nothing was held back");
}

#[tokio::test]
async fn the_first_to_attach_is_given_what_was_said_before() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config =
        m.container(&uid, "a", "echo first words; printf 'prompt> '; read line; echo got $line; sleep 1000");
    config.stdin = true;
    m.start(&uid, config).await.unwrap();
    until("the words are said", || m.log(&uid, "a").contains("first words")).await;
    let mut session = m.pods.attach(&uid, &name("a")).await.unwrap();
    let mut stdout = session.stdout.take().unwrap();
    assert_eq!(read_until(&mut stdout, "prompt> ").await, "first words\nprompt> ");
    session.stdin.as_mut().unwrap().write_all(b"it\n").await.unwrap();
    read_until(&mut stdout, "got it\n").await;
    // The second one did not wait for them.
    let mut late = m.pods.attach(&uid, &name("a")).await.unwrap();
    let (text, _) = m.exec(&uid, "a", "echo later > /proc/1/fd/1; echo done").await;
    assert_eq!(text, "done\n");
    assert_eq!(read_until(late.stdout.as_mut().unwrap(), "later\n").await, "later\n");
}
