//! Asking other nodes, through the way to their pods, whether that way is there.
//!
//! An echo request from this node's own address towards pods to the other's: the kernel there answers it, whatever runs. Some
//! machines drop those; a connection to a port where nobody listens is refused by the same kernel, which is an answer too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};

/// The discard port, where hardly anybody listens; whoever does has answered.
const NOBODY: u16 = 9;
/// How long a connection may take to be refused.
const REFUSAL: Duration = Duration::from_millis(700);
/// Machines that are asked so in one round.
const BY_CONNECTION: usize = 8;
/// Connections that are tried at the same time.
const ABREAST: usize = 64;
const REQUEST: u8 = 8;
const REPLY: u8 = 0;
/// Marks our requests.
const IDENTIFIER: u16 = 0x6e61;

/// Asks `gateways`, addresses of other nodes towards pods, from `own`; says which answered within `patience`. Blocks.
///
/// # Errors
/// When this machine cannot ask at all.
pub fn probe(own: Ipv4Addr, gateways: &[Ipv4Addr], patience: Duration) -> io::Result<BTreeSet<Ipv4Addr>> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    let mut asked = BTreeMap::new();
    for (number, gateway) in gateways.iter().enumerate() {
        let number = number as u16;
        // One that cannot be asked has not answered.
        if socket.send_to(&request(number), &SocketAddr::from((*gateway, 0)).into()).is_ok() {
            asked.insert(number, *gateway);
        }
    }
    let mut answered = BTreeSet::new();
    let deadline = Instant::now() + patience;
    let mut packet = [0; 256];
    while answered.len() < asked.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let Ok((read, from)) =
            rustix::net::recvfrom(&socket, &mut packet[..], RecvFlags::empty()).map(|(read, _, from)| (read, from))
        else {
            break;
        };
        let sender = from.and_then(|from| SocketAddr::try_from(from).ok()).map(|address| address.ip());
        if let Some(number) = reply(&packet[..read]) {
            answered.extend(asked.get(&number).filter(|gateway| sender == Some(IpAddr::V4(**gateway))));
        }
    }
    let silent: Vec<Ipv4Addr> = gateways.iter().copied().filter(|gateway| !answered.contains(gateway)).collect();
    let asked: Vec<SocketAddr> = silent.into_iter().take(BY_CONNECTION).map(|ip| (ip, NOBODY).into()).collect();
    for (to, met) in connect(&asked, REFUSAL.min(patience)) {
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if let (IpAddr::V4(gateway), true) = (to.ip(), met.map_or_else(refused, |()| true)) {
            answered.insert(gateway);
        }
    }
    Ok(answered)
}

/// Which of these take a connection within `patience`. Blocks for as long, and so again for every further sixty-four.
pub fn accepting(places: &[SocketAddr], patience: Duration) -> BTreeSet<SocketAddr> {
    let met = places.chunks(ABREAST).flat_map(|places| connect(places, patience));
    met.filter_map(|(place, met)| met.is_ok().then_some(place)).collect()
}

/// Tries all of these at the same time.
fn connect(places: &[SocketAddr], patience: Duration) -> Vec<(SocketAddr, io::Result<()>)> {
    std::thread::scope(|scope| {
        let tries: Vec<_> = places
            .iter()
            .map(|place| (*place, scope.spawn(move || TcpStream::connect_timeout(place, patience).map(drop))))
            .collect();
        let lost = || Err(io::Error::other("the attempt was cut off"));
        tries.into_iter().map(|(place, attempt)| (place, attempt.join().unwrap_or_else(|_| lost()))).collect()
    })
}

fn request(number: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = REQUEST;
    packet[4..6].copy_from_slice(&IDENTIFIER.to_be_bytes());
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    packet[8..].copy_from_slice(b"naru-way");
    let sum: u32 = packet.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The number of the request that a packet, with its IP head, answers.
fn reply(packet: &[u8]) -> Option<u16> {
    let head = usize::from(packet.first()? & 15) * 4;
    let icmp = packet.get(head..head + 16)?;
    let ours = icmp[0] == REPLY && icmp[4..6] == IDENTIFIER.to_be_bytes() && icmp[8..] == *b"naru-way";
    ours.then(|| u16::from_be_bytes([icmp[6], icmp[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_answers_itself() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: asking for echoes: root is needed");
            return;
        }
        let own = Ipv4Addr::LOCALHOST;
        let answered = probe(own, &[own], Duration::from_secs(2)).unwrap();
        assert_eq!(answered, BTreeSet::from([own]));
    }

    #[test]
    fn who_takes_connections_is_told_from_who_does_not() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        assert_eq!(accepting(&[taken, closed], Duration::from_secs(2)), BTreeSet::from([taken]));
    }

    #[test]
    fn only_answers_to_our_questions_count() {
        let mut packet = vec![0x45; 20];
        packet.extend(request(7));
        assert_eq!(reply(&packet), None, "a question is no answer");
        packet[20] = REPLY;
        assert_eq!(reply(&packet), Some(7));
        packet[25] ^= 1;
        assert_eq!((reply(&packet), reply(&packet[..30]), reply(&[])), (None, None, None));
        let sum: u32 = request(7).chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
