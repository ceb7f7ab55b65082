//! Work that could block, in a child of its own.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::{
    pod::{ContainerName, Exit, StartFailure},
    sys::{self, Clone3, Forked},
};

/// Why a job runs, hence what follows it.
#[derive(Debug)]
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
            Some((_, text)) => Err(String::from_utf8_lossy(text).into_owned()),
            None => Err("the helper process was killed".to_owned()),
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
