//! A full disk.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
};

use naru_runtime::pod::{ContainerName, LogConfig, Runtime};
use rustix::mount::{MountFlags, mount};

use crate::support::{machine, until};

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    while file.write(&[b'x'; 4096]).is_ok() {}
}

/// Everything that the pod keeps, the supervisor's own words too, is on the full disk.
#[tokio::test]
async fn a_full_disk_costs_log_lines_and_no_container() {
    let Some(mut m) = machine() else { return };
    let disk = m.config.state_dir.join("pods");
    mount("disk", &disk, "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
    let uid = m.pod("p").await;
    let log = m.pods.pod_dir(&uid).join("web.log");
    let script = "while [ ! -e /dev/shm/stop ]; do \
                    i=$((i+1)); printf 'line %s %0500d\\n' $i 0; echo $i > /dev/shm/said; \
                  done; exit 7";
    let mut config = m.container(&uid, "web", script);
    config.log = Some(LogConfig { path: log.clone(), max_size: 64 << 10, max_files: 2 });
    let shm = m.config.run_dir.join("pods/p/shm");
    let said = || fs::read_to_string(shm.join("said")).ok().and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
    m.start(&uid, config).await.unwrap();
    until("some lines", || said() > 10).await;
    // A rotation takes the oldest file away, so that what was full a moment ago has room again, for as many lines as the
    // next rotation needs: it is full when the log stands still over more lines than a file of it takes.
    let stands = || fs::metadata(&log).map(|meta| (meta.ino(), meta.len())).unwrap_or_default();
    let full_at = loop {
        fill(&disk.join("filler"));
        let (at, before) = (said(), stands());
        until("more lines than a file takes", || said() > at + 300).await;
        if stands() == before {
            break said();
        }
    };
    // More than the supervisor's pipe and the rest of a page can hold.
    until("a container that goes on without space", || said() > full_at + 2000).await;
    assert_eq!(m.pods.state(&uid).await.unwrap().containers.len(), 1);

    fs::remove_file(disk.join("filler")).unwrap();
    let words = || fs::read_to_string(m.pods.pod_dir(&uid).join("supervisor.log")).unwrap_or_default();
    until("a word about what is missing", || words().contains("lines were lost")).await;
    fs::write(shm.join("stop"), "").unwrap();
    assert_eq!(m.exit(&uid, &ContainerName::new("web").unwrap(), 0).await.code, 7);
}

/// What is in the log: whole lines, and the exact number of the missing ones in their place.
#[tokio::test]
async fn lost_lines_are_counted_where_they_are_missing() {
    let Some(mut m) = machine() else { return };
    let disk = m.scratch.path().join("logs");
    fs::create_dir_all(&disk).unwrap();
    mount("disk", &disk, "tmpfs", MountFlags::empty(), Some(c"size=4m")).unwrap();
    let uid = m.pod("p").await;
    let script = "while [ ! -e /dev/shm/stop ]; do \
                    i=$((i+1)); printf 'line %s %0500d\\n' $i 0; echo $i > /dev/shm/said; \
                    [ $i -ne 50 ] || while [ ! -e /dev/shm/full ]; do sleep 0.02; done; \
                    [ $i -ne 400 ] || while [ ! -e /dev/shm/space ]; do sleep 0.02; done; \
                  done; exit 7";
    let shm = m.config.run_dir.join("pods/p/shm");
    let said = || fs::read_to_string(shm.join("said")).ok().and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
    let config = m.container(&uid, "web", script);
    m.start(&uid, config).await.unwrap();
    until("some lines", || m.log(&uid, "web").contains("line 50 ")).await;
    fill(&disk.join("filler"));
    fs::write(shm.join("full"), "").unwrap();
    until("lines without space", || said() >= 400).await;
    fs::remove_file(disk.join("filler")).unwrap();
    fs::write(shm.join("space"), "").unwrap();
    until("lines again", || m.log(&uid, "web").lines().any(|line| line.starts_with("line 420 "))).await;
    fs::write(shm.join("stop"), "").unwrap();
    assert_eq!(m.exit(&uid, &ContainerName::new("web").unwrap(), 0).await.code, 7);

    let log = m.log(&uid, "web");
    let (mut last, mut missing, mut words) = (0, 0, 0);
    for line in log.lines() {
        if let Some(count) = line.strip_prefix("naru: ").and_then(|l| l.strip_suffix(" lines were lost: disk full")) {
            missing = count.parse::<u64>().unwrap();
            words += 1;
            continue;
        }
        let mut parts = line.split(' ');
        assert_eq!((parts.next(), parts.clone().nth(1).map(str::len)), (Some("line"), Some(500)), "torn: {line}");
        let number: u64 = parts.next().unwrap().parse().unwrap();
        assert_eq!(number - last - 1, missing, "before line {number}");
        (last, missing) = (number, 0);
    }
    assert_eq!(words, 1, "{log}");
}
