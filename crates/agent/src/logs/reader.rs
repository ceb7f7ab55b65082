//! Reading logs for `kubectl logs` and `naru logs`.
//!
//! A followed log is read as long as its source says that more may come. The file is watched by its size and identity
//! every 50 ms while somebody follows: inotify would wake sooner, but loses count at rotation, and a person reads no
//! faster.

use std::{
    collections::VecDeque,
    fs::{File, Metadata},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Record, attempts, files::files, parse};

const CHUNK: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(50);

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Stay and wait for more.
    pub follow: bool,
    /// Only so many last lines.
    pub tail: Option<usize>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// Write each line's time before it.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit: Option<u64>,
    /// Only this stream: true for standard error.
    pub stderr: Option<bool>,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The attempt writes, or another one may follow.
    Open,
    /// Nothing more will come.
    Closed,
}

/// Reads a container's logs into a channel; a blocking task.
pub(crate) struct Reader {
    dir: PathBuf,
    filter: Filter,
    /// Go on with later attempts.
    across: bool,
    out: mpsc::Sender<Bytes>,
    pending: Vec<u8>,
    sent: u64,
    /// A line that has begun and not ended.
    begun: bool,
}

/// Nobody wants more.
struct Enough;

impl Reader {
    /// Of the container whose log folder is `dir`; `across` goes on with later attempts.
    pub fn new(dir: PathBuf, filter: Filter, across: bool, out: mpsc::Sender<Bytes>) -> Reader {
        Reader { dir, filter, across, out, pending: Vec::new(), sent: 0, begun: false }
    }

    /// Reads from attempt `from` on. While following, `source` says whether more may come.
    pub fn run(mut self, from: u32, source: impl Fn() -> Source) {
        let _ = self.read_all(from, source);
        let _ = self.flush();
    }

    fn read_all(&mut self, from: u32, source: impl Fn() -> Source) -> Result<(), Enough> {
        let (mut attempt, mut position) = self.begin(from)?;
        if !self.filter.follow {
            return Ok(());
        }
        loop {
            // Asked before reading: what is written before a close is read after it.
            let state = source();
            self.drain(attempt, &mut position)?;
            self.flush()?;
            let later = || attempts(&self.dir).into_iter().find(|later| *later > attempt);
            let next = if self.across { later() } else { None };
            match (next, state) {
                (Some(next), _) => {
                    // The later attempt exists, so this one is complete; once more for its last lines.
                    self.drain(attempt, &mut position)?;
                    attempt = next;
                    position = Position::default();
                }
                (None, Source::Open) => {
                    if self.out.is_closed() {
                        return Err(Enough);
                    }
                    std::thread::sleep(PAUSE);
                }
                (None, Source::Closed) => return Ok(()),
            }
        }
    }

    /// What there is already, cut to the wanted tail; returns the attempt and the place where to go on.
    fn begin(&mut self, from: u32) -> Result<(u32, Position), Enough> {
        let later = attempts(&self.dir).into_iter().filter(|later| self.across && *later > from);
        let all: Vec<u32> = std::iter::once(from).chain(later).collect();
        let files: Vec<PathBuf> = all.iter().flat_map(|attempt| files(&self.dir, *attempt)).collect();
        let attempt = all.last().copied().unwrap_or(from);
        let mut position = Position::default();
        let Some(tail) = self.filter.tail else {
            for path in &files {
                position = Position::of(path);
                self.read(&mut position)?;
            }
            return Ok((attempt, position));
        };
        let mut last: VecDeque<Vec<u8>> = VecDeque::new();
        let mut line: Vec<u8> = Vec::new();
        for path in &files {
            position = Position::of(path);
            let filter = self.filter.clone();
            position.records(|record| {
                if let Some(stamp) = Self::wanted(&filter, &record, line.is_empty()) {
                    line.extend(stamp);
                    line.extend_from_slice(record.text);
                    if record.whole {
                        line.push(b'\n');
                        last.push_back(std::mem::take(&mut line));
                        if last.len() > tail {
                            last.pop_front();
                        }
                    }
                }
                Ok::<(), Enough>(())
            })?;
        }
        if !line.is_empty() && tail > 0 {
            if last.len() == tail {
                last.pop_front();
            }
            last.push_back(line);
            self.begun = true;
        }
        last.into_iter().try_for_each(|line| self.send(&line))?;
        Ok((attempt, position))
    }

    /// Reads on in the attempt's current file, and over its rotations.
    fn drain(&mut self, attempt: u32, position: &mut Position) -> Result<(), Enough> {
        let current = self.dir.join(format!("{attempt}.log"));
        if position.file.is_none() {
            *position = Position::of(&current);
        }
        self.read(position)?;
        if position.is_replaced(&current) {
            // Rotated away: read the rest, then every file that came after it.
            self.read(position)?;
            let all = files(&self.dir, attempt);
            let at = all.iter().position(|path| position.is(path));
            let later = at.map_or(all.len().saturating_sub(1), |at| at + 1);
            for path in &all[later..] {
                *position = Position::of(path);
                self.read(position)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, position: &mut Position) -> Result<(), Enough> {
        let filter = self.filter.clone();
        position.records(|record| {
            let Some(stamp) = Self::wanted(&filter, &record, !self.begun) else { return Ok(()) };
            self.begun = !record.whole;
            self.pending.extend(stamp);
            self.pending.extend_from_slice(record.text);
            if record.whole {
                self.pending.push(b'\n');
            }
            if self.pending.len() >= CHUNK { self.flush() } else { Ok(()) }
        })
    }

    /// Whether the record is wanted; with what is to be written before it.
    fn wanted(filter: &Filter, record: &Record<'_>, fresh: bool) -> Option<Vec<u8>> {
        if filter.stderr.is_some_and(|stderr| stderr != record.stderr) {
            return None;
        }
        if let Some(since) = filter.since
            && record.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return None;
        }
        let stamp = if filter.timestamps && fresh { format!("{} ", record.time).into_bytes() } else { Vec::new() };
        Some(stamp)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Enough> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Enough> {
        let mut bytes = std::mem::take(&mut self.pending);
        if let Some(limit) = self.filter.limit {
            let left = usize::try_from(limit.saturating_sub(self.sent)).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        self.sent += bytes.len() as u64;
        if !bytes.is_empty() {
            self.out.blocking_send(bytes.into()).map_err(|_| Enough)?;
        }
        if self.filter.limit.is_some_and(|limit| self.sent >= limit) { Err(Enough) } else { Ok(()) }
    }
}

/// A place in a log file that may be renamed meanwhile.
#[derive(Default)]
struct Position {
    file: Option<(File, u64)>,
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Position {
    fn of(path: &Path) -> Position {
        let file = File::open(path).ok();
        let file = file.and_then(|file| Some((identity(&file.metadata().ok()?), file)));
        Position { file: file.map(|(id, file)| (file, id)), ..Position::default() }
    }

    fn is(&self, path: &Path) -> bool {
        let id = std::fs::metadata(path).ok().map(|meta| identity(&meta));
        self.file.as_ref().is_some_and(|(_, own)| Some(*own) == id)
    }

    fn is_replaced(&self, path: &Path) -> bool {
        self.file.is_some() && path.exists() && !self.is(path)
    }

    /// Hands over every complete record from here on.
    fn records<E>(&mut self, mut take: impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        let Some((file, _)) = &mut self.file else { return Ok(()) };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return Ok(());
        }
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(count) => count,
            };
            self.offset += count as u64;
            self.rest.extend_from_slice(&buffer[..count]);
            let mut from = 0;
            while let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
                if let Some(record) = parse(&self.rest[from..from + length]) {
                    take(record)?;
                }
                from += length + 1;
            }
            self.rest.drain(..from);
        }
    }
}

fn identity(meta: &Metadata) -> u64 {
    meta.ino()
}
