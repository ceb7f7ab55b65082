//! Opening the log: from what a crash left to a log that can be appended to.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, Holder, die_of_failed_sync};
use crate::engine::log::checkpoint::remove_before;
use crate::engine::log::format::{FileKind, FrameBuilder, owned};
use crate::engine::log::identity::{self, Identity};
use crate::engine::log::names::{Names, checkpoint_name, segment_name};
use crate::engine::log::replay::{Ended, Replay, Value};
use crate::engine::log::scan::{Next, Scan, bad_header};
use crate::engine::log::{Log, Segment, Tuning};
use crate::engine::{ClusterId, FIRST, Loaded, Opening, Stored, Torn};
use crate::{OpenError, Revision};

/// Opens the log on a disk.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    holder: Option<Holder>,
    raise_above: Option<Revision>,
    tuning: Tuning,
) -> Opening {
    let io = |source| OpenError::Io { doing: "read", path: disk.path(""), source };
    let names = Names::sort(disk.list().map_err(io)?);
    let mut identity = if names.identity { Identity::read(&*disk)? } else { found(&*disk, &names)? };
    let names = Names::sort(disk.list().map_err(io)?);
    let mut reading = Reading::new(&*disk, &names, identity.cluster)?;
    let active = reading.segments()?;

    // Everything is understood; only now is anything changed.
    let clean = |source| OpenError::Io { doing: "clean", path: disk.path(""), source };
    names.temporary.iter().try_for_each(|name| disk.remove(name)).map_err(clean)?;
    if let Some(offset) = raise_above.map(|r| r.0).filter(|above| *above > identity.offset) {
        identity.offset = offset;
        identity.write(&*disk)?;
    }
    if let Some(base) = reading.base {
        remove_before(&*disk, base)?;
    }
    let Reading { replay, base, base_bytes, first, sealed_bytes, leftover, torn, .. } = reading;
    if let Some(number) = leftover {
        disk.remove(&segment_name(number)).map_err(clean)?;
    }
    let object = |(key, o): (_, crate::engine::log::replay::Located<Bytes>)| Stored {
        key,
        created: o.created,
        modified: o.modified,
        value: o.value,
    };
    let loaded = Loaded {
        sequence: replay.sequence,
        offset: identity.offset,
        cluster: identity.cluster,
        objects: replay.objects.into_iter().map(object).collect(),
        torn,
    };
    let log = Log {
        disk: disk.clone(),
        tuning,
        cluster: identity.cluster,
        active,
        sequence: loaded.sequence,
        frame: FrameBuilder::new(),
        base,
        base_bytes,
        first,
        sealed_bytes,
        patience: 0,
        job: None,
        _holder: holder,
    };
    Ok((Box::new(log), loaded))
}

/// Makes a new, empty log; also where an earlier attempt at that was cut off.
fn found(disk: &dyn Disk, names: &Names) -> Result<Identity, OpenError> {
    let used = match (&names.segments[..], &names.checkpoints[..]) {
        ([], []) => false,
        ([1], []) => match Scan::open(disk, &segment_name(1), FileKind::Segment)? {
            Ok(mut scan) => matches!(scan.next(0)?, Next::Frame(..)),
            Err(_) => false,
        },
        _ => true,
    };
    if used {
        let why = "there is a log beside it, whose revisions mean nothing without it".into();
        return Err(OpenError::Missing { file: disk.path(identity::NAME), why });
    }
    let identity = Identity { cluster: ClusterId(rand::random()), offset: 0 };
    Segment::create(disk, identity.cluster, 1, FIRST).map_err(|source| OpenError::Io {
        doing: "create",
        path: disk.path(&segment_name(1)),
        source,
    })?;
    identity.write(disk)?;
    Ok(identity)
}

/// A log being read.
struct Reading<'a> {
    disk: &'a dyn Disk,
    names: &'a Names,
    replay: Replay<Bytes>,
    base: Option<u64>,
    base_bytes: u64,
    first: u64,
    sealed_bytes: u64,
    /// A segment that was made but never used.
    leftover: Option<u64>,
    /// What the last segment ends with and is dropped.
    torn: Option<Torn>,
}

fn keep(value: Value<'_>) -> Bytes {
    owned(value.bytes)
}

impl<'a> Reading<'a> {
    /// Reads the newest checkpoint, if there is one.
    fn new(disk: &'a dyn Disk, names: &'a Names, cluster: ClusterId) -> Result<Reading<'a>, OpenError> {
        let base = names.checkpoints.last().copied();
        let mut replay = Replay::new(cluster);
        let base_bytes = match base {
            None => 0,
            Some(number) => {
                replay.checkpoint(disk, number, &mut keep).map_err(|e| with_fallback(disk, names, number, e))?
            }
        };
        let first = base.unwrap_or(1);
        Ok(Reading { disk, names, replay, base, base_bytes, first, sealed_bytes: 0, leftover: None, torn: None })
    }

    /// Reads the segments and makes the last one ready to be appended to.
    fn segments(&mut self) -> Result<Segment, OpenError> {
        let mut number = self.first;
        loop {
            if !self.names.segments.contains(&number) {
                return Err(self.missing(number));
            }
            let path = self.disk.path(&segment_name(number));
            match self.replay.segment(self.disk, number, &mut keep)?.map_err(|bad| bad_header(path.clone(), bad))? {
                Ended::Sealed => {
                    let io = |source| OpenError::Io { doing: "measure", path, source };
                    self.sealed_bytes += self.disk.open(&segment_name(number)).and_then(|f| f.len()).map_err(io)?;
                    number += 1;
                }
                Ended::Open { scan, end, last } => {
                    self.check_last(number, &scan, end)?;
                    let bytes = scan.torn(end, self.replay.sequence)?;
                    self.torn = (bytes > 0).then(|| Torn { file: path.clone(), offset: end, bytes });
                    return mend(*scan, number, end, last).map_err(|source| OpenError::Io {
                        doing: "repair the tail of",
                        path,
                        source,
                    });
                }
            }
        }
    }

    fn missing(&self, number: u64) -> OpenError {
        let why = match self.base {
            _ if number > self.first => format!("{} ends with a reference to it", segment_name(number - 1)),
            Some(base) => format!("{} is continued in it", checkpoint_name(base)),
            None => "the log starts with it".into(),
        };
        OpenError::Missing { file: self.disk.path(&segment_name(number)), why }
    }

    /// An unsealed segment must be the last, except that a crash may have come between making the next one and sealing
    /// this one.
    fn check_last(&mut self, number: u64, scan: &Scan, end: u64) -> Result<(), OpenError> {
        let later: Vec<u64> = self.names.segments.iter().copied().filter(|n| *n > number).collect();
        let used = match later[..] {
            [] => return Ok(()),
            [next] if next == number + 1 => match Scan::open(self.disk, &segment_name(next), FileKind::Segment)? {
                Ok(mut scan) => matches!(scan.next(0)?, Next::Frame(..)),
                Err(_) => false,
            },
            _ => true,
        };
        if used {
            let what = format!("its records end here without a seal, but there is {}", segment_name(number + 1));
            return Err(scan.damaged(end, what));
        }
        self.leftover = Some(number + 1);
        Ok(())
    }
}

/// Makes what was read durable. The last whole frame is written again and synced: if the process before ended by a failed
/// sync, the kernel may show bytes that never reached the disk. A torn frame behind it needs no cleaning, see
/// [`Segment::reserved`](Segment).
fn mend(scan: Scan, number: u64, end: u64, last: Option<u64>) -> io::Result<Segment> {
    let (salt, path, reserved) = (scan.header.salt, scan.path.clone(), scan.len.max(end));
    let mut file = scan.into_file();
    if let Some(last) = last {
        let mut frame = vec![0; (end - last) as usize];
        file.read_at(&mut frame, last)?;
        file.write_at(&frame, last)?;
        file.sync().unwrap_or_else(|error| die_of_failed_sync(&path, &error));
    }
    Ok(Segment { number, salt, file, end, reserved })
}

/// Says so when what a damaged checkpoint was made from is still there.
fn with_fallback(disk: &dyn Disk, names: &Names, number: u64, error: OpenError) -> OpenError {
    let OpenError::Damaged { file, offset, what, .. } = error else { return error };
    let older = names.checkpoints.iter().rev().nth(1).copied();
    let whole = (older.unwrap_or(1)..number).all(|n| names.segments.contains(&n));
    let fallback = match (whole, older) {
        (false, _) => String::new(),
        (true, Some(older)) => {
            format!(
                ", or move this file away: {} and the log after it are whole",
                disk.path(&checkpoint_name(older)).display()
            )
        }
        (true, None) => ", or move this file away: the log it was made from is still there".into(),
    };
    OpenError::Damaged { file, offset, what, fallback }
}
