//! A netlink socket, in this network namespace or in another one.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Message, flag};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The largest datagram the kernel sends on a dump.
const BUFFER: usize = 64 * 1024;

/// What a request came to, when it was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// The kernel refused message number `index` of the request.
    #[error("the kernel refused netlink message {index}")]
    Refused {
        index: usize,
        #[source]
        source: io::Error,
    },
    /// The socket itself failed.
    #[error("the netlink socket failed")]
    Socket(#[source] io::Error),
}

impl NetlinkError {
    /// The error number, for callers that tolerate `EEXIST` or `ENOENT`.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket(source) => source.raw_os_error(),
        }
    }
}

impl From<rustix::io::Errno> for NetlinkError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// One answer of a dump: the message type and everything after the netlink header.
#[derive(Debug)]
pub(crate) struct Reply {
    pub kind: u16,
    pub body: Vec<u8>,
}

/// A netlink socket. It stays in the namespace it was opened in, whatever thread uses it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// Opens a route socket in the calling thread's namespace.
    pub fn route() -> Result<Self, NetlinkError> {
        // NETLINK_ROUTE is protocol 0, which is what `None` asks for.
        Self::open(None)
    }

    /// Opens a netfilter socket in the calling thread's namespace.
    pub fn netfilter() -> Result<Self, NetlinkError> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// Opens a generic netlink socket in the calling thread's namespace.
    pub fn generic() -> Result<Self, NetlinkError> {
        Self::open(Some(netlink::GENERIC))
    }

    /// Runs `open` on a short-lived thread inside the namespace `netns`.
    ///
    /// A thread of its own, because a thread that fails to come back from another namespace must never be reused.
    pub fn within<T: Send>(
        netns: BorrowedFd<'_>,
        open: impl FnOnce() -> Result<T, NetlinkError> + Send,
    ) -> Result<T, NetlinkError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("naru-netns".into()).spawn_scoped(scope, || {
                move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
                open()
            });
            match thread.map_err(NetlinkError::Socket)?.join() {
                Ok(result) => result,
                Err(_) => Err(NetlinkError::Socket(io::Error::other("the namespace thread panicked"))),
            }
        })
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> Result<Self, NetlinkError> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&fd, 1 << 20).ok();
        Ok(Self { fd, sequence: Cell::new(1) })
    }

    /// Sends `message` and waits for its acknowledgement.
    pub fn request(&self, message: Message) -> Result<(), NetlinkError> {
        self.request_all(vec![message])
    }

    /// Sends all messages in one system call. The kernel runs them in order and goes on after a failure; the first
    /// failure is returned.
    pub fn request_all(&self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        let first = self.sequence.get();
        let count = messages.len();
        let mut bytes = Vec::with_capacity(count * 128);
        for (index, message) in messages.into_iter().enumerate() {
            let mut one = message.finish(first + index as u32);
            let flags = u16::from_ne_bytes([one[6], one[7]]) | flag::ACK;
            one[6..8].copy_from_slice(&flags.to_ne_bytes());
            bytes.extend_from_slice(&one);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.sequence.set(first + count as u32);
        self.send(&bytes)?;
        let mut failure = None;
        let mut seen = 0;
        while seen < count {
            for_each_message(&self.receive()?, |kind, sequence, body| {
                let index = sequence.wrapping_sub(first) as usize;
                if kind == ERROR && index < count {
                    seen += 1;
                    if let (Some(error), None) = (error_of(body), &failure) {
                        failure = Some(NetlinkError::Refused { index, source: error });
                    }
                }
            });
        }
        failure.map_or(Ok(()), Err)
    }

    /// Sends an nf_tables batch: all messages or none take effect.
    pub fn batch(&self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        const BEGIN: u16 = 0x10;
        const END: u16 = 0x11;
        // nfgenmsg of the batch: family unspecified, version 0, resource id = the nf_tables subsystem (network order).
        let header = [0u8, 0, 0, 10];
        let first = self.sequence.get();
        let count = messages.len();
        let mut bytes = Message::new(BEGIN, 0, &header).finish(first);
        for (index, message) in messages.into_iter().enumerate() {
            let mut one = message.finish(first + 1 + index as u32);
            if index + 1 == count {
                let flags = u16::from_ne_bytes([one[6], one[7]]) | flag::ACK;
                one[6..8].copy_from_slice(&flags.to_ne_bytes());
            }
            bytes.extend_from_slice(&one);
        }
        bytes.extend_from_slice(&Message::new(END, 0, &header).finish(first + 1 + count as u32));
        self.sequence.set(first + 2 + count as u32);
        self.send(&bytes)?;
        let mut outcome = None;
        while outcome.is_none() {
            for_each_message(&self.receive()?, |kind, sequence, body| {
                if kind == ERROR && outcome.is_none() {
                    let index = sequence.wrapping_sub(first + 1) as usize;
                    outcome =
                        Some(error_of(body).map_or(Ok(()), |source| Err(NetlinkError::Refused { index, source })));
                }
            });
        }
        outcome.unwrap_or(Ok(()))
    }

    /// Sends a dump or get request and collects the answers.
    pub fn dump(&self, message: Message) -> Result<Vec<Reply>, NetlinkError> {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let bytes = message.finish(sequence);
        let is_dump = u16::from_ne_bytes([bytes[6], bytes[7]]) & flag::DUMP == flag::DUMP;
        self.send(&bytes)?;
        let mut replies = Vec::new();
        let mut end: Option<Result<(), NetlinkError>> = None;
        while end.is_none() {
            for_each_message(&self.receive()?, |kind, seq, body| {
                if seq != sequence {
                    return;
                }
                match kind {
                    DONE => end = Some(Ok(())),
                    ERROR => {
                        end = Some(
                            error_of(body).map_or(Ok(()), |source| Err(NetlinkError::Refused { index: 0, source })),
                        );
                    }
                    _ => {
                        replies.push(Reply { kind, body: body.to_vec() });
                        if !is_dump {
                            end = Some(Ok(()));
                        }
                    }
                }
            });
        }
        end.unwrap_or(Ok(())).map(|()| replies)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    fn receive(&self) -> Result<Vec<u8>, NetlinkError> {
        let mut buffer = vec![0u8; BUFFER];
        loop {
            match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((read, _)) => {
                    buffer.truncate(read);
                    return Ok(buffer);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Calls `visit(type, sequence, body)` for every message in a datagram.
fn for_each_message(datagram: &[u8], mut visit: impl FnMut(u16, u32, &[u8])) {
    let mut rest = datagram;
    while rest.len() >= 16 {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        let sequence = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
        let Some(body) = rest.get(16..length) else { return };
        visit(kind, sequence, body);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

/// The messages of a datagram that came unasked.
pub(crate) fn replies(datagram: &[u8]) -> Vec<Reply> {
    let mut all = Vec::new();
    for_each_message(datagram, |kind, _, body| all.push(Reply { kind, body: body.to_vec() }));
    all
}

/// The error in an `NLMSG_ERROR` body; `None` is an acknowledgement.
fn error_of(body: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    (code != 0).then(|| io::Error::from_raw_os_error(-code))
}
