//! A backup of the cluster that this server runs: a snapshot of the store, the keys and the settings, while everything
//! goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use naru_apiserver::BackupSource;
use naru_backup::{About, BackupKey, Contents, KeptFile, Sealing, ServerSettings};
use naru_store::{Key, Prefix, Snapshot, Store};

/// Makes backups of this server's cluster.
#[derive(Clone)]
pub(super) struct Backups {
    pub store: Store,
    pub pki: PathBuf,
    pub settings: ServerSettings,
}

/// One of a moment, not written yet.
pub(super) struct Taken {
    store: Store,
    snapshot: Snapshot,
    contents: Contents,
    pub about: About,
}

// === impl Backups ===

impl Backups {
    /// Takes one of now, in no time: what it holds is written later.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub fn take(&self) -> io::Result<Taken> {
        let pki = files(&self.pki)?;
        let snapshot = self.store.snapshot();
        let about = About {
            time: Timestamp::now(),
            cluster: cluster_id(&snapshot),
            revision: snapshot.revision().0,
            objects: snapshot.count(&Prefix::all()) as u64,
            node: self.settings.node_name.clone(),
            naru: naru_api::version().to_owned(),
        };
        let contents = Contents { pki, server: self.settings.clone() };
        Ok(Taken { store: self.store.clone(), snapshot, contents, about })
    }

    /// The cluster's identifier.
    pub fn cluster(&self) -> String {
        cluster_id(&self.store.snapshot())
    }
}

impl BackupSource for Backups {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.take()?.write(out, &BackupKey::Unsealed).map(drop)
    }
}

// === impl Taken ===

impl Taken {
    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write<W: Write>(self, out: W, key: &BackupKey) -> io::Result<W> {
        let mut sealing = Sealing::begin(out, self.about, key)?;
        self.contents.write(&mut sealing)?;
        self.store.export_of(&self.snapshot, &mut sealing).map_err(|error| match error {
            naru_store::ExportError::Write(error) => error,
            other => io::Error::other(other),
        })?;
        sealing.finish()
    }
}

/// The cluster's identifier: that of the namespace which every cluster has from its first moment.
fn cluster_id(snapshot: &Snapshot) -> String {
    let namespace = snapshot.get(&Key::new("namespaces", "", "kube-system"));
    let object = namespace.and_then(|entry| serde_json::from_slice::<serde_json::Value>(&entry.served).ok());
    object.and_then(|object| Some(object["metadata"]["uid"].as_str()?.to_owned())).unwrap_or_default()
}

fn files(dir: &Path) -> io::Result<BTreeMap<String, KeptFile>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // One that is being replaced is there under its own name, too.
        if entry.file_type()?.is_file() && !name.ends_with(".new") {
            found.insert(name, KeptFile::new(entry.metadata()?.permissions().mode(), &fs::read(entry.path())?));
        }
    }
    Ok(found)
}
