//! Pseudo-terminals of a container's own devpts.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::check;
use crate::pod::TerminalSize;

/// A new terminal: we keep the master, the process gets the slave.
#[derive(Debug)]
pub(crate) struct TerminalPair {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
    /// Its number below `/dev/pts`.
    pub(crate) number: u32,
}

/// Opens a terminal through an open `ptmx` node, so that it belongs to that devpts and not to the host's.
pub(crate) fn open_terminal(ptmx: OwnedFd) -> io::Result<TerminalPair> {
    let mut unlock: libc::c_int = 0;
    let mut number: libc::c_uint = 0;
    let raw = ptmx.as_raw_fd();
    // SAFETY: the requests read or write exactly the integers passed; TIOCGPTPEER takes open flags and returns a descriptor.
    let slave = unsafe {
        check(libc::ioctl(raw, libc::TIOCSPTLCK, &mut unlock))?;
        check(libc::ioctl(raw, libc::TIOCGPTN, &mut number))?;
        check(libc::ioctl(raw, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC))?
    };
    // SAFETY: the kernel just gave us this descriptor.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    Ok(TerminalPair { master: ptmx, slave, number })
}

/// Makes an open terminal the controlling one of this session's leader.
pub(crate) fn controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes an integer.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    Ok(())
}

/// Sets a terminal's size; 0 by 0 is left alone.
pub(crate) fn resize(terminal: BorrowedFd<'_>, size: TerminalSize) -> io::Result<()> {
    if size == TerminalSize::default() {
        return Ok(());
    }
    let window = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request reads the structure, which outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &window) })?;
    Ok(())
}
