//! Exec and attach.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use naru_runtime::pod::{ExecConfig, PodError, Reader, RunAs, Session, TerminalSize, Writer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    channels::{Channel, In, Out, Peer, failure, outcome},
    reply::{Refusal, Reply},
    router::Call,
    spdy, upgrade, websocket,
};

const BUFFER: usize = 32 << 10;
/// After a process has ended, something it started may still hold its output.
const LINGER: Duration = Duration::from_secs(2);
/// How long a process with a terminal waits for the size of its client's window.
const FIRST_SIZE: Duration = Duration::from_millis(50);

/// The streams that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Wanted {
    fn of(call: &Call) -> Wanted {
        let flag = |ours: &str, theirs: &str| call.query.flag(&[ours, theirs]);
        let tty = call.query.flag(&["tty"]);
        Wanted {
            stdin: flag("stdin", "input"),
            stdout: flag("stdout", "output"),
            stderr: flag("stderr", "error") && !tty,
            tty,
        }
    }
}

/// `/exec/{namespace}/{pod}/{container}?command=…`.
pub(super) async fn exec(mut call: Call, namespace: &str, pod: &str, container: &str) -> Reply {
    let (uid, name) = call.pod(namespace, pod)?.running(container)?;
    let wanted = Wanted::of(&call);
    let args = call.query.all("command");
    if args.is_empty() {
        return Err(Refusal::bad("you must specify at least 1 command for the container"));
    }
    let user = call
        .query
        .get("user")
        .filter(|user| !user.is_empty())
        .map(|user| RunAs { user: user.to_owned(), ..RunAs::default() });
    let config = ExecConfig {
        args,
        env: call.query.all("env"),
        cwd: call.query.get("workdir").filter(|path| !path.is_empty()).map(Into::into),
        user,
        terminal: wanted.tty.then(TerminalSize::default),
        stdin: wanted.stdin,
        privileged: call.query.flag(&["privileged"]),
    };
    let agreed = agree(&mut call)?;
    let node = call.node().clone();
    let (spdy, protocol, stream) = (agreed.spdy, agreed.protocol, agreed.upgrade);
    tokio::spawn(async move {
        let Some(mut peer) = connect(stream, spdy, &protocol, wanted).await else { return };
        let mut config = config;
        let early = match &mut config.terminal {
            Some(size) => first_size(&mut peer, size).await,
            None => Vec::new(),
        };
        match node.config.runtime.exec(&uid, &name, config).await {
            Ok(session) => run(session, peer, early).await,
            Err(error) => refuse(peer, &crate::chain(&error)).await,
        }
    });
    Ok(agreed.response)
}

/// `/attach/{namespace}/{pod}/{container}`.
pub(super) async fn attach(mut call: Call, namespace: &str, pod: &str, container: &str) -> Reply {
    let (uid, name) = call.pod(namespace, pod)?.running(container)?;
    let wanted = Wanted::of(&call);
    let agreed = agree(&mut call)?;
    let node = call.node().clone();
    let (spdy, protocol, stream) = (agreed.spdy, agreed.protocol, agreed.upgrade);
    // Before anything is agreed on: a client that is refused reads the log instead, one that was let in does not.
    let session = node.config.runtime.attach(&uid, &name).await.map_err(|error| match error {
        PodError::WrongState { .. } => Refusal::new(StatusCode::CONFLICT, crate::chain(&error)),
        error => Refusal::failed(&error),
    })?;
    tokio::spawn(async move {
        let Some(peer) = connect(stream, spdy, &protocol, wanted).await else { return };
        let stdin = session.stdin.filter(|_| wanted.stdin);
        let stdout = session.stdout.filter(|_| wanted.stdout);
        let stderr = session.stderr.filter(|_| wanted.stderr);
        run(Session { stdin, stdout, stderr, ..session }, peer, Vec::new()).await;
    });
    Ok(agreed.response)
}

fn agree(call: &mut Call) -> Result<upgrade::Agreed, Refusal> {
    upgrade::agree(&mut call.request, &[websocket::V5, websocket::V4], &spdy::VERSIONS)
}

async fn connect(stream: OnUpgrade, spdy: bool, protocol: &str, wanted: Wanted) -> Option<Peer> {
    let io = match upgrade::io(stream).await {
        Ok(io) => io,
        Err(error) => {
            tracing::debug!(%error, "a stream was not taken over");
            return None;
        }
    };
    if spdy { spdy::peer(io, wanted).await } else { Some(websocket::peer(io, protocol == websocket::V5).await) }
}

/// Clients tell their window's size first of all: a program that asks for it at once should see it. What else comes
/// meanwhile is kept.
async fn first_size(peer: &mut Peer, size: &mut TerminalSize) -> Vec<In> {
    let mut early = Vec::new();
    let told = async {
        while let Some(next) = peer.input.recv().await {
            match next {
                In::Resize(told) => {
                    *size = told;
                    return;
                }
                other => early.push(other),
            }
        }
    };
    let _ = tokio::time::timeout(FIRST_SIZE, told).await;
    early
}

async fn refuse(peer: Peer, message: &str) {
    let _ = peer.out.send(Out::Data(Channel::Error, failure(message).to_string().into())).await;
    let _ = peer.out.send(Out::Over).await;
}

/// Copies until the process has ended and its output is told, then tells its exit. `early` came before the process.
async fn run(session: Session, peer: Peer, early: Vec<In>) {
    let Session { stdin, stdout, stderr, terminal, mut exit } = session;
    let Peer { out, input } = peer;
    let feeding = tokio::spawn(feed(stdin, terminal, early, input));
    let outputs = {
        let (first, second) = (out.clone(), out.clone());
        async move { tokio::join!(pour(stdout, Channel::Stdout, first), pour(stderr, Channel::Stderr, second)) }
    };
    let mut outputs = std::pin::pin!(outputs);
    let ended = tokio::select! {
        ended = &mut exit => {
            let _ = tokio::time::timeout(LINGER, &mut outputs).await;
            ended
        }
        // The client may have closed its end of the output: the exit is still awaited.
        _ = &mut outputs => exit.await,
    };
    let word = match ended {
        Ok(exit) => outcome(exit.code),
        Err(error) => failure(&crate::chain(&error)),
    };
    let _ = out.send(Out::Data(Channel::Error, word.to_string().into())).await;
    let _ = out.send(Out::Over).await;
    feeding.abort();
}

async fn pour(from: Option<Reader>, channel: Channel, out: mpsc::Sender<Out>) {
    let Some(mut from) = from else { return };
    let mut buffer = BytesMut::with_capacity(BUFFER);
    loop {
        buffer.reserve(BUFFER);
        match from.read_buf(&mut buffer).await {
            // A terminal whose last process ended answers with an I/O error.
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if out.send(Out::Data(channel, buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = out.send(Out::End(channel)).await;
}

async fn feed(
    mut stdin: Option<Writer>,
    terminal: Option<naru_runtime::pod::Terminal>,
    early: Vec<In>,
    mut input: mpsc::Receiver<In>,
) {
    let mut early = early.into_iter();
    while let Some(next) = match early.next() {
        Some(next) => Some(next),
        None => input.recv().await,
    } {
        match next {
            In::Stdin(bytes) => write(&mut stdin, &bytes).await,
            In::StdinEnd => stdin = None,
            In::Resize(size) => {
                if let Some(terminal) = &terminal
                    && let Err(error) = terminal.resize(size)
                {
                    tracing::debug!(%error, "a terminal was not resized");
                }
            }
        }
    }
    // The client is gone: the process sees the end of its input.
    drop(stdin);
    // The terminal stays open for as long as the process runs.
    let _terminal = terminal;
    std::future::pending::<()>().await;
}

async fn write(stdin: &mut Option<Writer>, bytes: &Bytes) {
    let Some(writer) = stdin else { return };
    if writer.write_all(bytes).await.is_err() || writer.flush().await.is_err() {
        // The process has closed its input.
        *stdin = None;
    }
}
