//! Writing lines to a file that is put aside when it is large, from a thread of its own.
//!
//! What waits is one buffer with a bound. Whoever adds a line copies it and goes on; a line that does not fit is lost, and
//! counted. The thread takes everything that waits at once, so that a burst is one write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::AuditSettings;
use super::event::Level;

/// How many bytes may wait to be written.
const WAITING: usize = 32 << 20;
const MEGABYTE: u64 = 1 << 20;
/// How the time at which a file was put aside stands in its name.
const ASIDE: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// What was written and what was not, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    levels: [AtomicU64; Level::ALL.len()],
    events: AtomicU64,
    lost: AtomicU64,
}

/// The way to the thread that writes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
    counters: Counters,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    closed: bool,
}

/// Where lines are written to.
enum Target {
    Output,
    File(Rotated),
}

/// A file that is begun anew when it is large.
struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    /// When a file was last put aside, as its name says.
    last: Timestamp,
    keep: Keep,
}

/// What is kept of a log.
#[derive(Debug, Clone, Copy)]
struct Keep {
    bytes: u64,
    age: Option<SignedDuration>,
    files: Option<usize>,
}

// === impl Counters ===

impl Counters {
    pub(super) fn judged(&self, level: Level) {
        self.levels[level as usize].fetch_add(1, Relaxed);
    }

    /// How many requests had each level.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Level::ALL.into_iter().zip(&self.levels).map(|(level, count)| (level.as_str(), count.load(Relaxed)))
    }

    /// How many events there were, the lost ones included.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// How many events were not written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn open(settings: &AuditSettings) -> io::Result<Writer> {
        let target = if settings.path == Path::new("-") {
            Target::Output
        } else {
            Target::File(Rotated::open(settings.path.clone(), Keep::of(settings))?)
        };
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || write_all(&theirs, target))?;
        Ok(Writer { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Has a line written, which ends with a line feed.
    pub(super) fn push(&self, line: &[u8]) {
        self.shared.counters.events.fetch_add(1, Relaxed);
        let mut waiting = self.shared.waiting();
        if waiting.closed || waiting.bytes.len() + line.len() > WAITING {
            self.shared.counters.lost.fetch_add(1, Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        drop(waiting);
        self.shared.news.notify_one();
    }

    pub(super) fn close(&self) {
        self.shared.waiting().closed = true;
        self.shared.news.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::warn!("the audit log's thread ended early");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, when anything does; `None` at the end.
    fn take(&self) -> Option<(Vec<u8>, u64)> {
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let lines = std::mem::take(&mut waiting.lines);
        Some((std::mem::take(&mut waiting.bytes), lines))
    }
}

fn write_all(shared: &Shared, mut target: Target) {
    let mut told = 0;
    while let Some((bytes, lines)) = shared.take() {
        let written = match &mut target {
            Target::Output => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
            Target::File(file) => file.write(&bytes, Timestamp::now()),
        };
        if let Err(error) = written {
            shared.counters.lost.fetch_add(lines, Relaxed);
            tracing::error!(%error, lines, "the audit log cannot be written: events are lost");
            told = shared.counters.lost();
        }
        let lost = shared.counters.lost();
        if lost > told {
            tracing::error!(events = lost - told, "the audit log is written too slowly: events are lost");
            told = lost;
        }
    }
}

// === impl Keep ===

impl Keep {
    fn of(settings: &AuditSettings) -> Keep {
        Keep {
            bytes: u64::from(settings.max_size.max(1)) * MEGABYTE,
            age: (settings.max_age > 0).then(|| SignedDuration::from_hours(24 * i64::from(settings.max_age))),
            files: (settings.max_backups > 0).then_some(settings.max_backups as usize),
        }
    }

    /// Which of the files that were put aside have been kept long enough. Pure.
    fn surplus(&self, mut aside: Vec<(Timestamp, String)>, now: Timestamp) -> Vec<String> {
        aside.sort_by(|a, b| b.cmp(a));
        let is_old = |at: &Timestamp| self.age.is_some_and(|age| now.duration_since(*at) > age);
        let is_one_too_many = |place: usize| self.files.is_some_and(|files| place >= files);
        let surplus = aside.into_iter().enumerate().filter(|(place, (at, _))| is_one_too_many(*place) || is_old(at));
        surplus.map(|(_, (_, name))| name).collect()
    }
}

// === impl Rotated ===

impl Rotated {
    fn open(path: PathBuf, keep: Keep) -> io::Result<Rotated> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Rotated { path, file, size, last: Timestamp::UNIX_EPOCH, keep })
    }

    /// Writes lines; none is torn in two by the beginning of another file.
    fn write(&mut self, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let (mut begin, mut end) = (0, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.size > 0 && self.size + line.len() as u64 > self.keep.bytes {
                self.file.write_all(&bytes[begin..end])?;
                begin = end;
                self.begin_anew(now)?;
            }
            end += line.len();
            self.size += line.len() as u64;
        }
        self.file.write_all(&bytes[begin..end])
    }

    fn begin_anew(&mut self, now: Timestamp) -> io::Result<()> {
        // Two within a millisecond must not be one, nor go by a time before another's.
        let moment = SignedDuration::from_millis(1);
        let mut at = now.max(self.last + moment);
        while self.aside(at).exists() {
            at += moment;
        }
        fs::rename(&self.path, self.aside(at))?;
        self.last = at;
        self.file = append(&self.path)?;
        self.size = 0;
        for name in self.keep.surplus(self.all_aside(), now) {
            // One that cannot be removed is tried again next time.
            let _ = fs::remove_file(self.path.with_file_name(name));
        }
        Ok(())
    }

    /// The words before and after the time in the names of files that were put aside.
    fn words(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let end = self.path.extension().map_or_else(String::new, |end| format!(".{}", text(Some(end))));
        (format!("{}-", text(self.path.file_stem())), end)
    }

    fn aside(&self, at: Timestamp) -> PathBuf {
        let (before, after) = self.words();
        self.path.with_file_name(format!("{before}{}{after}", at.to_zoned(TimeZone::UTC).strftime(ASIDE)))
    }

    fn all_aside(&self) -> Vec<(Timestamp, String)> {
        let (before, after) = self.words();
        let folder = self.path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter_map(|name| {
                let at = name.strip_prefix(&before)?.strip_suffix(&after)?;
                let at = DateTime::strptime("%Y-%m-%dT%H-%M-%S%.f", at).ok()?;
                Some((at.to_zoned(TimeZone::UTC).ok()?.timestamp(), name))
            })
            .collect()
    }
}

/// Opens a file to write at its end. It tells who does what: it is its owner's alone.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: PathBuf) -> AuditSettings {
        AuditSettings { policy: PathBuf::new(), path, max_age: 0, max_backups: 2, max_size: 1 }
    }

    fn names(folder: &Path) -> Vec<String> {
        let all = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<String> = all.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_lines_are_put_aside_and_only_so_many_files_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let writer = Writer::open(&settings(path.clone())).expect("a log");
        let line = |n: usize| format!("{n}{}\n", "x".repeat(400_000));
        for n in 0..10 {
            writer.push(line(n).as_bytes());
        }
        writer.close();
        writer.push(b"late\n");
        assert_eq!((writer.counters().events(), writer.counters().lost()), (11, 1));
        // Two lines fit into a megabyte: five files, of which the present one and the newest two are left.
        let names = names(folder.path());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[..2].iter().all(|name| name.starts_with("audit-20")) && names[2] == "audit.log", "{names:?}");
        let text = |name: &String| fs::read_to_string(folder.path().join(name)).expect("text");
        assert_eq!(text(&names[0]), line(4) + &line(5));
        assert_eq!(text(&names[2]), line(8) + &line(9));
        let again = Writer::open(&settings(path)).expect("a log");
        again.push(b"more\n");
        drop(again);
        assert_eq!(text(&names[2]), line(8) + &line(9) + "more\n", "what is there is kept");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(folder.path().join("audit.log")).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_old_goes_whatever_its_number() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().expect("a time");
        let aside = |day: u32| (format!("2026-01-{day:02}T00:00:00Z").parse().expect("a time"), day.to_string());
        let keep = |age: u32, files: u32| {
            Keep::of(&AuditSettings { max_age: age, max_backups: files, ..settings(PathBuf::new()) })
        };
        let all = || vec![aside(9), aside(1), aside(5)];
        assert_eq!(keep(6, 0).surplus(all(), now), ["1"]);
        assert_eq!(keep(0, 1).surplus(all(), now), ["5", "1"]);
        assert_eq!(keep(6, 2).surplus(all(), now), ["1"]);
        assert!(keep(0, 0).surplus(all(), now).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let shared = Arc::new(Shared::default());
        let writer = Writer { shared: shared.clone(), thread: Mutex::new(None) };
        let large = vec![b'x'; WAITING - 1];
        writer.push(&large);
        writer.push(b"ab\n");
        writer.push(b"\n");
        assert_eq!((writer.counters().events(), writer.counters().lost()), (3, 1));
        assert_eq!(shared.take().map(|(bytes, lines)| (bytes.len(), lines)), Some((WAITING, 2)));
    }
}
