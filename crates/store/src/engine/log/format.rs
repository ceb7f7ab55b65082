//! The bytes of the log's files. All numbers are little-endian.
//!
//! Every file starts with a 64-byte header:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `NARULOG`, `NARUCKP` or `NARUBAK`, and a zero |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32C of the header without this field |
//! | 16 | 16 | cluster id |
//! | 32 | 16 | salt: random, so that no bytes that a user stores can pass for a frame of this file |
//! | 48 | 8 | segment: its number; checkpoint: the number of the segment that continues it; backup: the revision offset |
//! | 56 | 8 | sequence of the last transaction before the segment, or in the checkpoint or backup |
//!
//! Frames follow, each padded with zeros to a multiple of 8:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | marker |
//! | 4 | 4 | CRC-32C of the salt and the frame from byte 8 to its padded end |
//! | 8 | 4 | length of the body |
//! | 12 | 4 | kind |
//! | 16 | 8 | transactions: the first one's sequence; objects and end of a checkpoint: objects before it; else the last sequence |
//! | 24 | | body |
//!
//! A transactions frame is what was written between two syncs, whole. Its body is, for each transaction, the number of
//! its mutations (4), and for each mutation the key's length (4), the value's (4; all ones for a deletion), key, value.
//! An objects frame's body is, for each object, created (8), modified (8), the two lengths (4 each), key, value.

use bytes::Bytes;

use crate::Key;
use crate::engine::{ClusterId, Record};

pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER: usize = 64;
pub(crate) const FRAME: usize = 24;
const MARKER: u32 = 0x7552_414e;
const DELETED: u32 = u32::MAX;

/// Which kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment,
    Checkpoint,
    /// Everything at one revision, outside of a store's folder.
    Backup,
}

impl FileKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            FileKind::Segment => b"NARULOG\0",
            FileKind::Checkpoint => b"NARUCKP\0",
            FileKind::Backup => b"NARUBAK\0",
        }
    }
}

/// A file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: FileKind,
    pub cluster: ClusterId,
    pub salt: [u8; 16],
    /// Segment: its number. Checkpoint: the segment that continues it. Backup: the revision offset.
    pub segment: u64,
    /// The sequence before the first transaction of the segment, or the last in the checkpoint or backup.
    pub sequence: u64,
}

/// Why bytes are not a header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Version(u32),
    Other(&'static str),
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(self.kind.magic());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.0);
        bytes[32..48].copy_from_slice(&self.salt);
        bytes[48..56].copy_from_slice(&self.segment.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.sequence.to_le_bytes());
        let checksum = header_checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn decode(kind: FileKind, bytes: &[u8]) -> Result<Header, BadHeader> {
        if bytes.len() < HEADER {
            return Err(BadHeader::Other("the header is cut off"));
        }
        if bytes[..8] != *kind.magic() {
            return Err(BadHeader::Other("the first bytes are not this kind of file's"));
        }
        // The version comes before the checksum, since another version may place that elsewhere.
        let version = u32_at(bytes, 8);
        if version == 0 || version > VERSION {
            return Err(BadHeader::Version(version));
        }
        if u32_at(bytes, 12) != header_checksum(bytes) {
            return Err(BadHeader::Other("the header's checksum does not match"));
        }
        Ok(Header {
            kind,
            cluster: ClusterId(array_at(bytes, 16)),
            salt: array_at(bytes, 32),
            segment: u64_at(bytes, 48),
            sequence: u64_at(bytes, 56),
        })
    }
}

fn header_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..HEADER])
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Transactions = 1,
    Objects = 2,
    /// The segment is complete and the next one exists; or the checkpoint is complete.
    Sealed = 3,
    /// The store was closed in good order here.
    Closed = 4,
}

/// A frame's fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub checksum: u32,
    pub body: usize,
    pub kind: FrameKind,
    pub sequence: u64,
}

impl FrameHead {
    /// Reads a frame's fixed part; `None` when it cannot be one.
    pub fn decode(bytes: &[u8; FRAME]) -> Option<FrameHead> {
        if u32_at(bytes, 0) != MARKER {
            return None;
        }
        let kind = match u32_at(bytes, 12) {
            1 => FrameKind::Transactions,
            2 => FrameKind::Objects,
            3 => FrameKind::Sealed,
            4 => FrameKind::Closed,
            _ => return None,
        };
        let (checksum, body) = (u32_at(bytes, 4), u32_at(bytes, 8) as usize);
        Some(FrameHead { checksum, body, kind, sequence: u64_at(bytes, 16) })
    }

    /// Whether bytes that are no frame's fixed part have the sequence that follows where it would be.
    pub fn follows(bytes: &[u8; FRAME], sequence: u64) -> bool {
        u64_at(bytes, 16) == sequence + 1
    }

    /// The frame's length with its padding.
    pub fn len(&self) -> usize {
        padded(FRAME + self.body)
    }
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// The checksum of a frame given from its byte 8 to its padded end.
pub(crate) fn frame_checksum(salt: &[u8; 16], from_eight: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), from_eight)
}

/// Builds one frame after another in the same memory.
pub(crate) struct FrameBuilder {
    pub bytes: Vec<u8>,
}

impl FrameBuilder {
    pub fn new() -> FrameBuilder {
        FrameBuilder { bytes: vec![0; FRAME] }
    }

    pub fn clear(&mut self) {
        self.bytes.truncate(FRAME);
        self.bytes.shrink_to(4 << 20);
    }

    pub fn transaction(&mut self, record: &Record) {
        self.u32(record.mutations.len() as u32);
        for (key, value) in &record.mutations {
            self.u32(key.as_str().len() as u32);
            self.u32(value.as_ref().map_or(DELETED, |v| v.len() as u32));
            self.bytes.extend_from_slice(key.as_str().as_bytes());
            self.bytes.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }

    pub fn object(&mut self, key: &Key, created: u64, modified: u64, value: &[u8]) {
        self.bytes.extend_from_slice(&created.to_le_bytes());
        self.bytes.extend_from_slice(&modified.to_le_bytes());
        self.u32(key.as_str().len() as u32);
        self.u32(value.len() as u32);
        self.bytes.extend_from_slice(key.as_str().as_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// Completes the frame; its bytes are ready to be written. `None` when it is too long for the format (4 GiB).
    pub fn finish(&mut self, salt: &[u8; 16], kind: FrameKind, sequence: u64) -> Option<&[u8]> {
        let body = u32::try_from(self.bytes.len() - FRAME).ok()?;
        self.bytes.resize(padded(self.bytes.len()), 0);
        self.bytes[..4].copy_from_slice(&MARKER.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&body.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
        self.bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
        let checksum = frame_checksum(salt, &self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        Some(&self.bytes)
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// One change or object read from a frame's body.
pub(crate) enum Item<'a> {
    Put { sequence: u64, key: Key, value: &'a [u8], at: usize },
    Delete { key: Key },
    Object { created: u64, modified: u64, key: Key, value: &'a [u8], at: usize },
}

/// Reads a body whose checksum was right; `None` when it makes no sense all the same. `at` is where a value begins in
/// the body. Returns how many transactions or objects it had.
pub(crate) fn read_body<'a>(head: &FrameHead, body: &'a [u8], mut give: impl FnMut(Item<'a>)) -> Option<u64> {
    let mut reader = Reader { bytes: body, at: 0 };
    let mut count = 0;
    while reader.at < body.len() {
        match head.kind {
            FrameKind::Transactions => {
                let sequence = head.sequence + count;
                for _ in 0..reader.u32()? {
                    let (key, value) = (reader.u32()?, reader.u32()?);
                    let key = reader.key(key)?;
                    if value == DELETED {
                        give(Item::Delete { key });
                    } else {
                        let at = reader.at;
                        give(Item::Put { sequence, key, value: reader.take(value as usize)?, at });
                    }
                }
            }
            FrameKind::Objects => {
                let (created, modified) = (reader.u64()?, reader.u64()?);
                let (key, value) = (reader.u32()?, reader.u32()?);
                let key = reader.key(key)?;
                let at = reader.at;
                give(Item::Object { created, modified, key, value: reader.take(value as usize)?, at });
            }
            FrameKind::Sealed | FrameKind::Closed => return None,
        }
        count += 1;
    }
    Some(count)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32_at(b, 0))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).map(|b| u64_at(b, 0))
    }

    fn key(&mut self, len: u32) -> Option<Key> {
        Key::parse(std::str::from_utf8(self.take(len as usize)?).ok()?)
    }
}

/// A value's own memory.
pub(crate) fn owned(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
