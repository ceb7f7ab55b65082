//! One client: frames in, frames out, never waiting for it.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use serde::{Deserialize, Serialize};

use super::handover::{Bytes, Fd, Giver, Taker};
use crate::{
    pod::{
        ContainerName,
        protocol::{Answer, FromSupervisor, VERSION, body_length, encode},
    },
    sys,
};

/// A client that lets more than this pile up is cut off.
const LONGEST_QUEUE: usize = 256 * 1024;

struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    fd: Option<OwnedFd>,
}

/// What it is for, beyond its one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Role {
    Request,
    Subscriber,
    Attached(ContainerName),
}

pub(super) struct Connection {
    stream: UnixStream,
    pub(super) role: Role,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
    queue: VecDeque<Frame>,
    queued: usize,
    /// Broken, finished by the client, or too slow.
    pub(super) over: bool,
}

impl Connection {
    /// Takes an accepted connection if it comes from root (or from whom the supervisor itself runs as).
    pub(super) fn accept(stream: UnixStream) -> Option<Self> {
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        if !(peer.uid.is_root() || peer.uid == rustix::process::geteuid()) || stream.set_nonblocking(true).is_err() {
            return None;
        }
        Some(Self {
            stream,
            role: Role::Request,
            input: Vec::new(),
            fds: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            over: false,
        })
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Reads what is there and returns the bodies of complete frames. Descriptors stay until [`Self::take_fds`].
    pub(super) fn read(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match sys::receive(self.stream.as_fd(), &mut buffer) {
                Ok(received) if received.bytes == 0 => {
                    self.over = true;
                    break;
                }
                Ok(received) => {
                    self.input.extend_from_slice(&buffer[..received.bytes]);
                    self.fds.extend(received.fds);
                    if self.fds.len() > sys::MAX_FDS {
                        self.over = true;
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.over = true;
                    break;
                }
            }
        }
        self.frames()
    }

    fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        loop {
            match body_length(&self.input) {
                Ok(Some(length)) if self.input.len() >= 4 + length => {
                    bodies.push(self.input[4..4 + length].to_vec());
                    self.input.drain(..4 + length);
                }
                Ok(_) => break,
                Err(_) => {
                    self.over = true;
                    break;
                }
            }
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        bodies
    }

    /// The descriptors that came so far.
    pub(super) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    /// Queues an answer, with a descriptor if there is one, and sends what can be sent now.
    pub(super) fn answer(&mut self, answer: Answer, fd: Option<OwnedFd>) {
        let bytes = encode(&FromSupervisor { v: VERSION, answer });
        self.queued += bytes.len();
        self.queue.push_back(Frame { bytes, sent: 0, fd });
        if self.queued > LONGEST_QUEUE {
            self.over = true;
        } else {
            self.flush();
        }
    }

    /// Sends what can be sent now.
    pub(super) fn flush(&mut self) {
        while let Some(frame) = self.queue.front_mut() {
            let raw = frame.fd.as_ref().filter(|_| frame.sent == 0).map(AsRawFd::as_raw_fd);
            match sys::send(self.stream.as_fd(), &frame.bytes[frame.sent..], raw.as_slice()) {
                Ok(sent) => {
                    frame.sent += sent;
                    if frame.sent == frame.bytes.len() {
                        self.queued -= frame.bytes.len();
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}

/// A connection as it is handed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectionRecord {
    stream: Fd,
    role: Role,
    input: Bytes,
    fds: Vec<Fd>,
    queue: Vec<FrameRecord>,
    over: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FrameRecord {
    bytes: Bytes,
    sent: usize,
    fd: Option<Fd>,
}

impl Connection {
    pub(super) fn give(&self, giver: &mut Giver) -> ConnectionRecord {
        ConnectionRecord {
            stream: giver.fd(&self.stream),
            role: self.role.clone(),
            input: Bytes(self.input.clone()),
            fds: self.fds.iter().map(|fd| giver.fd(fd)).collect(),
            queue: self
                .queue
                .iter()
                .map(|frame| FrameRecord {
                    bytes: Bytes(frame.bytes.clone()),
                    sent: frame.sent,
                    fd: giver.option(frame.fd.as_ref()),
                })
                .collect(),
            over: self.over,
        }
    }

    pub(super) fn take(record: ConnectionRecord, taker: &mut Taker) -> io::Result<Self> {
        let mut queue = VecDeque::new();
        for frame in record.queue {
            let fd = taker.option(frame.fd)?;
            queue.push_back(Frame { sent: frame.sent.min(frame.bytes.0.len()), bytes: frame.bytes.0, fd });
        }
        Ok(Self {
            stream: taker.fd(record.stream)?.into(),
            role: record.role,
            input: record.input.0,
            fds: record.fds.into_iter().map(|fd| taker.fd(fd)).collect::<io::Result<_>>()?,
            queued: queue.iter().map(|frame| frame.bytes.len()).sum(),
            queue,
            over: record.over,
        })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
