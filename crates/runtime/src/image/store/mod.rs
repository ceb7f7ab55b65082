//! The image store on disk: blocking operations that keep it consistent whatever happens in between.
//!
//! The order that makes it so: blobs are durable before the list names their image; the list forgets an image before
//! its blobs go; a layer's marker appears last and disappears first.

mod arrival;
mod blobs;
mod disk;
mod garbage;
mod index;
mod layers;
mod layout;
mod locks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

pub(crate) use arrival::{Piece, TOLD};
pub(crate) use blobs::Staged;
pub(crate) use disk::Disk;
pub(crate) use index::{By, Index, Meaning};
pub(crate) use layers::Wanted;
pub(crate) use layout::{ChainId, Layout};
pub(crate) use locks::{FileGuard, Locks, NameGuard};

use super::config::ConfigFile;
use super::digest::Digest;
use super::error::ImageError;
use super::layer::Limits;
use super::manifest::{Document, Manifest};
use super::record::ImageId;

/// An open store. Several processes may have the same folder open.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) layout: Layout,
    pub(crate) disk: Disk,
    pub(crate) locks: Arc<Locks>,
    pub(crate) limits: Limits,
    /// This boot of the machine.
    boot: String,
    cached: Mutex<Option<(Stamp, Arc<Index>)>>,
    facts: Mutex<HashMap<Digest, Arc<Facts>>>,
    collect_wanted: AtomicBool,
    /// Held while markers are made durable: short, and worth waiting for by the collection of the same process.
    flushing: Mutex<()>,
    counter: AtomicU64,
}

/// What tells one version of the list from the next: each is a new file.
type Stamp = (u64, i64, i64, u64);

/// What an image's documents say. They never change, so they are read once.
#[derive(Debug)]
pub(crate) struct Facts {
    pub manifest: Manifest,
    pub config: ConfigFile,
    pub chains: Vec<ChainId>,
}

impl Store {
    /// Opens the store in `root`, makes its folders and removes leftovers.
    pub(crate) fn open(root: PathBuf, disk: Disk, limits: Limits) -> Result<Store, ImageError> {
        let layout = Layout::new(root);
        for folder in layout.folders() {
            std::fs::create_dir_all(&folder).map_err(ImageError::io("create", &folder))?;
        }
        let locks = Arc::new(Locks::new(layout.locks()));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let store = Store {
            layout,
            disk,
            locks,
            limits,
            boot,
            cached: Mutex::new(None),
            facts: Mutex::new(HashMap::new()),
            collect_wanted: AtomicBool::new(false),
            flushing: Mutex::new(()),
            counter: AtomicU64::new(0),
        };
        store.index()?;
        if let Some(_gate) = store.locks.close_gate()? {
            store.empty_temporary()?;
        }
        Ok(store)
    }

    /// A number that differs whenever the list does.
    pub(crate) fn stamp(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let stamp = std::fs::metadata(self.layout.index()).map(|m| (m.ino(), m.mtime(), m.mtime_nsec(), m.len()));
        let mut hasher = DefaultHasher::new();
        stamp.ok().hash(&mut hasher);
        hasher.finish()
    }

    /// The list as it is now.
    pub(crate) fn index(&self) -> Result<Arc<Index>, ImageError> {
        let path = self.layout.index();
        let stamp = std::fs::metadata(&path).map_or((0, 0, 0, 0), |m| (m.ino(), m.mtime(), m.mtime_nsec(), m.len()));
        let mut cached = self.cached.lock();
        if let Some((known, index)) = &*cached
            && *known == stamp
        {
            return Ok(index.clone());
        }
        let index = Arc::new(Index::read(&path)?);
        *cached = Some((stamp, index.clone()));
        Ok(index)
    }

    /// Changes the list. `change` sees what is on disk; when it fails, nothing is written.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Index) -> Result<T, ImageError>) -> Result<T, ImageError> {
        let _list = self.locks.list()?;
        let path = self.layout.index();
        let before = Index::read(&path)?;
        let mut index = before.clone();
        let value = change(&mut index)?;
        if index != before {
            let (mut temporary, mut file) = self.temporary_file()?;
            let written = index.write(&mut file).and_then(|()| self.disk.sync(&file));
            written.map_err(|e| self.write_error("the list of images", 1 << 20, e))?;
            self.disk.rename(temporary.path(), &path).map_err(ImageError::io("rename to", &path))?;
            temporary.moved_away();
            let root = self.layout.root();
            self.disk.sync_folder(root).map_err(ImageError::io("flush", root))?;
        }
        Ok(value)
    }

    /// What the documents of a listed image say.
    pub(crate) fn facts(&self, id: &ImageId, manifest: &Digest) -> Result<Arc<Facts>, ImageError> {
        if let Some(facts) = self.facts.lock().get(manifest) {
            return Ok(facts.clone());
        }
        let bytes = self.read_document("the manifest", manifest)?;
        let Document::Manifest(parsed) = Document::parse(manifest, &bytes)? else {
            let problem = "it is an index, not a manifest".into();
            return Err(ImageError::Document { document: "manifest", digest: manifest.clone(), problem });
        };
        let config = parse_config(&id.0, &self.read_document("the configuration", &id.0)?, &parsed)?;
        let chains = ChainId::of(&config.rootfs.diff_ids);
        let facts = Arc::new(Facts { manifest: parsed, config, chains });
        self.facts.lock().insert(manifest.clone(), facts.clone());
        Ok(facts)
    }

    /// Lists an image whose blobs are all in the store, under further `names` and registry `digests`.
    pub(crate) fn list_image(
        &self,
        manifest: &Digest,
        names: &[String],
        digests: &[String],
    ) -> Result<ImageId, ImageError> {
        let bytes = self.read_document("the manifest", manifest)?;
        let Document::Manifest(parsed) = Document::parse(manifest, &bytes)? else {
            let problem = "it is an index, not a manifest".into();
            return Err(ImageError::Document { document: "manifest", digest: manifest.clone(), problem });
        };
        let id = ImageId(parsed.config.digest);
        let facts = self.facts(&id, manifest)?;
        for layer in &facts.manifest.layers {
            if !self.has_blob(&layer.digest, layer.size) {
                let problem =
                    format!("its layer {} is missing or has another length than {}", layer.digest, layer.size);
                return Err(ImageError::Document { document: "manifest", digest: manifest.clone(), problem });
            }
        }
        self.update(|index| {
            index.add(&id, manifest, &jiff::Timestamp::now().to_string());
            for name in names {
                index.names.insert(name.clone(), id.clone());
            }
            if let Some(listed) = index.images.get_mut(&id) {
                listed.digests.extend(digests.iter().cloned());
            }
            Ok(())
        })?;
        Ok(id)
    }

    fn temporary_name(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}-{:08x}", std::process::id(), rand::random::<u32>());
        self.layout.temporary().join(name)
    }
}

/// Reads an image's configuration and checks it against its manifest.
pub(crate) fn parse_config(digest: &Digest, bytes: &[u8], manifest: &Manifest) -> Result<ConfigFile, ImageError> {
    let refuse = |problem: String| ImageError::Document { document: "configuration", digest: digest.clone(), problem };
    let config: ConfigFile = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(refuse(format!("it names {diff_ids} layers and its manifest {layers}")));
    }
    Ok(config)
}
