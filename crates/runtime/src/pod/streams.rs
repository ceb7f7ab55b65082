//! Pipes and terminals as asynchronous streams.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    net::{UnixStream, unix::pipe},
};

use super::{
    Terminal,
    protocol::{Request, ToSupervisor, VERSION, encode},
};
use crate::sys;

/// Room for a client that is briefly slower than the container.
const ATTACH_BUFFER: usize = 1 << 20;

/// The process's end to read from, ours to write to.
pub(super) fn way_in() -> io::Result<(OwnedFd, pipe::Sender)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((read, pipe::Sender::from_owned_fd(write)?))
}

/// The process's end to write to, ours to read from.
pub(super) fn way_out() -> io::Result<(OwnedFd, pipe::Receiver)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((write, pipe::Receiver::from_owned_fd(read)?))
}

/// The same with room for a burst.
pub(super) fn wide_way_out() -> io::Result<(OwnedFd, pipe::Receiver)> {
    let (write, read) = way_out()?;
    // Beyond the machine's limit it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, ATTACH_BUFFER);
    Ok((write, read))
}

/// A terminal's master, both ways.
#[derive(Clone)]
pub(super) struct Master(Arc<AsyncFd<OwnedFd>>);

impl Master {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: an `OwnedFd` always gives the same descriptor and keeps it open until the registration is dropped with it.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register(fd)? };
        Ok(Self(Arc::new(registered)))
    }

    pub(super) fn terminal(&self) -> Terminal {
        let master = self.0.clone();
        Terminal::new(move |size| sys::resize(master.as_fd(), size))
    }
}

impl AsyncRead for Master {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let target = buf.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *target)?)) {
                Ok(Ok(read)) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // The last process that had the terminal is gone.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Master {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(done) => return Poll::Ready(done),
                Err(_) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The way to a container's stdin, which the supervisor holds too: it has to be told of the end.
pub(super) struct AttachedStdin {
    pipe: pipe::Sender,
    supervisor: Option<Arc<UnixStream>>,
}

impl AttachedStdin {
    pub(super) fn new(pipe: OwnedFd, supervisor: Arc<UnixStream>) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Sender::from_owned_fd(pipe)?, supervisor: Some(supervisor) })
    }

    fn close(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            let frame = encode(&ToSupervisor { v: VERSION, request: Request::CloseStdin });
            // The one small frame after the request always fits the socket's buffer.
            let _ = sys::send(supervisor.as_fd(), &frame, &[]);
        }
    }
}

impl Drop for AttachedStdin {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncWrite for AttachedStdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// For a message: the numbers of what travels with it.
pub(super) fn raw(fds: &[OwnedFd]) -> Vec<i32> {
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}
