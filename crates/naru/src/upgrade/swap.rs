//! The files: the new program beside the old one, and the exchange of the two by rename.
//!
//! `naru.new` is what arrives, `naru.previous` what ran before. At every moment `naru` is one whole program.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::MetadataExt;

use super::file::{self, Program};

/// A program that does not tell its version within this time will not do anything else either.
const TELLS: Duration = Duration::from_secs(20);

fn beside(program: &Path, what: &str) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(what);
    name.into()
}

/// Where a new program arrives.
pub(super) fn staged(program: &Path) -> PathBuf {
    beside(program, ".new")
}

/// Where the old program stays.
pub(super) fn previous(program: &Path) -> PathBuf {
    beside(program, ".previous")
}

/// Looks at what arrived: whether it is what was sent, and can be executed here.
///
/// # Errors
/// When it is not or cannot.
pub(super) fn verify(program: &Path, sha256: &str) -> anyhow::Result<Program> {
    let path = staged(program);
    let found = file::inspect(&path)?;
    if found.sha256 != sha256 {
        bail!("{} holds other bytes than were announced (sha256 {}, expected {sha256})", path.display(), found.sha256);
    }
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))?;
    let told = told_version(&path)?;
    if told.trim() != format!("naru {}", found.version) {
        bail!("the program says {:?} to --version, expected \"naru {}\"", told.trim(), found.version);
    }
    Ok(found)
}

/// What a program says to `--version`.
fn told_version(path: &Path) -> anyhow::Result<String> {
    let mut child = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .current_dir("/")
        .spawn()
        .with_context(|| format!("{} cannot be executed", path.display()))?;
    let deadline = Instant::now() + TELLS;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the program does not answer to --version within {} s", TELLS.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.take(1000).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Keeps the program that runs as the previous one.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn keep(program: &Path) -> anyhow::Result<()> {
    let (running, kept) = (Path::new("/proc/self/exe"), previous(program));
    let same = |one: &Path, other: &Path| match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    };
    if same(running, &kept) {
        return Ok(());
    }
    let next = beside(program, ".previous.new");
    let _ = fs::remove_file(&next);
    let write = || match same(running, program) {
        true => fs::hard_link(program, &next),
        // It was exchanged by hand while it ran.
        false => fs::copy(running, &next).map(drop),
    };
    write().and_then(|()| fs::rename(&next, &kept)).with_context(|| format!("cannot write {}", kept.display()))
}

/// Puts the new program in the old one's place.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn exchange(program: &Path) -> anyhow::Result<()> {
    let new = staged(program);
    fs::File::open(&new).and_then(|file| file.sync_all()).with_context(|| format!("cannot keep {}", new.display()))?;
    fs::rename(&new, program).with_context(|| format!("cannot write {}", program.display()))?;
    sync_folder(program);
    Ok(())
}

/// Puts the previous program back, if another is in its place.
///
/// # Errors
/// When there is none, or the folder cannot be written.
pub(super) fn put_back(program: &Path) -> anyhow::Result<()> {
    let (kept, next) = (previous(program), beside(program, ".back"));
    let _ = fs::remove_file(&next);
    fs::hard_link(&kept, &next)
        .and_then(|()| fs::rename(&next, program))
        .with_context(|| format!("cannot put {} back as {}", kept.display(), program.display()))?;
    // Renaming one link of a file over another does nothing, and leaves both.
    let _ = fs::remove_file(&next);
    sync_folder(program);
    Ok(())
}

fn sync_folder(program: &Path) {
    if let Some(folder) = program.parent() {
        let _ = fs::File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_exchanged_and_put_back() {
        let folder = std::env::temp_dir().join(format!("naru-swap-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join("naru");
        fs::write(&program, "by hand").expect("written");
        // The test's own program is the one that runs.
        keep(&program).expect("kept");
        let own = fs::metadata("/proc/self/exe").expect("this program").len();
        assert_eq!(fs::metadata(previous(&program)).expect("kept").len(), own);
        fs::write(staged(&program), "new").expect("written");
        exchange(&program).expect("exchanged");
        assert_eq!(fs::read(&program).expect("read"), b"new");
        for _ in 0..2 {
            put_back(&program).expect("put back");
            assert_eq!(fs::metadata(&program).expect("there").len(), own);
        }
        let names = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(names, 2, "naru and naru.previous");
        fs::write(staged(&program), "#!/bin/sh\necho hello\n").expect("written");
        assert!(verify(&program, "0").is_err());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
