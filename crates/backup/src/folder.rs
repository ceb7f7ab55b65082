//! Backups in a folder: written beside, synced, then renamed.
//!
//! A backup must never fill the disk that the cluster itself may live on: some room always stays, and a backup for which
//! there is too little is refused before it is begun, or given up while it is written.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{DepotError, PipeReader, Stored, pipe};

/// At most so much always stays free, on a large disk.
const RESERVE: u64 = 1 << 30;
/// Looked at the disk's room again after so many bytes.
const LOOK: u64 = 16 << 20;
const PART: &str = ".part";
/// A half-written file of this age is nobody's any more.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// A folder of backups.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A file that is being written.
pub(crate) struct FolderPut {
    file: Option<fs::File>,
    part: PathBuf,
    path: PathBuf,
    written: u64,
    looked: u64,
}

/// There is too little room for a backup.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is too little room in {folder} for a backup: {available} bytes are free, it needs about {needed} and {reserve} stay free. Make room, or keep fewer backups"
)]
pub struct NoRoom {
    /// Where.
    pub folder: PathBuf,
    /// Free bytes.
    pub available: u64,
    /// Bytes of the backup.
    pub needed: u64,
    /// Bytes that stay free.
    pub reserve: u64,
}

/// Whether a file of `needed` bytes fits on a disk of `total` bytes with `available` free: a twentieth of the disk, at
/// most a gibibyte, stays free.
///
/// # Errors
/// When it does not fit.
pub fn room(folder: &Path, total: u64, available: u64, needed: u64) -> Result<(), NoRoom> {
    let reserve = (total / 20).min(RESERVE);
    match needed.saturating_add(reserve) > available {
        true => Err(NoRoom { folder: folder.to_owned(), available, needed, reserve }),
        false => Ok(()),
    }
}

fn has_room(folder: &Path, needed: u64) -> Result<(), DepotError> {
    let stat = rustix::fs::statvfs(folder).map_err(|errno| failed("look at the room of", folder)(errno.into()))?;
    Ok(room(folder, stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize, needed)?)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DepotError {
    let path = path.to_owned();
    move |source| DepotError::File { doing, path, source }
}

// === impl Folder ===

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Folder {
        Folder(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        let mut entries = match fs::read_dir(&self.0).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", &self.0))?,
        };
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(failed("read", &self.0))? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // One that has gone meanwhile is not there.
            let Ok(meta) = entry.metadata().await else { continue };
            if meta.is_file() && !name.starts_with('.') {
                let written = meta.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default();
                found.push(Stored { name, size: meta.len(), written });
            }
        }
        Ok(found)
    }

    pub(crate) async fn put(&self, name: &str, size: u64) -> Result<FolderPut, DepotError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.0).await.map_err(failed("make", &self.0))?;
        self.forget_halves().await;
        has_room(&self.0, size)?;
        let part = self.0.join(format!(".{name}{PART}"));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&part).await.map_err(failed("write", &part))?;
        Ok(FolderPut { file: Some(file), part, path: self.0.join(name), written: 0, looked: 0 })
    }

    /// Removes what a process that was killed had begun.
    async fn forget_halves(&self) {
        let Ok(mut entries) = fs::read_dir(&self.0).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(modified) = entry.metadata().await.and_then(|meta| meta.modified()) else { continue };
            let old = SystemTime::now().duration_since(modified).is_ok_and(|age| age > FORGOTTEN);
            if old && name.starts_with(".naru-") && name.ends_with(&format!(".backup{PART}")) {
                let _ = fs::remove_file(entry.path()).await;
            }
        }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<PipeReader, DepotError> {
        let path = self.0.join(name);
        let mut file = fs::File::open(&path).await.map_err(failed("read", &path))?;
        let (mut into, from) = pipe();
        tokio::spawn(async move {
            loop {
                let mut buffer = Vec::with_capacity(256 << 10);
                let piece = match file.read_buf(&mut buffer).await {
                    Ok(0) => return,
                    Ok(_) => Ok(Bytes::from(buffer)),
                    Err(error) => Err(error),
                };
                let last = piece.is_err();
                if into.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(from)
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), DepotError> {
        let path = self.0.join(name);
        fs::remove_file(&path).await.map_err(failed("remove", &path))
    }
}

// === impl FolderPut ===

impl FolderPut {
    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<(), DepotError> {
        if self.written - self.looked >= LOOK {
            has_room(self.part.parent().unwrap_or(Path::new("/")), 0)?;
            self.looked = self.written;
        }
        self.written += piece.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(&piece).await.map_err(failed("write", &self.part)),
            None => Ok(()),
        }
    }

    pub(crate) async fn finish(mut self) -> Result<u64, DepotError> {
        if let Some(mut file) = self.file.take() {
            let synced = match file.flush().await {
                Ok(()) => file.sync_all().await,
                Err(error) => Err(error),
            };
            let renamed = match synced {
                Ok(()) => fs::rename(&self.part, &self.path).await,
                Err(error) => Err(error),
            };
            if let Err(error) = renamed {
                let _ = fs::remove_file(&self.part).await;
                return Err(failed("write", &self.path)(error));
            }
            let folder = self.path.parent().unwrap_or(Path::new("/")).to_owned();
            let synced = match fs::File::open(&folder).await {
                Ok(opened) => opened.sync_all().await,
                Err(error) => Err(error),
            };
            synced.map_err(failed("sync", &folder))?;
        }
        Ok(self.written)
    }
}

impl Drop for FolderPut {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Depot;

    #[test]
    fn some_room_always_stays() {
        let fits = |total: u64, available: u64, needed: u64| room(Path::new("/"), total, available, needed).is_ok();
        assert!(fits(100 << 20, 10 << 20, 5 << 20) && !fits(100 << 20, 10 << 20, 6 << 20));
        assert!(fits(1 << 40, (1 << 30) + 5, 5) && !fits(1 << 40, 1 << 30, 5));
        assert!(!fits(100, 50, u64::MAX));
    }

    #[tokio::test]
    async fn a_backup_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let depot = Depot::parse(&format!("file://{}/new", folder.path().display())).expect("a place");
        assert!(depot.list().await.expect("list").is_empty(), "a folder that is not there is empty");
        let mut put = depot.put("a.backup", 9).await.expect("begin");
        put.write(Bytes::from_static(b"half")).await.expect("write");
        assert!(depot.list().await.expect("list").is_empty());
        drop(put);
        let left = std::fs::read_dir(folder.path().join("new")).expect("the folder").count();
        assert_eq!(left, 0, "nothing of a backup that was given up is left");

        let mut put = depot.put("a.backup", 9).await.expect("begin");
        put.write(Bytes::from_static(b"whole")).await.expect("write");
        assert_eq!(put.finish().await.expect("finish"), 5);
        let list = depot.list().await.expect("list");
        assert_eq!((list.len(), list[0].name.as_str(), list[0].size), (1, "a.backup", 5));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.path().join("new/a.backup")).expect("the file").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let read = depot.get("a.backup").await.expect("read").next().await.expect("read");
        assert_eq!(read.expect("a piece"), "whole");
        depot.remove("a.backup").await.expect("remove");
        depot.remove("a.backup").await.expect_err("there is none");
        assert!(matches!(depot.put("b.backup", u64::MAX / 2).await, Err(DepotError::Room(_))));
        for wrong in ["", "http://x/y", "file://relative", "ftp://x", "s3:///x"] {
            assert!(Depot::parse(wrong).is_err(), "{wrong}");
        }
    }
}
