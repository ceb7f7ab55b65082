//! The UDP sockets of the tunnel: many packets of one size to one peer in a system call, and from it.

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// Room for the bursts of a fast peer while this process waits for its turn.
const BUFFER: libc::c_int = 4 << 20;
/// What one system call carries at most: packets, and bytes.
const SEGMENTS: usize = 60;
const BYTES: usize = 65_000;

/// Opens `count` sockets on one port, among which the kernel spreads peers.
pub(super) fn open(port: u16, count: usize) -> io::Result<Vec<UdpSocket>> {
    (0..count.max(1)).map(|_| socket(port)).collect()
}

fn socket(port: u16) -> io::Result<UdpSocket> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on UDP port {port}: {error}"));
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // What root may not do in a user namespace costs speed alone.
        let _ = set(&socket, libc::SOL_SOCKET, option, BUFFER);
    }
    let _ = set(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).map_err(named)?;
    Ok(socket.into())
}

fn set(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer is to one integer of the size given, which lives until the call returns; the descriptor is open.
    let code = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A control message of one number, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

fn address_of(endpoint: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: endpoint.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(endpoint.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// Packets for one peer, one behind the other.
#[derive(Default)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
}

impl Parcel {
    /// Adds what `write` puts into a buffer of `room` bytes; it says how much that was.
    pub fn add(&mut self, room: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let begin = self.bytes.len();
        self.bytes.resize(begin + room, 0);
        let size = write(&mut self.bytes[begin..]);
        self.bytes.truncate(begin + size);
        if size > 0 {
            self.sizes.push(size);
        }
    }

    /// Sends everything and is empty then. What cannot be sent is lost, as on any wire.
    pub fn send(&mut self, socket: &UdpSocket, endpoint: SocketAddr) {
        let SocketAddr::V4(endpoint) = endpoint else { return self.clear() };
        let (mut at, mut first) = (0, 0);
        while first < self.sizes.len() {
            // All of one size, and a smaller one at the end.
            let size = self.sizes[first];
            let (mut last, mut bytes) = (first, 0);
            while last < self.sizes.len() && last - first < SEGMENTS && bytes + self.sizes[last] <= BYTES {
                if self.sizes[last] > size || (last > first && self.sizes[last - 1] < size) {
                    break;
                }
                bytes += self.sizes[last];
                last += 1;
            }
            let (last, bytes) = if last == first { (first + 1, size) } else { (last, bytes) };
            let run = &self.bytes[at..at + bytes];
            if last - first == 1 || send_run(socket, endpoint, run, size).is_err() {
                for one in run.chunks(size) {
                    let _ = socket.send_to(one, endpoint);
                }
            }
            at += bytes;
            first = last;
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sizes.clear();
    }
}

/// Sends `run` as packets of `size` bytes.
fn send_run(socket: &UdpSocket, endpoint: SocketAddrV4, run: &[u8], size: usize) -> io::Result<()> {
    let mut address = address_of(endpoint);
    let mut part = libc::iovec { iov_base: run.as_ptr().cast_mut().cast(), iov_len: run.len() };
    let mut control = Control([0; 64]);
    // SAFETY: an all-zero `msghdr` is valid: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: `CMSG_SPACE` only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
    // SAFETY: the control buffer is larger than one header and a `u16`, and aligned for the header, so the first header
    // lies in it, and so does its data.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_UDP;
        (*head).cmsg_type = libc::UDP_SEGMENT;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(head).cast::<u16>().write_unaligned(size as u16);
    }
    // SAFETY: name, vector and control point to values of this function with the lengths given; nothing is written through
    // the vector.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What one system call brought.
pub(super) struct Arrived {
    pub from: SocketAddr,
    /// All bytes.
    pub bytes: usize,
    /// The size of each packet in them, but perhaps the last.
    pub size: usize,
}

/// Takes packets of one peer; `None` when there are none now.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrived>> {
    let mut address = address_of(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; 64]);
    // SAFETY: an all-zero `msghdr` is valid: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: name, vector and control point to values that outlive the call, with the lengths given.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    if read < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            // An ICMP message about something sent before.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Ok(Some(Arrived { from: ([0, 0, 0, 0], 0).into(), bytes: 0, size: 1 }))
            }
            _ => Err(error),
        };
    }
    let bytes = read as usize;
    let mut size = bytes;
    // SAFETY: the kernel has set the length of what it wrote to `control`; the macros stay within it, and the data of this
    // message is one `int`.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&raw const message);
        while !head.is_null() {
            if (*head).cmsg_level == libc::SOL_UDP && (*head).cmsg_type == libc::UDP_GRO {
                let told = libc::CMSG_DATA(head).cast::<libc::c_int>().read_unaligned();
                size = usize::try_from(told).unwrap_or(bytes);
            }
            head = libc::CMSG_NXTHDR(&raw const message, head);
        }
    }
    let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
    Ok(Some(Arrived { from: SocketAddr::from((ip, u16::from_be(address.sin_port))), bytes, size: size.max(1) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_packets_arrive_as_they_were_sent() {
        let to = &open(0, 1).unwrap()[0];
        let from = &open(0, 1).unwrap()[0];
        let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, to.local_addr().unwrap().port()));
        let mut parcel = Parcel::default();
        let sizes: Vec<usize> = (0..70).map(|_| 1400).chain([300, 1400, 32, 148]).collect();
        for (n, size) in sizes.iter().enumerate() {
            parcel.add(2000, |room| {
                room[..*size].fill(n as u8);
                *size
            });
        }
        parcel.add(100, |_| 0);
        parcel.send(from, endpoint);
        let (mut buffer, mut seen) = (vec![0; 65_536], Vec::new());
        while let Some(arrived) = receive(to, &mut buffer).unwrap() {
            assert_eq!(arrived.from.port(), from.local_addr().unwrap().port());
            seen.extend(buffer[..arrived.bytes].chunks(arrived.size).map(|one| (one[0], one.len())));
        }
        let expected: Vec<(u8, usize)> = sizes.iter().enumerate().map(|(n, size)| (n as u8, *size)).collect();
        assert_eq!(seen, expected);
    }
}
