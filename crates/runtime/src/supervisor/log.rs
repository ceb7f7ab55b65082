//! Log files in the CRI format, with rotation.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    diary::note,
    handover::{Bytes, Fd, Giver, Taker},
};
use crate::pod::LogConfig;

/// A longer line is written in parts.
const LONGEST: usize = 16 * 1024;

/// One stream's bytes, cut into lines.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// What is there of an unfinished line, for whoever goes on with it.
    pub(super) fn give(&self) -> Bytes {
        Bytes(self.0.clone())
    }

    pub(super) fn take(rest: Bytes) -> Self {
        Self(rest.0)
    }

    /// Appends what came to `out`, as whole entries. The rest of an unfinished line is kept.
    pub(super) fn push(&mut self, chunk: &[u8], stream: &str, now: Timestamp, out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.text(&rest[..end], stream, now, out);
            self.entry('F', stream, now, out);
            rest = &rest[end + 1..];
        }
        self.text(rest, stream, now, out);
    }

    /// Writes what is left when the stream ends.
    pub(super) fn finish(&mut self, stream: &str, now: Timestamp, out: &mut Vec<u8>) {
        if !self.0.is_empty() {
            self.entry('F', stream, now, out);
        }
        self.0 = Vec::new();
    }

    fn text(&mut self, mut text: &[u8], stream: &str, now: Timestamp, out: &mut Vec<u8>) {
        while self.0.len() + text.len() > LONGEST {
            let (fits, more) = text.split_at(LONGEST - self.0.len());
            self.0.extend_from_slice(fits);
            self.entry('P', stream, now, out);
            text = more;
        }
        self.0.extend_from_slice(text);
    }

    fn entry(&mut self, tag: char, stream: &str, now: Timestamp, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = write!(out, "{now:.9} {stream} {tag} ");
        out.append(&mut self.0);
        out.push(b'\n');
        if self.0.capacity() > 1024 {
            self.0 = Vec::new();
        }
    }
}

/// The file being written.
#[derive(Debug)]
pub(super) struct LogFile {
    config: LogConfig,
    file: File,
    size: u64,
    /// Lines that could not be written since the last one that could.
    lost: u64,
    /// Why.
    trouble: String,
    /// Rotation failed, and that was said.
    stuck: bool,
}

/// The same as it is handed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogRecord {
    config: LogConfig,
    file: Fd,
    size: u64,
    lost: u64,
    trouble: String,
    stuck: bool,
}

/// Whole lines among entries: parts of a long one count with its last part.
fn lines(entries: &[u8]) -> u64 {
    let is_last = |entry: &&[u8]| entry.splitn(4, |b| *b == b' ').nth(2) == Some(b"F");
    entries.split(|b| *b == b'\n').filter(is_last).count() as u64
}

impl LogFile {
    pub(super) fn give(&self, giver: &mut Giver) -> LogRecord {
        LogRecord {
            config: self.config.clone(),
            file: giver.fd(&self.file),
            size: self.size,
            lost: self.lost,
            trouble: self.trouble.clone(),
            stuck: self.stuck,
        }
    }

    pub(super) fn take(record: LogRecord, taker: &mut Taker) -> io::Result<Self> {
        let LogRecord { config, size, lost, trouble, stuck, .. } = record;
        Ok(Self { config, file: taker.fd(record.file)?.into(), size, lost, trouble, stuck })
    }

    pub(super) fn open(config: &LogConfig) -> io::Result<Self> {
        if let Some(folder) = config.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&config.path)?;
        let size = file.metadata()?.len();
        Ok(Self { config: config.clone(), file, size, lost: 0, trouble: String::new(), stuck: false })
    }

    /// Writes whole entries. What a full disk refuses is lost, and counted: the container must not wait for it. How many
    /// lines are missing is said in their place, once, as soon as there is space.
    pub(super) fn write(&mut self, entries: &[u8]) {
        let full = self.config.max_size > 0 && self.size > 0 && self.size + entries.len() as u64 > self.config.max_size;
        if full {
            match self.rotate() {
                Ok(()) => self.stuck = false,
                Err(_) if self.stuck => {}
                Err(error) => {
                    self.stuck = true;
                    note(format_args!("rotating {}: {error}", self.config.path.display()));
                }
            }
        }
        if self.lost == 0 {
            if let Err((whole, error)) = self.append(entries, 0) {
                note(format_args!("writing {}: {error}", self.config.path.display()));
                self.lose(&entries[whole..], &error);
            }
            return;
        }
        let mut all = Vec::new();
        // Writing to memory cannot fail.
        let _ = writeln!(all, "{:.9} stderr F naru: {} lines were lost: {}", Timestamp::now(), self.lost, self.trouble);
        let gap = all.len();
        all.extend_from_slice(entries);
        let (whole, error) = match self.append(&all, gap + 1) {
            Ok(()) => (all.len(), None),
            Err((whole, error)) => (whole, Some(error)),
        };
        if whole > gap {
            note(format_args!("writing {} again: {} lines were lost", self.config.path.display(), self.lost));
            self.lost = 0;
        }
        if let Some(error) = error {
            self.lose(&all[whole.max(gap)..], &error);
        }
    }

    fn lose(&mut self, entries: &[u8], error: &io::Error) {
        self.lost += lines(entries);
        self.trouble = match error.kind() {
            io::ErrorKind::StorageFull => "disk full".to_owned(),
            _ => error.to_string(),
        };
    }

    /// Appends entries, or as many whole ones as there is space for, if those are at least so many bytes. On an error: how
    /// many bytes are there.
    fn append(&mut self, entries: &[u8], least: usize) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        let error = loop {
            match self.file.write(&entries[written..]) {
                Ok(count) if written + count == entries.len() => {
                    self.size += entries.len() as u64;
                    return Ok(());
                }
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        // A torn entry would swallow the next one.
        let whole = entries[..written].iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
        let whole = if whole < least { 0 } else { whole };
        let torn = (written - whole) as u64;
        if torn > 0
            && let Ok(facts) = self.file.metadata()
        {
            let _ = self.file.set_len(facts.len().saturating_sub(torn));
        }
        self.size += whole as u64;
        Err((whole, error))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.config.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.into()
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the last one goes. The new file is made first: where
    /// that fails, repeated attempts must not push out one old file after another.
    fn rotate(&mut self) -> io::Result<()> {
        let kept = self.config.max_files.max(1) - 1;
        let mut new = self.config.path.clone().into_os_string();
        new.push(".new");
        let file = OpenOptions::new().create(true).append(true).open(&new)?;
        for number in (0..kept).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&new, &self.config.path)?;
        self.file = file;
        self.size = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_nanosecond(1_000_000_001).unwrap()
    }

    fn push(lines: &mut Lines, chunk: &[u8]) -> String {
        let mut out = Vec::new();
        lines.push(chunk, "stdout", now(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_put_together_from_chunks() {
        let mut lines = Lines::default();
        assert_eq!(push(&mut lines, b"hel"), "");
        let one = "1970-01-01T00:00:01.000000001Z stdout F ";
        assert_eq!(push(&mut lines, b"lo\n\nwor"), format!("{one}hello\n{one}\n"));
        let mut out = Vec::new();
        lines.finish("stdout", now(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{one}wor\n"));
    }

    #[test]
    fn long_lines_come_in_parts_that_add_up() {
        let mut lines = Lines::default();
        let text = vec![b'x'; LONGEST * 2 + 5];
        let mut all = push(&mut lines, &text);
        all += &push(&mut lines, b"\n");
        let tags: Vec<_> = all.lines().map(|l| l.split(' ').nth(2).unwrap()).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let total: usize = all.lines().map(|l| l.split(' ').nth(3).unwrap().len()).sum();
        assert_eq!(total, text.len());
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("deep/0.log");
        let mut log = LogFile::open(&LogConfig { path: path.clone(), max_size: 10, max_files: 3 }).unwrap();
        for text in ["aaaaaa\n", "bbbbbb\n", "cccccc\n", "dddddd\n"] {
            log.write(text.as_bytes());
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).ok();
        assert_eq!(read("").as_deref(), Some("dddddd\n"));
        assert_eq!(read(".1").as_deref(), Some("cccccc\n"));
        assert_eq!(read(".2").as_deref(), Some("bbbbbb\n"));
        assert_eq!(read(".3"), None);
    }

    #[test]
    fn a_rotation_that_fails_pushes_nothing_out() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0.log");
        let mut log = LogFile::open(&LogConfig { path: path.clone(), max_size: 10, max_files: 3 }).unwrap();
        for text in ["aaaaaa\n", "bbbbbb\n"] {
            log.write(text.as_bytes());
        }
        fs::create_dir(scratch.path().join("0.log.new")).unwrap();
        for text in ["cccccc\n", "dddddd\n", "eeeeee\n"] {
            log.write(text.as_bytes());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "bbbbbb\ncccccc\ndddddd\neeeeee\n");
        assert_eq!(fs::read_to_string(scratch.path().join("0.log.1")).unwrap(), "aaaaaa\n");
    }

    #[test]
    fn lines_in_parts_count_once() {
        let mut entries = Vec::new();
        Lines::default().push(
            &[&[b'x'; LONGEST * 2 + 5][..], b"\nshort\nrest"].concat(),
            "stdout",
            now(),
            &mut entries,
        );
        assert_eq!(lines(&entries), 2);
    }
}
