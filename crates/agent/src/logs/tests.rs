//! Reading logs from scratch files.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::*;

fn line(second: u32, stream: &str, tag: &str, text: &str) -> String {
    format!("2026-11-22T10:00:{second:02}.000000000Z {stream} {tag} {text}\n")
}

fn append(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Everything a reader gives of one attempt without following.
fn read(dir: &Path, from: u32, filter: Filter) -> String {
    read_across(dir, from, filter, false)
}

fn read_across(dir: &Path, from: u32, filter: Filter, across: bool) -> String {
    let (out, mut inbox) = mpsc::channel(1024);
    Reader::new(dir.to_owned(), filter, across, out).run(from, || Source::Closed);
    let mut text = Vec::new();
    while let Ok(bytes) = inbox.try_recv() {
        text.extend_from_slice(&bytes);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn records_are_read_and_torn_ones_refused() {
    let record = parse(b"2026-11-22T10:00:00Z stderr P a b").unwrap();
    assert_eq!((record.stderr, record.whole, record.text), (true, false, &b"a b"[..]));
    assert_eq!(parse(b"2026-11-22T10:00:00Z stdout F ").unwrap().text, b"");
    for torn in ["", "2026", "x stdout", "x other F t", "x stdout X t"] {
        assert!(parse(torn.as_bytes()).is_none(), "{torn:?}");
    }
}

#[test]
fn filters_choose_lines() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    append(&dir.path().join("0.log.1"), &line(0, "stdout", "F", "old"));
    let text = [
        line(1, "stdout", "P", "par"),
        line(1, "stdout", "F", "tial"),
        line(2, "stderr", "F", "err"),
        line(3, "stdout", "F", "last"),
    ];
    append(&log, &text.concat());
    assert_eq!(read(dir.path(), 0, Filter::default()), "old\npartial\nerr\nlast\n");
    assert_eq!(read(dir.path(), 0, Filter { tail: Some(2), ..Filter::default() }), "err\nlast\n");
    assert_eq!(read(dir.path(), 0, Filter { tail: Some(0), ..Filter::default() }), "");
    assert_eq!(read(dir.path(), 0, Filter { stderr: Some(true), ..Filter::default() }), "err\n");
    assert_eq!(read(dir.path(), 0, Filter { limit: Some(6), ..Filter::default() }), "old\npa");
    let since = "2026-11-22T10:00:02Z".parse().ok();
    assert_eq!(read(dir.path(), 0, Filter { since, ..Filter::default() }), "err\nlast\n");
    let stamped = read(dir.path(), 0, Filter { timestamps: true, tail: Some(3), ..Filter::default() });
    assert!(stamped.starts_with("2026-11-22T10:00:01.000000000Z partial\n2026-11-22T10:00:02"), "{stamped}");
    assert_eq!(
        tail(&log, 8, 80),
        "err
last"
    );
    assert_eq!(tail(&log, 100, 1), "last");
}

#[tokio::test]
async fn following_goes_over_rotation_and_restart_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    append(&log, &line(0, "stdout", "F", "a"));
    let open = Arc::new(AtomicBool::new(true));
    let (out, mut inbox) = mpsc::channel(16);
    let (path, flag) = (dir.path().to_owned(), open.clone());
    let task = tokio::task::spawn_blocking(move || {
        let filter = Filter { follow: true, ..Filter::default() };
        let source = move || if flag.load(Ordering::SeqCst) { Source::Open } else { Source::Closed };
        Reader::new(path, filter, true, out).run(0, source);
    });
    let mut seen = String::new();
    let mut until = async |inbox: &mut mpsc::Receiver<bytes::Bytes>, end: &str| {
        let deadline = std::time::Duration::from_secs(20);
        while !seen.ends_with(end) {
            let bytes = tokio::time::timeout(deadline, inbox.recv()).await.expect("in time").expect("not ended");
            seen.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        seen.clone()
    };
    until(&mut inbox, "a\n").await;
    append(&log, &line(1, "stdout", "F", "b"));
    fs::rename(&log, dir.path().join("0.log.1")).unwrap();
    append(&log, &line(2, "stdout", "F", "c"));
    until(&mut inbox, "c\n").await;
    append(&dir.path().join("1.log"), &line(3, "stdout", "F", "d"));
    let all = until(&mut inbox, "d\n").await;
    assert_eq!(all, "a\nb\nc\nd\n");
    open.store(false, Ordering::SeqCst);
    task.await.unwrap();
    assert!(inbox.recv().await.is_none(), "ends with its source");
}
