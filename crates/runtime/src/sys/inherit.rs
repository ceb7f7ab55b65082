//! Descriptors that outlive an execve.

use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::io::FdFlags;

/// Says whether the program executed next keeps these descriptors.
pub(crate) fn inherit(fds: &[RawFd], kept: bool) -> io::Result<()> {
    let flags = if kept { FdFlags::empty() } else { FdFlags::CLOEXEC };
    for raw in fds {
        // SAFETY: callers pass numbers of descriptors that they own and that stay open during the call.
        let fd = unsafe { BorrowedFd::borrow_raw(*raw) };
        rustix::io::fcntl_setfd(fd, flags)?;
    }
    Ok(())
}

/// Takes over a descriptor that the program before this one left open under a number. It is close-on-exec from then on.
/// The caller takes each number once, and only such as that program named.
pub(crate) fn inherited(raw: RawFd) -> io::Result<OwnedFd> {
    if raw <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only asks for flags; a number that is not open is an error.
    super::check(unsafe { libc::fcntl(raw, libc::F_GETFD) })?;
    inherit(&[raw], false)?;
    // SAFETY: it is open, and by the contract above nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Ends this process by a signal after so many seconds, whatever it has executed meanwhile.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: sets a timer of this process.
    unsafe { libc::alarm(seconds) };
}
