//! What is to be seen on a wire.

use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, socket_with, sockopt};

use crate::namespace::Namespace;

/// How long what waited to be read is read when a capture ends.
const REST: Duration = Duration::from_millis(500);
/// `ETH_P_ALL` of `<linux/if_ether.h>`.
const EVERYTHING: u16 = 3;
const IPV4: [u8; 2] = [8, 0];
const UDP: u8 = 17;
const VXLAN: u16 = 8472;
/// Where a frame's own IP head begins, and the one inside of VXLAN.
const OUTER: usize = 14;
const INNER: usize = 64;

/// Everything that passes a wire, until it is ended (see [`crate::Lan::capture`]).
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Vec<u8>>>>,
}

/// The frames that were seen, some of them more than once: at each port that they passed.
#[derive(Debug)]
pub struct Frames(Vec<Vec<u8>>);

impl Capture {
    pub(crate) fn start(namespace: &Namespace) -> Result<Self, String> {
        let socket = namespace.run(Self::socket).map_err(|error| format!("no packet socket: {error}"))?;
        Ok(Self::of(socket))
    }

    /// A socket that sees every interface of the namespace in which this is called.
    ///
    /// # Errors
    /// Without the right to open one.
    pub fn socket() -> std::io::Result<OwnedFd> {
        let protocol = NonZeroU32::new(u32::from(EVERYTHING.to_be())).map(Protocol::from_raw);
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_millis(50)))?;
        sockopt::set_socket_recv_buffer_size(&fd, 8 << 20)?;
        Ok(fd)
    }

    /// Begins to read such a socket.
    pub fn of(fd: OwnedFd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 17]);
            let mut ending: Option<Instant> = None;
            loop {
                if ending.is_none() && stopped.load(Ordering::Relaxed) {
                    ending = Some(Instant::now());
                }
                match rustix::net::recv(&fd, &mut buffer[..], RecvFlags::empty()) {
                    // What waited is read; where more comes without pause, that is not waited for.
                    Ok(_) if ending.is_some_and(|since| since.elapsed() > REST) => return seen,
                    Ok((read, _)) => seen.push(buffer[..read].to_vec()),
                    Err(_) if ending.is_some() => return seen,
                    Err(_) => {}
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it and gives what was seen.
    ///
    /// # Panics
    /// When its thread did.
    pub fn end(mut self) -> Frames {
        self.stop.store(true, Ordering::Relaxed);
        Frames(self.thread.take().expect("a thread").join().expect("what was seen"))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Frames {
    /// Whether some frame holds these bytes.
    pub fn contain(&self, text: &str) -> bool {
        self.0.iter().any(|frame| frame.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    /// How many frames are UDP to or from a port.
    pub fn of_port(&self, port: u16) -> usize {
        let is = |frame: &&Vec<u8>| {
            let ports = [34, 36].map(|at| frame.get(at..at + 2) == Some(&port.to_be_bytes()[..]));
            frame.get(12..14) == Some(&IPV4[..]) && frame.get(23) == Some(&UDP) && ports.contains(&true)
        };
        self.0.iter().filter(is).count()
    }

    /// How many frames are readable as ones from or to an address that begins with these two bytes: by their own head, or by
    /// the one that VXLAN at its usual port here carries.
    pub fn of_network(&self, network: [u8; 2]) -> usize {
        let address = |frame: &[u8], at: usize| frame.get(at..at + 2) == Some(&network[..]);
        let is = |frame: &[u8], head: usize| {
            frame.get(head).is_some_and(|byte| byte >> 4 == 4)
                && (address(frame, head + 12) || address(frame, head + 16))
        };
        let plain = |frame: &&Vec<u8>| {
            let vxlan = frame.get(36..38) == Some(&VXLAN.to_be_bytes()[..]);
            frame.get(12..14) == Some(&IPV4[..]) && (is(frame, OUTER) || vxlan && is(frame, INNER))
        };
        self.0.iter().filter(plain).count()
    }
}
