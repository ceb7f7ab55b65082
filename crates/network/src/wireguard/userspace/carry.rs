//! The threads that carry packets: out, in, and the clock.
//!
//! One thread of each direction for a processor: a queue of the device each, a socket of the port each. They meet only at
//! the peers they serve.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Packet, Tunn, TunnResult};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::PublicKey;
use super::offload::{Gather, HEAD, take_apart};
use super::peers::{Own, Peer, Table};
use super::wire::{Parcel, receive};

/// The largest packet with its head.
const FRAME: usize = HEAD + 65_536;
/// What the protocol adds to a packet of data; no message of its own is larger than [`MESSAGE`].
const DATA_OVERHEAD: usize = 32;
const MESSAGE: usize = 160;
/// How much is taken before others get their turn.
const BURST: usize = 64;
/// How often clocks are looked at.
const TICK: Duration = Duration::from_millis(250);

/// What the threads share.
pub(super) struct Shared {
    pub table: ArcSwap<Table>,
    pub stop: OwnedFd,
    /// The device is gone under them.
    pub broken: AtomicBool,
    /// A peer was heard from elsewhere than before.
    pub roamed: AtomicBool,
}

impl Shared {
    /// Waits until `fd` can be read; `false` when it is time to end.
    fn wait(&self, fd: BorrowedFd<'_>) -> bool {
        loop {
            let stop = self.stop.as_fd();
            let mut all = [PollFd::from_borrowed_fd(fd, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            match poll(&mut all, None) {
                Ok(_) if !all[1].revents().is_empty() => return false,
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// From the device to the peers.
pub(super) fn outward(shared: &Shared, mut queue: &File, socket: &UdpSocket) {
    let (mut frame, mut scratch, mut parcel) = (vec![0u8; FRAME], Vec::with_capacity(FRAME), Parcel::default());
    while shared.wait(queue.as_fd()) {
        let table = shared.table.load();
        for _ in 0..BURST {
            match queue.read(&mut frame) {
                Ok(0) => break,
                Ok(read) => out(&table, &mut frame[..read], &mut scratch, &mut parcel, socket),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return shared.broken.store(true, Ordering::Relaxed),
            }
        }
    }
}

fn out(table: &Table, frame: &mut [u8], scratch: &mut Vec<u8>, parcel: &mut Parcel, socket: &UdpSocket) {
    let Some(peer) = Tunn::dst_address(&frame[HEAD.min(frame.len())..]).and_then(|to| table.towards(to)) else {
        return;
    };
    // Whoever has to come here first is not there yet: packets would only wait for it.
    let Some(endpoint) = *peer.endpoint.lock() else { return };
    let mut tunnel = peer.tunnel.lock();
    let mut sent = 0;
    take_apart(frame, scratch, |packet| {
        parcel.add((packet.len() + DATA_OVERHEAD).max(MESSAGE), |room| match tunnel.encapsulate(packet, room) {
            TunnResult::WriteToNetwork(bytes) => {
                sent += bytes.len();
                bytes.len()
            }
            _ => 0,
        });
    });
    drop(tunnel);
    peer.count(0, sent);
    parcel.send(socket, endpoint);
}

/// From the peers to the device.
pub(super) fn inward(shared: &Shared, socket: &UdpSocket, queue: &File) {
    let (mut buffer, mut plain) = (vec![0u8; 65_536], vec![0u8; 65_536]);
    let mut gather = Gather::new();
    let mut write = |frame: &[u8]| {
        // A full queue loses packets, as any does; a device that is down takes none.
        let _ = (&mut &*queue).write(frame);
    };
    while shared.wait(socket.as_fd()) {
        let table = shared.table.load();
        for _ in 0..BURST {
            match receive(socket, &mut buffer) {
                Ok(Some(arrived)) => {
                    for datagram in buffer[..arrived.bytes].chunks(arrived.size) {
                        if let Some(own) = &table.own {
                            let mut deliver = |packet: &[u8]| gather.add(packet, &mut write);
                            take(shared, &table, own, socket, arrived.from, datagram, &mut plain, &mut deliver);
                        }
                    }
                }
                Ok(None) => break,
                Err(_) => return shared.broken.store(true, Ordering::Relaxed),
            }
        }
        gather.flush(&mut write);
    }
}

/// Takes one datagram.
#[allow(clippy::too_many_arguments)] // all of them belong to the calling thread
fn take(
    shared: &Shared,
    table: &Table,
    own: &Own,
    socket: &UdpSocket,
    from: SocketAddr,
    datagram: &[u8],
    plain: &mut [u8],
    deliver: &mut impl FnMut(&[u8]),
) {
    let Some(peer) = sender(table, own, socket, from, datagram) else { return };
    let mut tunnel = peer.tunnel.lock();
    let mut believed = true;
    let answers = match tunnel.decapsulate(Some(from.ip()), datagram, plain) {
        TunnResult::Done => false,
        TunnResult::Err(_) => return,
        TunnResult::WriteToNetwork(bytes) => {
            // Who only has to prove where it is has not said who it is.
            believed = !is_cookie(bytes);
            peer.count(0, bytes.len());
            let _ = socket.send_to(bytes, from);
            true
        }
        TunnResult::WriteToTunnelV4(packet, source) => {
            give(peer, packet, IpAddr::V4(source), deliver);
            false
        }
        TunnResult::WriteToTunnelV6(packet, source) => {
            give(peer, packet, IpAddr::V6(source), deliver);
            false
        }
    };
    if believed {
        let mut endpoint = peer.endpoint.lock();
        if *endpoint != Some(from) {
            *endpoint = Some(from);
            shared.roamed.store(true, Ordering::Relaxed);
        }
        drop(endpoint);
        peer.count(datagram.len(), 0);
    }
    if answers {
        // What waited for the handshake.
        while let TunnResult::WriteToNetwork(bytes) = tunnel.decapsulate(None, &[], plain) {
            peer.count(0, bytes.len());
            let _ = socket.send_to(bytes, from);
        }
    }
}

fn is_cookie(message: &[u8]) -> bool {
    message.first() == Some(&3)
}

/// Hands a packet on when it is from an address that its peer has.
fn give(peer: &Peer, packet: &[u8], source: IpAddr, deliver: &mut impl FnMut(&[u8])) {
    if peer.has(source) {
        deliver(packet);
    }
}

/// Whose datagram it is, as it says itself; proven only by what follows. Answers those who must prove where they are.
fn sender<'a>(
    table: &'a Table,
    own: &Own,
    socket: &UdpSocket,
    from: SocketAddr,
    datagram: &[u8],
) -> Option<&'a Arc<Peer>> {
    let mut reply = [0u8; MESSAGE];
    match own.limiter.verify_packet(Some(from.ip()), datagram, &mut reply) {
        Ok(Packet::HandshakeInit(message)) => {
            let half = parse_handshake_anon(&own.secret, &own.public, &message).ok()?;
            table.peers.get(&PublicKey(half.peer_static_public))
        }
        Ok(Packet::HandshakeResponse(message)) => table.by_index(message.receiver_idx),
        Ok(Packet::PacketCookieReply(message)) => table.by_index(message.receiver_idx),
        Ok(Packet::PacketData(message)) => table.by_index(message.receiver_idx),
        Err(TunnResult::WriteToNetwork(cookie)) => {
            let _ = socket.send_to(cookie, from);
            None
        }
        Err(_) => None,
    }
}

/// Keeps everybody's clocks: handshakes that are due, signs of life, keys that end.
pub(super) fn clock(shared: &Shared, socket: &UdpSocket, told: &dyn Fn()) {
    let pause = Timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as i64 };
    let mut room = [0u8; MESSAGE];
    loop {
        let mut stop = [PollFd::from_borrowed_fd(shared.stop.as_fd(), PollFlags::IN)];
        match poll(&mut stop, Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
        let table = shared.table.load();
        if let Some(own) = &table.own {
            own.limiter.reset_count();
        }
        for peer in table.peers.values() {
            let Some(endpoint) = *peer.endpoint.lock() else { continue };
            let mut tunnel = peer.tunnel.lock();
            let due = match tunnel.update_timers(&mut room) {
                TunnResult::WriteToNetwork(bytes) => Some(bytes.len()),
                // It was given up; who shows itself goes on trying, and everybody else when there is something to say.
                TunnResult::Err(_) if peer.keepalive > 0 => begin(&mut tunnel, &mut room),
                _ => None,
            };
            drop(tunnel);
            if let Some(length) = due {
                peer.count(0, length);
                let _ = socket.send_to(&room[..length], endpoint);
            }
        }
        if shared.roamed.swap(false, Ordering::Relaxed) {
            told();
        }
    }
}

/// A handshake, unless one is under way.
fn begin(tunnel: &mut Tunn, room: &mut [u8]) -> Option<usize> {
    match tunnel.format_handshake_initiation(room, false) {
        TunnResult::WriteToNetwork(bytes) => Some(bytes.len()),
        _ => None,
    }
}

/// Greets a peer, so that it need not find out by silence that keys are to be agreed on anew.
pub(super) fn greet(peer: &Peer, socket: &UdpSocket) {
    let mut room = [0u8; MESSAGE];
    let Some(endpoint) = *peer.endpoint.lock() else { return };
    if let Some(length) = begin(&mut peer.tunnel.lock(), &mut room) {
        peer.count(0, length);
        let _ = socket.send_to(&room[..length], endpoint);
    }
}
