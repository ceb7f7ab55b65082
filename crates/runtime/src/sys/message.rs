//! Bytes and file descriptors over unix sockets.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use super::check;

/// At most this many descriptors travel with one message.
pub(crate) const MAX_FDS: usize = 4;
const SPACE: usize = 64;

#[repr(align(8))]
struct Control([u8; SPACE]);

/// What one receive gave: 0 bytes means the other end is closed.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Sends bytes, with descriptors attached to the first of them. Returns how many bytes went. Never raises SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    assert!(fds.len() <= MAX_FDS, "more descriptors than a message may carry");
    let mut control = Control([0; SPACE]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        let length = mem::size_of_val(fds);
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute sizes.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(length as u32) } as _;
        // SAFETY: msg_control points to SPACE aligned bytes, enough for one header and MAX_FDS descriptors, so that
        // CMSG_FIRSTHDR and CMSG_DATA point inside them.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(length as u32) as _;
            ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(first), length);
        }
    }
    // SAFETY: `header` refers to `part`, `bytes` and `control`, which all outlive the call.
    let sent = check(unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL) })?;
    Ok(sent as usize)
}

/// Receives bytes and any descriptors sent with them; the descriptors are close-on-exec.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; SPACE]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = SPACE as _;
    // SAFETY: `header` refers to `part`, `buffer` and `control`, which all outlive the call.
    let bytes = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) })?;
    let mut fds = Vec::new();
    // SAFETY: the kernel filled msg_control with well-formed headers up to msg_controllen; the macros walk only these, and
    // each SCM_RIGHTS payload is a sequence of descriptors that are now ours alone.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&header);
        while !at.is_null() {
            if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                let length = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..length / mem::size_of::<RawFd>() {
                    let raw = ptr::read_unaligned(libc::CMSG_DATA(at).cast::<RawFd>().add(index));
                    fds.push(OwnedFd::from_raw_fd(raw));
                }
            }
            at = libc::CMSG_NXTHDR(&header, at);
        }
    }
    Ok(Received { bytes: bytes as usize, fds })
}
