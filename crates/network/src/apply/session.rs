//! Talking to `nft`: one process for a whole table, one long-lived interactive process for changes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use crate::plan::{Table, TableDelta};

/// An interactive `nft` reads one line a transaction; longer changes go to a process of their own.
const LONGEST_LINE: usize = 32 * 1024;
/// An interactive `nft` that is silent for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why rules could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program could not be started.
    #[error("cannot run nft; is the package nftables installed?")]
    Start(#[source] std::io::Error),
    /// The program said no.
    #[error("nft refused the rules: {message}")]
    Refused {
        /// What it said, shortened.
        message: String,
    },
    /// Talking to the program failed.
    #[error("lost the connection to nft")]
    Lost(#[source] std::io::Error),
}

/// The interactive process, when one runs.
#[derive(Debug, Default)]
pub(super) struct Nft {
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    child: Child,
    input: ChildStdin,
    errors: BufReader<ChildStderr>,
    sent: u64,
}

impl Nft {
    pub fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Puts a whole table in place of whatever is there.
    pub async fn replace(&mut self, table: &Table) -> Result<(), NftError> {
        run(table.replace()).await
    }

    /// Applies a change in one transaction.
    pub async fn change(&mut self, delta: &TableDelta) -> Result<(), NftError> {
        let line = delta.line();
        if line.len() > LONGEST_LINE {
            return run(delta.script()).await;
        }
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::start()?,
        };
        match tokio::time::timeout(PATIENCE, session.transact(&line)).await {
            Ok(Ok(())) => {
                self.session = Some(session);
                Ok(())
            }
            Ok(Err(refused @ NftError::Refused { .. })) => {
                self.session = Some(session);
                Err(refused)
            }
            // A version without interactive mode, or one that hangs: whether the change happened is unknown, so the
            // caller replaces the table.
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NftError::Lost(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// Ends the interactive process.
    pub async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            let Session { mut child, input, errors, .. } = session;
            drop((input, errors));
            if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                child.start_kill().ok();
            }
        }
    }
}

impl Session {
    fn start() -> Result<Self, NftError> {
        let mut child = Command::new("nft")
            .arg("-i")
            // Keeps it from reading and writing a history file.
            .env("HOME", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(NftError::Start)?;
        let lost = || NftError::Lost(std::io::ErrorKind::BrokenPipe.into());
        let input = child.stdin.take().ok_or_else(lost)?;
        let errors = BufReader::new(child.stderr.take().ok_or_else(lost)?);
        Ok(Self { child, input, errors, sent: 0 })
    }

    /// Sends one line and waits until it has taken effect.
    ///
    /// `nft -i` says nothing on success. So each transaction is followed by a word that is no command: the complaint
    /// about it is the acknowledgement, and whatever was complained about before it concerns the transaction.
    async fn transact(&mut self, line: &str) -> Result<(), NftError> {
        self.sent += 1;
        let mark = format!("naru-done-{}", self.sent);
        let text = format!("{line}\n{mark}\n");
        self.input.write_all(text.as_bytes()).await.map_err(NftError::Lost)?;
        self.input.flush().await.map_err(NftError::Lost)?;
        let mut said: Vec<String> = Vec::new();
        loop {
            let mut next = String::new();
            if self.errors.read_line(&mut next).await.map_err(NftError::Lost)? == 0 {
                return Err(NftError::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if next.trim() == mark {
                break;
            }
            said.push(next);
        }
        // The last line kept is the complaint's own headline; the line of carets after the mark comes later and is
        // skipped at the head of the next answer.
        said.pop();
        said.retain(|line| !line.trim().bytes().all(|byte| byte == b'^'));
        if said.is_empty() { Ok(()) } else { Err(NftError::Refused { message: shorten(&said.concat()) }) }
    }
}

/// Runs a script in a process of its own, as one transaction.
pub(super) async fn run(script: String) -> Result<(), NftError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Start)?;
    let lost = || NftError::Lost(std::io::ErrorKind::BrokenPipe.into());
    let mut input = child.stdin.take().ok_or_else(lost)?;
    let mut errors = child.stderr.take().ok_or_else(lost)?;
    let mut said = String::new();
    let write = async move {
        let written = input.write_all(script.as_bytes()).await;
        drop(input);
        written
    };
    let (written, read) = tokio::join!(write, errors.read_to_string(&mut said));
    read.map_err(NftError::Lost)?;
    let status = child.wait().await.map_err(NftError::Lost)?;
    if status.success() { written.map_err(NftError::Lost) } else { Err(NftError::Refused { message: shorten(&said) }) }
}

/// The first complaint, on one line.
fn shorten(said: &str) -> String {
    const LONGEST: usize = 400;
    let mut text = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
