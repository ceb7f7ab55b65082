//! Container logs: files in the CRI format, one an attempt.
//!
//! `2026-11-22T10:00:00.123456789Z stdout F text`; `P` in place of `F` marks a line that goes on in the next record.

mod files;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use files::attempts;
pub(crate) use reader::{Filter, Reader, Source};

use std::path::Path;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// RFC 3339 with nanoseconds, as written.
    pub time: &'a str,
    /// Standard error rather than output.
    pub stderr: bool,
    /// The line ends with this record.
    pub whole: bool,
    /// The text without a line end.
    pub text: &'a [u8],
}

/// Reads one line of a log file; `None` when it is torn.
pub(crate) fn parse(line: &[u8]) -> Option<Record<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let whole = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Record { time, stderr, whole, text: parts.next().unwrap_or_default() })
}

/// The end of a log: at most so many bytes and lines of text.
pub(crate) fn tail(path: &Path, bytes: usize, lines: usize) -> String {
    let Ok(content) = std::fs::read(path) else { return String::new() };
    let mut text = Vec::new();
    for record in content.split(|byte| *byte == b'\n').filter_map(parse) {
        text.extend_from_slice(record.text);
        if record.whole {
            text.push(b'\n');
        }
    }
    let text = String::from_utf8_lossy(&text);
    let kept: Vec<&str> = text.lines().rev().take(lines).collect();
    let kept = kept.into_iter().rev().collect::<Vec<_>>().join("\n");
    let mut from = kept.len().saturating_sub(bytes);
    while !kept.is_char_boundary(from) {
        from += 1;
    }
    kept[from..].to_owned()
}
