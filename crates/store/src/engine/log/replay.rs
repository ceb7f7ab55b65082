//! Reading a checkpoint and the segments that continue it, in order. Opening uses it to load, checkpointing to find
//! what is alive; both get every check.

use std::collections::BTreeMap;

use crate::disk::Disk;
use crate::engine::log::format::{BadHeader, FRAME, FileKind, FrameKind, Item, read_body};
use crate::engine::log::names::{checkpoint_name, segment_name};
use crate::engine::log::scan::{Next, Scan, bad_header};
use crate::engine::{ClusterId, FIRST};
use crate::{Key, OpenError};

/// Where an object's newest value is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<V> {
    pub created: u64,
    pub modified: u64,
    pub value: V,
}

/// The objects that are alive after what was read so far; `V` is how the reader keeps values.
pub(crate) struct Replay<V> {
    pub objects: BTreeMap<Key, Located<V>>,
    pub sequence: u64,
    pub cluster: ClusterId,
}

/// A value as it passes by.
pub(crate) struct Value<'a> {
    pub bytes: &'a [u8],
    /// Where it is in its file.
    pub at: u64,
}

/// How a segment ended.
pub(crate) enum Ended {
    /// With a seal: the next segment exists.
    Sealed,
    /// Without: it was being written. `end` is behind the last valid frame, which starts at `last`.
    Open { scan: Box<Scan>, end: u64, last: Option<u64> },
}

impl<V> Replay<V> {
    pub fn new(cluster: ClusterId) -> Replay<V> {
        Replay { objects: BTreeMap::new(), sequence: FIRST, cluster }
    }

    /// Reads a checkpoint, which must be whole. Returns its length in bytes.
    pub fn checkpoint(
        &mut self,
        disk: &dyn Disk,
        number: u64,
        keep: &mut impl FnMut(Value<'_>) -> V,
    ) -> Result<u64, OpenError> {
        let name = checkpoint_name(number);
        let mut scan = Scan::open(disk, &name, FileKind::Checkpoint)?.map_err(|b| bad_header(disk.path(&name), b))?;
        self.check_header(&scan, number)?;
        self.sequence = scan.header.sequence;
        loop {
            let start = scan.at;
            let read = match scan.next(0)? {
                Next::End => None,
                Next::Frame(head, _) if head.kind == FrameKind::Sealed => {
                    let complete = head.sequence == self.objects.len() as u64;
                    let wrong = || scan.damaged(start, "it has not as many objects as its end says".into());
                    return if complete { Ok(scan.len) } else { Err(wrong()) };
                }
                Next::Frame(head, body) => read_body(&head, body, |item| {
                    if let Item::Object { created, modified, key, value, at } = item {
                        let value = keep(Value { bytes: value, at: start + (FRAME + at) as u64 });
                        self.objects.insert(key, Located { created, modified, value });
                    }
                }),
            };
            if read.is_none() {
                return Err(scan.damaged(start, "the checkpoint breaks off here".into()));
            }
        }
    }

    /// Reads a segment. The inner error is a bad header's, which the last segment may have.
    pub fn segment(
        &mut self,
        disk: &dyn Disk,
        number: u64,
        keep: &mut impl FnMut(Value<'_>) -> V,
    ) -> Result<Result<Ended, BadHeader>, OpenError> {
        let mut scan = match Scan::open(disk, &segment_name(number), FileKind::Segment)? {
            Ok(scan) => scan,
            Err(bad) => return Ok(Err(bad)),
        };
        self.check_header(&scan, number)?;
        if scan.header.sequence != self.sequence {
            let what = format!("it continues transaction {}, not {}", scan.header.sequence, self.sequence);
            return Err(scan.damaged(56, what));
        }
        let mut last = None;
        loop {
            let start = scan.at;
            let wrong = match scan.next(self.sequence)? {
                Next::End => return Ok(Ok(Ended::Open { scan: Box::new(scan), end: start, last })),
                Next::Frame(head, body) => match head.kind {
                    FrameKind::Transactions if head.sequence == self.sequence + 1 => {
                        let read = read_body(&head, body, |item| self.take(item, start + FRAME as u64, keep));
                        self.sequence += read.unwrap_or(0);
                        read.is_none()
                    }
                    FrameKind::Sealed if head.sequence == self.sequence => return Ok(Ok(Ended::Sealed)),
                    FrameKind::Closed if head.sequence == self.sequence => false,
                    _ => true,
                },
            };
            if wrong {
                return Err(scan.damaged(start, format!("the record does not continue transaction {}", self.sequence)));
            }
            last = Some(start);
        }
    }

    fn check_header(&self, scan: &Scan, number: u64) -> Result<(), OpenError> {
        if scan.header.cluster != self.cluster {
            let what = format!("it belongs to cluster {}, not {}", scan.header.cluster, self.cluster);
            return Err(scan.damaged(16, what));
        }
        if scan.header.segment != number {
            return Err(scan.damaged(48, format!("its number inside is {}", scan.header.segment)));
        }
        Ok(())
    }

    fn take(&mut self, item: Item<'_>, body: u64, keep: &mut impl FnMut(Value<'_>) -> V) {
        match item {
            Item::Put { sequence, key, value, at } => {
                let value = keep(Value { bytes: value, at: body + at as u64 });
                let created = self.objects.get(&key).map_or(sequence, |o| o.created);
                self.objects.insert(key, Located { created, modified: sequence, value });
            }
            Item::Delete { key } => {
                self.objects.remove(&key);
            }
            Item::Object { .. } => {}
        }
    }
}
