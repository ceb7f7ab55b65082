//! What is to be seen on a wire.

#![allow(unsafe_code)]

use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::world::Netns;

/// How long what waited to be read is read when a capture ends.
const REST: Duration = Duration::from_millis(500);

/// Everything that passes any interface of a namespace, until it is ended.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Vec<u8>>>>,
}

/// What was seen.
pub struct Seen(Vec<Vec<u8>>);

impl Capture {
    pub fn start(netns: &Netns) -> Self {
        let mut file = netns.run(|| {
            let protocol = libc::c_int::from((libc::ETH_P_ALL as u16).to_be());
            // SAFETY: `socket` takes no pointers.
            let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
            assert!(fd >= 0, "no packet socket: {}", std::io::Error::last_os_error());
            // SAFETY: the descriptor was opened just now, and nobody else has it.
            unsafe { std::fs::File::from_raw_fd(fd) }
        });
        let socket = socket2::SockRef::from(&file);
        socket.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        socket.set_recv_buffer_size(8 << 20).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 17]);
            let mut ending: Option<Instant> = None;
            loop {
                if ending.is_none() && stopped.load(Ordering::Relaxed) {
                    ending = Some(Instant::now());
                }
                match file.read(&mut buffer) {
                    // What waited is read; where more comes without pause, that is not waited for.
                    Ok(_) if ending.is_some_and(|since| since.elapsed() > REST) => return seen,
                    Ok(read) => seen.push(buffer[..read].to_vec()),
                    Err(_) if ending.is_some() => return seen,
                    Err(_) => {}
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }

    pub fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        Seen(self.thread.take().unwrap().join().unwrap())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// Whether some frame holds these bytes.
    pub fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|frame| frame.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    /// How many frames are UDP to or from a port.
    pub fn encrypted(&self, port: u16) -> usize {
        let is = |frame: &&Vec<u8>| {
            let ports = [34, 36].map(|at| frame.get(at..at + 2) == Some(&port.to_be_bytes()[..]));
            frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17) && ports.contains(&true)
        };
        self.0.iter().filter(is).count()
    }

    /// How many frames are from or to a pod, by their outer or (inside VXLAN) inner addresses.
    pub fn plain_pods(&self) -> usize {
        let pod = |frame: &[u8], ip: usize| {
            let at = |at: usize| frame.get(at..at + 4).map(|four| Ipv4Addr::from(<[u8; 4]>::try_from(four).unwrap()));
            let is = |address: Option<Ipv4Addr>| address.is_some_and(|a| a.octets()[..2] == [10, 42]);
            frame.get(ip).is_some_and(|byte| byte >> 4 == 4) && (is(at(ip + 12)) || is(at(ip + 16)))
        };
        let plain = |frame: &&Vec<u8>| {
            let vxlan = frame.get(36..38) == Some(&8472u16.to_be_bytes()[..]);
            frame.get(12..14) == Some(&[8, 0]) && (pod(frame, 14) || vxlan && pod(frame, 64))
        };
        self.0.iter().filter(plain).count()
    }
}
