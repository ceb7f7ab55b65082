//! What a pod's folder remembers of each start: `<container>.<attempt>.running` from the start, `<container>.<attempt>.exit`
//! from the end. The daemon reads them when the supervisor is gone.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::pod::{ContainerName, ContainerRecord, ContainerState, Exit};

fn file(folder: &Path, container: &ContainerName, attempt: u32, what: &str) -> PathBuf {
    folder.join(format!("{container}.{attempt}.{what}"))
}

/// Remembers a start. Not synchronised: after a power cut nothing runs anyway.
pub(super) fn begin(folder: &Path, container: &ContainerName, attempt: u32) -> io::Result<()> {
    File::create(file(folder, container, attempt, "running")).map(drop)
}

/// Remembers an end, durably. Blocks on the disk.
pub(super) fn end(folder: &Path, container: &ContainerName, attempt: u32, exit: &Exit) -> io::Result<()> {
    let (new, path) = (file(folder, container, attempt, "new"), file(folder, container, attempt, "exit"));
    let mut written = File::create(&new)?;
    written.write_all(&serde_json::to_vec(exit)?)?;
    written.sync_all()?;
    fs::rename(&new, &path)?;
    let _ = fs::remove_file(file(folder, container, attempt, "running"));
    File::open(folder)?.sync_all()
}

/// Forgets an attempt.
pub(super) fn forget(folder: &Path, container: &ContainerName, attempt: u32) {
    for what in ["running", "exit", "new"] {
        let _ = fs::remove_file(file(folder, container, attempt, what));
    }
}

/// The newest attempt of each container, from the files alone. A start without an end is lost.
pub(crate) fn recall(folder: &Path) -> BTreeMap<ContainerName, ContainerRecord> {
    let mut found: BTreeMap<ContainerName, ContainerRecord> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.rsplitn(3, '.');
        let (what, attempt, container) = (parts.next(), parts.next().and_then(|a| a.parse().ok()), parts.next());
        let (Some(attempt), Some(Ok(container))) = (attempt, container.map(ContainerName::new)) else { continue };
        let state = match what {
            Some("exit") => match fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(exit) => ContainerState::Exited { exit },
                None => ContainerState::Lost,
            },
            Some("running") => ContainerState::Lost,
            _ => continue,
        };
        // The newest attempt wins; of the same one, its end.
        let rank = |record: &ContainerRecord| (record.attempt, matches!(record.state, ContainerState::Exited { .. }));
        let record = ContainerRecord { attempt, state };
        if found.get(&container).is_none_or(|known| rank(known) < rank(&record)) {
            found.insert(container, record);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_newest_attempt_and_its_end_are_recalled() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let (web, db) = (ContainerName::new("web.1").unwrap(), ContainerName::new("db").unwrap());
        let at = Timestamp::UNIX_EPOCH;
        let exit = Exit { code: 3, signal: None, oom: false, started_at: at, finished_at: at };
        begin(folder, &web, 0).unwrap();
        end(folder, &web, 0, &exit).unwrap();
        begin(folder, &web, 1).unwrap();
        begin(folder, &db, 4).unwrap();
        end(folder, &db, 4, &exit).unwrap();
        let recalled = recall(folder);
        assert_eq!(recalled[&web], ContainerRecord { attempt: 1, state: ContainerState::Lost });
        assert_eq!(recalled[&db], ContainerRecord { attempt: 4, state: ContainerState::Exited { exit } });
        forget(folder, &db, 4);
        assert!(!recall(folder).contains_key(&db));
    }
}
