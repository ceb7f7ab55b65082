//! Large packets: taking apart what the kernel hands over whole, and putting together what arrived in parts.
//!
//! The kernel gives TCP streams in packets of up to 64 KiB and takes them so; a system call then carries forty packets of
//! the wire. Pure: bytes in, bytes out. Layouts are those of RFC 791, 793 and 8200, the head before each packet is
//! `struct virtio_net_hdr`.

/// The length of the head before each packet.
pub(super) const HEAD: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const TCP: u8 = 6;
/// Where a TCP head has its checksum.
const TCP_CHECKSUM: usize = 16;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |two| usize::from(u16::from_be_bytes([two[0], two[1]])))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The ones' complement sum of RFC 1071, not folded.
fn sum(bytes: &[u8], begin: u64) -> u64 {
    let mut total = begin;
    let chunks = bytes.chunks_exact(4);
    let rest = chunks.remainder();
    for four in chunks {
        total += u64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    }
    match *rest {
        [a] => total += u64::from(a) << 24,
        [a, b] => total += u64::from(u32::from_be_bytes([a, b, 0, 0])),
        [a, b, c] => total += u64::from(u32::from_be_bytes([a, b, c, 0])),
        _ => {}
    }
    total
}

fn fold(mut total: u64) -> u16 {
    total = (total >> 32) + (total & 0xffff_ffff);
    total = (total >> 32) + (total & 0xffff_ffff);
    let mut total = (total >> 16) + (total & 0xffff);
    total = (total >> 16) + (total & 0xffff);
    total = (total >> 16) + (total & 0xffff);
    total as u16
}

/// The sum over what a TCP checksum covers besides the segment itself.
fn pseudo(packet: &[u8], head: usize, length: usize) -> u64 {
    let addresses = if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..head.min(40)] };
    // Each sixteen-bit word counts in the upper half of a sum over thirty-two bits.
    sum(addresses, (u64::from(TCP) + length as u64) << 16)
}

/// The length of the IP head, when there is a TCP head right behind it.
fn ip_head(packet: &[u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => {
            let head = usize::from(packet[0] & 15) * 4;
            let fragment = number(packet, 6) & 0x3fff != 0;
            (packet.len() >= head + 20 && head >= 20 && packet[9] == TCP && !fragment).then_some(head)
        }
        6 => (packet.len() >= 60 && packet[6] == TCP).then_some(40),
        _ => None,
    }
}

/// Hands each packet of the wire that `frame`, head and packet as the kernel gave them, stands for to `emit`.
pub(super) fn take_apart(frame: &mut [u8], scratch: &mut Vec<u8>, mut emit: impl FnMut(&[u8])) {
    if frame.len() <= HEAD {
        return;
    }
    let (head, packet) = frame.split_at_mut(HEAD);
    let field = |at: usize| usize::from(u16::from_ne_bytes([head[at], head[at + 1]]));
    let (flags, kind, size, start, offset) = (head[0], head[1] & 0x7f, field(4), field(6), field(8));
    if kind == GSO_NONE {
        let at = start + offset;
        if flags & NEEDS_CHECKSUM != 0 && at + 2 <= packet.len() {
            // The field holds the sum over the pseudo head already.
            let value = !fold(sum(&packet[start..], 0));
            put(packet, at, if value == 0 { 0xffff } else { value });
        }
        return emit(packet);
    }
    let Some(ip) = ip_head(packet).filter(|_| size > 0) else { return };
    let tcp = usize::from(packet[ip + 12] >> 4) * 4;
    let heads = ip + tcp;
    if tcp < 20 || packet.len() < heads {
        return;
    }
    let sequence = u32::from_be_bytes([packet[ip + 4], packet[ip + 5], packet[ip + 6], packet[ip + 7]]);
    let (identity, flags) = (number(packet, 4), packet[ip + 13]);
    let count = (packet.len() - heads).div_ceil(size).max(1);
    for n in 0..count {
        let payload = &packet[heads + n * size..(heads + (n + 1) * size).min(packet.len())];
        scratch.clear();
        scratch.extend_from_slice(&packet[..heads]);
        scratch.extend_from_slice(payload);
        let length = scratch.len();
        if packet[0] >> 4 == 4 {
            put(scratch, 2, length as u16);
            put(scratch, 4, identity.wrapping_add(n) as u16);
            put(scratch, 10, 0);
            let value = !fold(sum(&scratch[..ip], 0));
            put(scratch, 10, value);
        } else {
            put(scratch, 4, (length - 40) as u16);
        }
        let now = sequence.wrapping_add((n * size) as u32);
        scratch[ip + 4..ip + 8].copy_from_slice(&now.to_be_bytes());
        let first = if n == 0 { 0 } else { CWR };
        let last = if n + 1 == count { 0 } else { FIN | PSH };
        scratch[ip + 13] = flags & !first & !last;
        put(scratch, ip + TCP_CHECKSUM, 0);
        let value = !fold(sum(&scratch[ip..], pseudo(scratch, ip, length - ip)));
        put(scratch, ip + TCP_CHECKSUM, value);
        emit(scratch);
    }
}

/// Puts neighbouring packets of one TCP stream together.
pub(super) struct Gather {
    /// Head and packet.
    frame: Vec<u8>,
    /// What is known of it while it may grow.
    open: Option<Open>,
    /// Packets in it.
    count: usize,
    /// The size of the first one's data.
    size: usize,
}

#[derive(Clone, Copy)]
struct Open {
    ip: usize,
    heads: usize,
    /// The size of the parts, which is that of the first.
    size: usize,
    /// The sequence number that the next one must have.
    next: u32,
}

impl Gather {
    pub fn new() -> Self {
        Self { frame: Vec::with_capacity(HEAD + 65_536), open: None, count: 0, size: 0 }
    }

    /// Takes a packet; what cannot grow any more is handed to `write`, head and packet.
    pub fn add(&mut self, packet: &[u8], write: &mut impl FnMut(&[u8])) {
        let fit = self.fits(packet);
        if let (Some(payload), Some(open)) = (fit, &mut self.open) {
            self.frame.extend_from_slice(payload);
            open.next = open.next.wrapping_add(payload.len() as u32);
            let (full, pushed) = (payload.len() == open.size, packet[open.ip + 13] & PSH);
            let at = HEAD + open.ip + 13;
            self.frame[at] |= pushed;
            self.count += 1;
            if !full || pushed != 0 {
                self.open = None;
            }
            return;
        }
        self.flush(write);
        self.frame.clear();
        self.frame.extend_from_slice(&[0; HEAD]);
        self.frame.extend_from_slice(packet);
        self.count = 1;
        self.open = begin(packet);
        self.size = self.open.map_or(0, |open| open.size);
    }

    /// Hands over what there is.
    pub fn flush(&mut self, write: &mut impl FnMut(&[u8])) {
        if self.count > 1 {
            self.close();
        }
        if self.count > 0 {
            write(&self.frame);
        }
        self.count = 0;
        self.open = None;
    }

    /// The payload of a packet that goes on where the last one ended.
    fn fits<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let open = self.open?;
        let Open { ip, heads, size, next } = open;
        let other = begin_any(packet)?;
        if other.ip != ip || other.heads != heads || self.frame.len() + other.size > HEAD + 65_535 {
            return None;
        }
        let ours = &self.frame[HEAD..];
        let same_ip = if packet[0] >> 4 == 4 {
            // Everything but length, identification and checksum.
            packet[..2] == ours[..2] && packet[6..10] == ours[6..10] && packet[12..ip] == ours[12..ip]
        } else {
            packet[..4] == ours[..4] && packet[6..40] == ours[6..40]
        };
        // Ports, acknowledgement, length of the head, window, urgent pointer, options.
        let same_tcp = packet[ip..ip + 4] == ours[ip..ip + 4]
            && packet[ip + 8..ip + 13] == ours[ip + 8..ip + 13]
            && packet[ip + 14..ip + 16] == ours[ip + 14..ip + 16]
            && packet[ip + 18..heads] == ours[ip + 18..heads];
        let goes_on = other.next.wrapping_sub(other.size as u32) == next && other.size <= size;
        (same_ip && same_tcp && goes_on && is_sound(packet, ip)).then(|| &packet[heads..])
    }

    /// Makes one packet of what was gathered.
    fn close(&mut self) {
        let (head, packet) = self.frame.split_at_mut(HEAD);
        let Some(ip) = ip_head(packet) else { return };
        let (length, heads) = (packet.len(), ip + usize::from(packet[ip + 12] >> 4) * 4);
        let kind = if packet[0] >> 4 == 4 {
            put(packet, 2, length as u16);
            put(packet, 10, 0);
            let value = !fold(sum(&packet[..ip], 0));
            put(packet, 10, value);
            GSO_TCP4
        } else {
            put(packet, 4, (length - 40) as u16);
            GSO_TCP6
        };
        let partial = fold(pseudo(packet, ip, length - ip));
        put(packet, ip + TCP_CHECKSUM, partial);
        head[0] = NEEDS_CHECKSUM;
        head[1] = kind;
        head[2..4].copy_from_slice(&(heads as u16).to_ne_bytes());
        head[4..6].copy_from_slice(&(self.size as u16).to_ne_bytes());
        head[6..8].copy_from_slice(&(ip as u16).to_ne_bytes());
        head[8..10].copy_from_slice(&(TCP_CHECKSUM as u16).to_ne_bytes());
    }
}

/// A packet that others may be put behind: TCP with data, acknowledging and nothing else.
fn begin(packet: &[u8]) -> Option<Open> {
    let open = begin_any(packet)?;
    (packet[open.ip + 13] == ACK && is_sound(packet, open.ip)).then_some(open)
}

fn begin_any(packet: &[u8]) -> Option<Open> {
    let ip = ip_head(packet)?;
    let heads = ip + usize::from(packet[ip + 12] >> 4) * 4;
    let plain = packet[ip + 13] & !PSH == ACK;
    let told = if packet[0] >> 4 == 4 { number(packet, 2) } else { number(packet, 4) + 40 };
    if !plain || heads < ip + 20 || packet.len() <= heads || told != packet.len() {
        return None;
    }
    let size = packet.len() - heads;
    let sequence = u32::from_be_bytes([packet[ip + 4], packet[ip + 5], packet[ip + 6], packet[ip + 7]]);
    Some(Open { ip, heads, size, next: sequence.wrapping_add(size as u32) })
}

/// Whether its checksum is right: what is put together is given a new one, which must not hide a wrong one.
fn is_sound(packet: &[u8], ip: usize) -> bool {
    fold(sum(&packet[ip..], pseudo(packet, ip, packet.len() - ip))) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP packet with right checksums.
    fn packet(six: bool, sequence: u32, payload: &[u8], flags: u8) -> Vec<u8> {
        let ip = if six { 40 } else { 20 };
        let mut bytes = vec![0u8; ip + 32];
        bytes.extend_from_slice(payload);
        let length = bytes.len();
        if six {
            bytes[0] = 0x60;
            put(&mut bytes, 4, (length - 40) as u16);
            bytes[6] = TCP;
            bytes[7] = 64;
            bytes[23] = 1;
            bytes[39] = 2;
        } else {
            bytes[0] = 0x45;
            put(&mut bytes, 2, length as u16);
            bytes[6] = 0x40;
            bytes[8] = 64;
            bytes[9] = TCP;
            bytes[12..20].copy_from_slice(&[10, 42, 1, 2, 10, 42, 2, 3]);
            let value = !fold(sum(&bytes[..20], 0));
            put(&mut bytes, 10, value);
        }
        bytes[ip..ip + 4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        bytes[ip + 4..ip + 8].copy_from_slice(&sequence.to_be_bytes());
        bytes[ip + 12] = 8 << 4;
        bytes[ip + 13] = flags;
        bytes[ip + 20..ip + 32].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7]);
        let value = !fold(sum(&bytes[ip..], pseudo(&bytes, ip, length - ip)));
        put(&mut bytes, ip + TCP_CHECKSUM, value);
        bytes
    }

    fn gather(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut gather = Gather::new();
        let mut write = |frame: &[u8]| frames.push(frame.to_vec());
        for packet in packets {
            gather.add(packet, &mut write);
        }
        gather.flush(&mut write);
        frames
    }

    fn apart(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut packets, mut scratch) = (Vec::new(), Vec::new());
        for frame in frames {
            take_apart(&mut frame.clone(), &mut scratch, |packet| packets.push(packet.to_vec()));
        }
        packets
    }

    fn data(n: usize) -> Vec<u8> {
        (0..n).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[test]
    fn a_stream_is_put_together_and_comes_apart_again() {
        for six in [false, true] {
            let bytes = data(4 * 1300 + 77);
            let mut packets: Vec<Vec<u8>> = bytes
                .chunks(1300)
                .enumerate()
                .map(|(n, part)| {
                    packet(six, 1000 + n as u32 * 1300, part, if part.len() < 1300 { ACK | PSH } else { ACK })
                })
                .collect();
            let frames = gather(&packets);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].len(), HEAD + packets[0].len() - 1300 + bytes.len());
            let again = apart(&frames);
            // The identification counts on: it is the only thing that is not as it was.
            for (n, packet) in packets.iter_mut().enumerate().filter(|_| !six) {
                put(packet, 4, n as u16);
                put(packet, 10, 0);
                let value = !fold(sum(&packet[..20], 0));
                put(packet, 10, value);
            }
            assert_eq!(again, packets, "IPv{}", if six { 6 } else { 4 });
        }
    }

    #[test]
    fn what_does_not_belong_together_stays_apart() {
        let first = packet(false, 1000, &data(1300), ACK);
        let mut other_port = packet(false, 2300, &data(1300), ACK);
        other_port[21] ^= 1;
        let mut broken = packet(false, 2300, &data(1300), ACK);
        broken[60] ^= 1;
        let mut ping = first.clone();
        ping[9] = 1;
        for next in [
            packet(false, 2301, &data(1300), ACK),
            packet(false, 2300, &data(1301), ACK),
            packet(false, 2300, &data(1300), ACK | FIN),
            packet(false, 2300, &[], ACK),
            packet(true, 2300, &data(1300), ACK),
            other_port,
            broken,
            ping,
            vec![0x45],
            vec![],
        ] {
            let packets = [first.clone(), next];
            let frames = gather(&packets);
            let same: Vec<&[u8]> = frames.iter().map(|frame| &frame[HEAD..]).collect();
            assert_eq!(same, packets, "unchanged, in order");
            assert!(frames.iter().all(|frame| frame[..HEAD] == [0; HEAD]));
        }
        let pushed = [packet(false, 1, &data(100), ACK | PSH), packet(false, 101, &data(100), ACK)];
        assert_eq!(gather(&pushed).len(), 2, "what was pushed is handed on");
    }

    #[test]
    fn the_end_is_marked_on_the_last_part_alone() {
        let mut frame = vec![0u8; HEAD];
        frame.extend(packet(false, 9, &data(2500), ACK | FIN | PSH | CWR));
        frame[0] = NEEDS_CHECKSUM;
        frame[1] = GSO_TCP4;
        frame[4..6].copy_from_slice(&1000u16.to_ne_bytes());
        frame[6..8].copy_from_slice(&20u16.to_ne_bytes());
        frame[8..10].copy_from_slice(&16u16.to_ne_bytes());
        let flags: Vec<u8> = apart(&[frame]).iter().map(|packet| packet[33]).collect();
        assert_eq!(flags, [ACK | CWR, ACK, ACK | FIN | PSH]);
    }

    #[test]
    fn a_checksum_that_was_left_open_is_closed() {
        let whole = packet(false, 5, &data(333), ACK);
        let mut frame = vec![0u8; HEAD];
        frame.extend(&whole);
        frame[0] = NEEDS_CHECKSUM;
        frame[6..8].copy_from_slice(&20u16.to_ne_bytes());
        frame[8..10].copy_from_slice(&16u16.to_ne_bytes());
        let partial = fold(pseudo(&whole, 20, whole.len() - 20));
        put(&mut frame, HEAD + 36, partial);
        assert_eq!(apart(&[frame]), [whole]);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_comes_from_the_wire_breaks_it(packets in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0..8)) {
            let frames = gather(&packets);
            let all: usize = packets.len();
            proptest::prop_assert!(frames.len() <= all);
            apart(&packets);
        }
    }
}
