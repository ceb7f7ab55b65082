//! What a starting process tells the supervisor. Its end of the socket closes when the program is executed: silence after
//! `Ready` is success.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::{pod::StartFailure, sys};

/// One message.
#[derive(Debug)]
pub(crate) enum Report {
    /// Something could not be granted.
    Warning(String),
    /// The master of the process's terminal.
    Terminal(OwnedFd),
    /// Everything is set up; the next thing is the exec.
    Ready,
    /// It failed.
    Failed(StartFailure),
    /// The other end is closed.
    End,
}

/// The process's end.
#[derive(Debug)]
pub(crate) struct Reporter(pub(super) OwnedFd);

/// The two ends: ours (non-blocking) and the process's.
pub(crate) fn report_pair() -> io::Result<(OwnedFd, Reporter)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, Reporter(theirs)))
}

impl Reporter {
    pub(super) fn warn(&self, text: &str) {
        let mut message = Vec::with_capacity(text.len() + 1);
        message.push(b'W');
        message.extend_from_slice(text.as_bytes());
        // A warning that cannot be told is not worth failing for.
        let _ = sys::send(self.0.as_fd(), &message, &[]);
    }

    pub(super) fn terminal(&self, master: BorrowedFd<'_>) -> io::Result<()> {
        sys::send(self.0.as_fd(), b"T", &[master.as_raw_fd()]).map(drop)
    }

    /// Fails when the supervisor is gone: then the process must not go on without it.
    pub(super) fn ready(&self) -> io::Result<()> {
        sys::send(self.0.as_fd(), b"R", &[]).map(drop)
    }

    pub(crate) fn failed(&self, failure: &StartFailure) {
        let mut message = vec![b'F'];
        if serde_json::to_writer(&mut message, failure).is_ok() {
            let _ = sys::send(self.0.as_fd(), &message, &[]);
        }
    }
}

/// Reads one message; `None` when there is none yet.
pub(crate) fn read_report(ours: BorrowedFd<'_>) -> Option<Report> {
    let mut buffer = [0; 8192];
    let received = match sys::receive(ours, &mut buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
        Err(_) => return Some(Report::End),
    };
    let text = &buffer[..received.bytes];
    let mut fds = received.fds;
    Some(match text.split_first() {
        Some((b'W', text)) => Report::Warning(String::from_utf8_lossy(text).into_owned()),
        Some((b'F', text)) => match serde_json::from_slice(text) {
            Ok(failure) => Report::Failed(failure),
            Err(_) => Report::End,
        },
        Some((b'T', _)) if fds.len() == 1 => Report::Terminal(fds.remove(0)),
        Some((b'R', _)) => Report::Ready,
        _ => Report::End,
    })
}
