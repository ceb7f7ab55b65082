//! `exec`, and the terminal handling that `run` and `attach` share.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use naru_client::Client;
use naru_client::exec::{Session, StreamError, StreamOptions, TerminalSize, exec as open};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::container::running;
use super::project::Target;

/// What to run.
pub(crate) struct Request {
    pub service: String,
    pub index: u32,
    pub no_tty: bool,
    pub detach: bool,
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub privileged: bool,
    pub command: Vec<String>,
}

/// `naru exec`.
pub(crate) async fn exec(client: &Client, target: &Target, request: Request) -> anyhow::Result<ExitCode> {
    let container = running(client, target, &request.service, request.index).await?;
    let tty = !request.no_tty && !request.detach && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let options = StreamOptions {
        container: container.name.clone(),
        command: request.command.clone(),
        stdin: !request.detach,
        stdout: true,
        stderr: true,
        tty,
        query: query(&request),
    };
    let session = match open(client, &target.namespace, &container.pod, &options).await {
        Ok(session) => session,
        Err(error) => return refused(&container.title, error),
    };
    if request.detach {
        return Ok(ExitCode::SUCCESS);
    }
    converse(&container.title, session, tty).await
}

/// A process that could not be run: the words of the node, and the exit codes that shells use for it.
fn refused(title: &str, error: StreamError) -> anyhow::Result<ExitCode> {
    let (StreamError::Refused(status) | StreamError::Failed(status)) = &error else {
        return Err(anyhow::Error::new(error).context(format!("cannot run a command in {title}")));
    };
    eprintln!("naru: {title}: {}", status.message);
    Ok(match &status.message {
        text if text.contains("not found") || text.contains("no such file") => ExitCode::from(127),
        text if text.contains("permission denied") => ExitCode::from(126),
        _ => ExitCode::FAILURE,
    })
}

/// What Kubernetes' exec has no words for; our nodes do.
fn query(request: &Request) -> Vec<(String, String)> {
    let variable = |pair: &String| match pair.contains('=') {
        true => pair.clone(),
        false => format!("{pair}={}", std::env::var(pair).unwrap_or_default()),
    };
    let mut query: Vec<_> = request.env.iter().map(|pair| ("env".to_owned(), variable(pair))).collect();
    query.extend(request.workdir.iter().map(|dir| ("workdir".to_owned(), dir.clone())));
    query.extend(request.user.iter().map(|user| ("user".to_owned(), user.clone())));
    if request.privileged {
        query.push(("privileged".to_owned(), "true".to_owned()));
    }
    query
}

/// Connects this terminal to a process until it ends; gives its exit code.
pub(crate) async fn converse(title: &str, mut session: Session, tty: bool) -> anyhow::Result<ExitCode> {
    let _raw = if tty { Some(RawTerminal::enter()?) } else { None };
    if tty {
        session.resize(terminal_size());
        let resizer = session.resizer();
        let mut changes = signal(SignalKind::window_change()).context("cannot follow the terminal's size")?;
        tokio::spawn(async move {
            while changes.recv().await.is_some() {
                resizer.send_replace(Some(terminal_size()));
            }
        });
    }
    if let Some(mut stdin) = session.stdin.take() {
        // A thread of its own: reading a terminal cannot be called off, and must not hold up the end.
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(16);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count) = std::io::Read::read(&mut std::io::stdin(), &mut buffer) {
                if count == 0 || sender.blocking_send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(bytes) = receiver.recv().await {
                if stdin.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = stdin.shutdown().await;
        });
    }
    let (_, empty) = tokio::io::duplex(1);
    let stdout = std::mem::replace(&mut session.stdout, empty);
    let (_, empty) = tokio::io::duplex(1);
    let stderr = std::mem::replace(&mut session.stderr, empty);
    let out = tokio::spawn(show(stdout, tokio::io::stdout()));
    let err = tokio::spawn(show(stderr, tokio::io::stderr()));
    let exit = session.wait().await;
    let _ = out.await;
    let _ = err.await;
    drop(_raw);
    match exit {
        Ok(exit) => Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(255))),
        Err(error) => refused(title, error),
    }
}

async fn show(mut from: tokio::io::DuplexStream, mut to: impl tokio::io::AsyncWrite + Unpin) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

fn terminal_size() -> TerminalSize {
    tcgetwinsize(std::io::stdout())
        .map_or(TerminalSize { width: 80, height: 24 }, |size| TerminalSize { width: size.ws_col, height: size.ws_row })
}

/// A terminal that hands every key on; put back when dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).context("cannot change the terminal's settings")?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
