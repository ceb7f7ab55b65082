//! Work that could block, in a child of its own.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::handover::{Bytes, Fd, Giver, Taker};
use crate::{
    pod::{ContainerName, Exit, StartFailure},
    sys::{self, Clone3, Forked},
};

/// Why a job runs, hence what follows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Purpose {
    /// The end of a container is written down.
    Ended { container: ContainerName, exit: Exit },
    /// A container's remains are removed.
    Removed { container: ContainerName },
    /// A container is frozen or thawed; a client waits.
    Frozen { container: ContainerName, frozen: bool, client: u64 },
    /// A client waits for the result.
    Answered { client: u64 },
    /// The pod is removed.
    Destroyed,
    /// What a failed start left is removed; its client waits.
    StartFailed { client: u64, failure: StartFailure },
    /// A new program shows whether it can take the pod over; a client waits.
    Renewed { client: u64, program: PathBuf, args: Vec<String> },
    /// Nobody waits.
    Forgotten,
}

/// A running child. Its pipe ends when it does.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) purpose: Purpose,
    pipe: OwnedFd,
    text: Vec<u8>,
}

/// The same as it is handed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobRecord {
    purpose: Purpose,
    pipe: Fd,
    text: Bytes,
}

impl Job {
    /// Runs `work` in a child. When no child can be made it runs here: late is better than never.
    pub(super) fn spawn(purpose: Purpose, work: impl FnOnce() -> Result<(), String>) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        match sys::clone3(&Clone3::default()) {
            Ok(Forked::Child) => {
                let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
                say(write.as_fd(), work());
                sys::exit_now(0)
            }
            Ok(Forked::Parent { .. }) => {}
            Err(_) => say(write.as_fd(), work()),
        }
        Ok(Self { purpose, pipe: read, text: Vec::new() })
    }

    /// Lets a child execute a program, whose output is the result: `D` for done, `E` and why not. `execute` returns only
    /// when that failed.
    pub(super) fn execute(purpose: Purpose, execute: impl FnOnce() -> io::Error) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        if let Forked::Child = sys::clone3(&Clone3::default())? {
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            let _ = rustix::stdio::dup2_stdout(write.as_fd());
            sys::reset_signals();
            let error = execute();
            say(write.as_fd(), Err(error.to_string()));
            sys::exit_now(0)
        }
        Ok(Self { purpose, pipe: read, text: Vec::new() })
    }

    pub(super) fn give(&self, giver: &mut Giver) -> JobRecord {
        JobRecord { purpose: self.purpose.clone(), pipe: giver.fd(&self.pipe), text: Bytes(self.text.clone()) }
    }

    pub(super) fn take(record: JobRecord, taker: &mut Taker) -> io::Result<Self> {
        Ok(Self { purpose: record.purpose, pipe: taker.fd(record.pipe)?, text: record.text.0 })
    }

    /// The result, once it is there.
    pub(super) fn poll(&mut self) -> Option<Result<(), String>> {
        let mut buffer = [0; 1024];
        loop {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => break,
                Ok(read) => self.text.extend_from_slice(&buffer[..read]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return None,
                Err(_) => break,
            }
        }
        Some(match self.text.split_first() {
            Some((b'D', _)) => Ok(()),
            Some((b'E', text)) => Err(String::from_utf8_lossy(text).into_owned()),
            Some(_) => Err(format!("it said {:?}", String::from_utf8_lossy(&self.text))),
            None => Err("the process that was to do it ended without a word".to_owned()),
        })
    }
}

impl AsFd for Job {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn say(pipe: BorrowedFd<'_>, result: Result<(), String>) {
    let text = match result {
        Ok(()) => "D".to_owned(),
        // Short enough for the pipe's buffer, should it run in the supervisor itself.
        Err(text) => format!("E{}", text.chars().take(2000).collect::<String>()),
    };
    let _ = rustix::io::write(pipe, text.as_bytes());
}
