//! The small file that names the data and keeps the revision offset.

use std::path::PathBuf;

use crate::OpenError;
use crate::disk::{Disk, die_of_failed_sync};
use crate::engine::ClusterId;

pub(crate) const NAME: &str = "identity";
const TEMPORARY: &str = "identity.tmp";

/// Whose data it is, and what is added to its sequences to make revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub cluster: ClusterId,
    pub offset: u64,
}

impl Identity {
    fn encode(&self) -> String {
        let text = format!("naru-store 1\ncluster {}\noffset {}\n", self.cluster, self.offset);
        let checksum = crc32c::crc32c(text.as_bytes());
        format!("{text}checksum {checksum:08x}\n")
    }

    fn decode(text: &str) -> Option<Identity> {
        let mut lines = text.lines();
        (lines.next()? == "naru-store 1").then_some(())?;
        let hex = lines.next()?.strip_prefix("cluster ")?;
        let cluster = u128::from_str_radix(hex, 16).ok()?.to_be_bytes();
        let offset = lines.next()?.strip_prefix("offset ")?.parse().ok()?;
        let identity = Identity { cluster: ClusterId(cluster), offset };
        (identity.encode() == text).then_some(identity)
    }

    pub fn read(disk: &dyn Disk) -> Result<Identity, OpenError> {
        let path = disk.path(NAME);
        let mut bytes = [0; 256];
        let read = disk.open(NAME).and_then(|file| file.read_at(&mut bytes, 0));
        let read = read.map_err(|source| OpenError::Io { doing: "read", path: path.clone(), source })?;
        let text = std::str::from_utf8(&bytes[..read]).ok();
        text.and_then(Identity::decode).ok_or_else(|| OpenError::Damaged {
            file: path,
            offset: 0,
            what: "it is not what naru wrote".into(),
            fallback: String::new(),
        })
    }

    /// Replaces the file, durably and at once.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        let io = |doing, path: PathBuf| move |source| OpenError::Io { doing, path, source };
        let path = disk.path(TEMPORARY);
        let mut file = disk.create(TEMPORARY).map_err(io("create", path.clone()))?;
        file.write_at(self.encode().as_bytes(), 0).map_err(io("write", path.clone()))?;
        file.sync().unwrap_or_else(|error| die_of_failed_sync(&path, &error));
        disk.rename(TEMPORARY, NAME).map_err(io("rename", path))?;
        disk.sync_names().unwrap_or_else(|error| die_of_failed_sync(&disk.path(NAME), &error));
        Ok(())
    }
}
