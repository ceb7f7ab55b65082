//! `naru backup restore`: a server's state out of a backup.
//!
//! Everything is made in a folder beside (`restore.part`), from a backup of which every byte was authenticated. One
//! rename (to `restore.whole`) is the moment from which it counts; what follows only moves folders to their places, and
//! is done again by whoever comes next, the server or this verb, when the power goes in between. So a backup that is
//! refused has changed nothing. Refused: unpacking in place, of which a half would be taken for a cluster.
//!
//! Only the state of the cluster is replaced: containers, images and volumes of the machine stay as they are.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use naru_backup::{BackupError, BackupKey, Contents, Header, Opening, PipeReader};
use naru_store::{GAP, Revision, Store};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::{WITHOUT, key, place};
use crate::cli::{Place, RestoreBackup};
use crate::server::settings;

const PART: &str = "restore.part";
const WHOLE: &str = "restore.whole";
/// What is replaced, in the order in which it is put in place; the store, by which a server is known, is last.
const PIECES: [&str; 3] = ["pki", settings::FILE, "store"];
/// Without one of these the cluster's certificates, tokens or secrets would be lost.
const KEYS: [&str; 4] = ["ca.crt", "ca.key", "tokens.key", "seal.key"];

/// Runs the verb.
pub(super) async fn run(state: &Place, options: RestoreBackup) -> anyhow::Result<ExitCode> {
    let key = key::or_unsealed(options.key.key_file.as_deref())?;
    if crate::cluster::Membership::exists(state) {
        bail!("this machine is a worker of a cluster: take it out with `sudo naru leave`, then restore");
    }
    let dir = state.state_dir.clone();
    let elsewhere = dir.join(crate::server::state::NOTE);
    if elsewhere.exists() {
        bail!(
            "this server's state is in etcd, and a backup is restored into a state folder: restore on another machine, or \
             move {} away first; with --etcd-servers and another --etcd-prefix the restored state goes to etcd again",
            elsewhere.display()
        );
    }
    private(&dir)?;
    let held = hold(&dir)?;
    finish(&dir).context("an earlier restoration that was cut off cannot be completed")?;
    let before = PIECES.iter().filter(|piece| is_there(&dir.join(piece))).copied().collect::<Vec<_>>();
    if !before.is_empty() && !options.replace {
        bail!(
            "there is a cluster in {} already ({}): restore on another machine, or give --replace, which moves its state \
             aside and leaves containers, images and volumes alone",
            dir.display(),
            before.join(", ")
        );
    }
    let (depot, name) = place::locate(&options.backup)?;
    let from = depot.get(&name).await?;
    let part = dir.join(PART);
    let issued = raise(Timestamp::now(), old_offset(&dir));
    let (into, returning) = (part.clone(), options.returning.as_secs());
    let made = tokio::task::spawn_blocking(move || unpack(from, &key, &into, issued, returning)).await?;
    let (header, revision) = match made {
        Ok(made) => made,
        Err(error) => {
            let _ = fs::remove_dir_all(&part);
            return Err(error.context(format!("{} was not restored, and nothing was changed", options.backup)));
        }
    };
    fs::rename(&part, dir.join(WHOLE)).context("cannot put the restored state in place")?;
    sync(&dir)?;
    let aside = finish(&dir)?;
    drop(held);
    report(state, &options, &header, revision, aside.as_deref())
}

fn report(
    state: &Place,
    options: &RestoreBackup,
    header: &Header,
    revision: Revision,
    aside: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let about = &header.about;
    let settings = settings::read(state);
    if options.format == "json" {
        println!(
            "{}",
            json!({"backup": options.backup, "cluster": about.cluster, "time": about.time.to_string(),
                "backupRevision": about.revision, "revision": revision.0, "objects": about.objects,
                "state": state.state_dir, "movedAside": aside, "node": about.node, "volumes": false})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "Restored {} objects of {} to {}",
        about.objects,
        about.time.strftime("%Y-%m-%d %H:%M:%S UTC"),
        state.state_dir.display()
    );
    if let Some(aside) = aside {
        println!("The state that was there is in {}", aside.display());
    }
    println!("{WITHOUT}");
    println!("Start the server: `sudo naru install`, or `sudo naru server`");
    if let Some(settings) = settings {
        println!(
            "It is the node {} as before, with certificates for this machine's addresses. Workers come back by themselves \
             to an address or a name that they know. One that was removed since the backup was made: `naru node rm` again",
            settings.node_name
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the state in a folder beside; also gives the first revision.
fn unpack(
    from: PipeReader,
    key: &BackupKey,
    part: &Path,
    issued: Revision,
    returning: u64,
) -> anyhow::Result<(Header, Revision)> {
    match fs::remove_dir_all(part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", part.display()));
        }
        _ => {}
    }
    let mut opening = Opening::begin(from, key)?;
    let header = opening.header().clone();
    let contents = Contents::read(&mut opening)?;
    if let Some(missing) = KEYS.iter().find(|name| !contents.pki.contains_key(**name)) {
        bail!("the backup lacks {missing}, without which the cluster cannot go on: take another one");
    }
    let pki = part.join("pki");
    private(part)?;
    private(&pki)?;
    for (name, file) in &contents.pki {
        let path = pki.join(name);
        let bytes = file.bytes().unwrap_or_default();
        naru_identity::write_file(&path, &bytes, file.mode)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = part.join(settings::FILE);
    let restored = Some(naru_backup::Restored { taken: header.about.time, at: Timestamp::now(), returning });
    let server = naru_backup::ServerSettings { restored, ..contents.server };
    naru_identity::write_file(&path, &serde_json::to_vec_pretty(&server)?, 0o600)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let imported = Store::import(&part.join("store"), &mut opening, Some(issued));
    let imported = imported.map_err(|error| match error {
        naru_store::ImportError::Read(error) => anyhow::Error::new(BackupError::from_io(error)),
        other => anyhow::Error::new(other),
    })?;
    // To the end, which authenticates that nothing is missing.
    let rest = opening.read(&mut [0]).map_err(BackupError::from_io)?;
    if rest != 0 {
        bail!("there is something behind the objects of the backup");
    }
    // What cannot be opened now could not be later.
    naru_identity::Authority::open_or_create(&pki)?;
    naru_identity::Sealer::open_or_create(&pki.join("seal.key"))?;
    sync(&pki)?;
    sync(part)?;
    Ok((header, imported.revision))
}

/// Moves what was restored to its place and what was there aside; does nothing where no restoration waits for that.
/// Gives where the former state is.
///
/// # Errors
/// When a folder cannot be moved; it is tried again the next time.
pub(crate) fn finish(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    let whole = dir.join(WHOLE);
    if !whole.exists() {
        return Ok(None);
    }
    let aside = dir.join(format!("before-restore-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    let mut moved = false;
    for piece in PIECES {
        let (from, to) = (whole.join(piece), dir.join(piece));
        if !from.exists() {
            continue;
        }
        if is_there(&to) {
            private(&aside)?;
            fs::rename(&to, aside.join(piece)).with_context(|| format!("cannot move {} aside", to.display()))?;
            moved = true;
        } else if to.is_dir() {
            fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
        }
        fs::rename(&from, &to).with_context(|| format!("cannot put {} in place", to.display()))?;
        sync(dir)?;
    }
    fs::remove_dir_all(&whole).with_context(|| format!("cannot remove {}", whole.display()))?;
    sync(dir)?;
    Ok(moved.then_some(aside))
}

/// Whether something of a cluster is there; a lock alone is nothing.
fn is_there(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().any(|entry| entry.file_name() != "lock"),
        Err(_) => path.is_file(),
    }
}

/// Holds the store's lock, where there is a store, so that no server can start on it meanwhile.
fn hold(dir: &Path) -> anyhow::Result<Option<fs::File>> {
    let path = dir.join("store").join("lock");
    let lock = match fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        lock => lock.with_context(|| format!("cannot look at {}", path.display()))?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            bail!(
                "a server runs on {} (process {}): nothing is restored over a running cluster. Stop it first \
                 (`sudo systemctl stop naru`, or end that process); containers go on",
                dir.display(),
                holder.trim()
            )
        }
        Err(errno) => Err(std::io::Error::from(errno)).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The revision offset of the store that is replaced, where it can still be read.
fn old_offset(dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(dir.join("store").join("identity")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("offset "))?.parse().ok()
}

/// A revision above every one that may ever have been issued, by whatever server the cluster had. Nobody wrote down how
/// far those came after the backup, nor how often a backup of this cluster was restored elsewhere; but time only goes
/// forward: no server issues a million revisions a second, so the time in such steps is above them all. Where the clock
/// is wrong, the store that is replaced and the store's own gap hold.
fn raise(now: Timestamp, old_offset: Option<u64>) -> Revision {
    let by_time = u64::try_from(now.as_second()).unwrap_or(0) << 20;
    Revision(by_time.max(old_offset.map_or(0, |offset| offset.saturating_add(GAP))))
}

fn private(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))
}

fn sync(dir: &Path) -> anyhow::Result<()> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("cannot sync {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_only_rise_whatever_the_clock_says() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let first = raise(at(1_790_000_000), None);
        assert!(raise(at(1_790_000_060), None).0 > first.0 + 20_000 * 60, "a minute of the fastest server");
        assert!(raise(at(0), Some(first.0)).0 >= first.0 + GAP, "a clock without a battery");
        assert!(first.0 < 1 << 53, "clients read it as a number");
    }

    #[test]
    fn a_restoration_that_was_cut_off_is_completed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(path(name).parent().expect("a folder")).expect("a folder");
            fs::write(path(name), text).expect("write");
        };
        assert!(finish(dir.path()).expect("nothing to do").is_none());
        write("pki/ca.crt", "old");
        write("store/log-1", "old");
        write("volumes/data", "stays");
        write("restore.whole/pki/ca.crt", "new");
        write("restore.whole/store/log-1", "new");
        // The power went after the first piece.
        fs::create_dir_all(path("before-restore-x")).expect("a folder");
        fs::rename(path("pki"), path("before-restore-x/pki")).expect("aside");
        fs::rename(path("restore.whole/pki"), path("pki")).expect("in place");
        let aside = finish(dir.path()).expect("completed").expect("moved aside");
        let read = |name: &str| fs::read_to_string(path(name)).expect("read");
        assert_eq!(
            (read("pki/ca.crt"), read("store/log-1"), read("volumes/data")),
            ("new".into(), "new".into(), "stays".into())
        );
        assert_eq!(fs::read_to_string(aside.join("store/log-1")).expect("read"), "old");
        assert!(!path(WHOLE).exists() && finish(dir.path()).expect("nothing to do").is_none());
    }
}
