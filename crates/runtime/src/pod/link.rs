//! One connection to a supervisor.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::Path,
    sync::Arc,
};

use tokio::{io::Interest, net::UnixStream};

use super::protocol::{Answer, FromSupervisor, Request, ToSupervisor, VERSION, body_length, encode};
use crate::sys;

/// Open while one request, or a subscription, lasts.
pub(super) struct Link {
    stream: Arc<UnixStream>,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// What came.
pub(super) struct Received {
    pub(super) answer: Answer,
    pub(super) fd: Option<OwnedFd>,
}

impl Link {
    /// Connects and sends one request. The socket's folder is named by descriptor: an address holds 108 bytes only.
    pub(super) async fn open(socket: &Path, request: Request, fds: &[RawFd]) -> io::Result<Self> {
        let folder = File::open(socket.parent().unwrap_or(socket))?;
        let name = socket.file_name().unwrap_or_default();
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        let stream = Arc::new(UnixStream::connect(short).await?);
        let link = Self { stream, input: Vec::new(), fds: Vec::new() };
        let frame = encode(&ToSupervisor { v: VERSION, request });
        let mut sent = 0;
        while sent < frame.len() {
            link.stream.writable().await?;
            let fds = if sent == 0 { fds } else { &[] };
            let send = || sys::send(link.stream.as_fd(), &frame[sent..], fds);
            match link.stream.try_io(Interest::WRITABLE, send) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(link)
    }

    /// The socket itself, for a later word on the same connection.
    pub(super) fn stream(&self) -> Arc<UnixStream> {
        self.stream.clone()
    }

    /// The next answer. The end of the connection is an error of kind `UnexpectedEof`.
    pub(super) async fn receive(&mut self) -> io::Result<Received> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        loop {
            let length = body_length(&self.input).map_err(|l| invalid(format!("a frame of {l} bytes")))?;
            if let Some(length) = length.filter(|l| self.input.len() >= 4 + l) {
                let message: FromSupervisor =
                    serde_json::from_slice(&self.input[4..4 + length]).map_err(|e| invalid(e.to_string()))?;
                self.input.drain(..4 + length);
                let fd = if self.fds.is_empty() { None } else { Some(self.fds.remove(0)) };
                return Ok(Received { answer: message.answer, fd });
            }
            self.stream.readable().await?;
            let mut buffer = [0; 8192];
            let read = || sys::receive(self.stream.as_fd(), &mut buffer);
            match self.stream.try_io(Interest::READABLE, read) {
                Ok(received) if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => {
                    self.input.extend_from_slice(&buffer[..received.bytes]);
                    self.fds.extend(received.fds);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
