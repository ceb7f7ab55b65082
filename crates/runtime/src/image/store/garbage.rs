//! Removing what no listed image needs.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::Store;
use super::index::Index;
use super::layout::ChainId;
use crate::image::error::ImageError;

impl Store {
    /// Removes blobs, layers and cut-off downloads that belong to no listed image, and says how many bytes that freed;
    /// none when somebody is adding right now: whoever ends last collects.
    pub(crate) fn collect(&self) -> Result<Option<u64>, ImageError> {
        let _flushing = self.flushing.lock();
        let Some(_gate) = self.locks.close_gate()? else {
            self.collect_wanted.store(true, Ordering::SeqCst);
            return Ok(None);
        };
        self.collect_wanted.store(false, Ordering::SeqCst);
        let (blobs, chains) = self.needed(&*self.index()?)?;
        let mut freed = 0;
        for name in names(&self.layout.layers())? {
            let text = name.to_string_lossy();
            let Some(layer) = text.strip_suffix(".json") else { continue };
            if !chains.contains(layer) {
                freed += self.remove_layer(layer)?;
            }
        }
        // Folders without a marker: an interrupted unpacking or removal.
        for name in names(&self.layout.layers())? {
            let path = self.layout.layers().join(&name);
            if path.is_dir() && !path.with_extension("json").exists() {
                self.disk.remove_folder(&path).map_err(ImageError::io("remove", &path))?;
            }
        }
        for name in names(&self.layout.blobs())? {
            if !blobs.contains(&name) {
                freed += self.remove(&self.layout.blobs().join(name))?;
            }
        }
        for folder in [self.layout.partials(), self.layout.locks()] {
            for name in names(&folder)? {
                if name != "gate" && name != "list" {
                    freed += self.remove(&folder.join(name))?;
                }
            }
        }
        self.empty_temporary()?;
        Ok(Some(freed))
    }

    /// Names of every blob and layer there is now.
    pub(crate) fn present(&self) -> Result<HashSet<OsString>, ImageError> {
        let mut all: HashSet<_> = names(&self.layout.layers())?.into_iter().collect();
        all.extend(names(&self.layout.blobs())?);
        Ok(all)
    }

    /// Takes back what came since `before` and belongs to no listed image: what a refused addition had begun. Cut-off
    /// downloads of others stay. While somebody else is adding, who may use the same blobs, it is left to the next
    /// collection.
    pub(crate) fn take_back(&self, before: &HashSet<OsString>) -> Result<(), ImageError> {
        let _flushing = self.flushing.lock();
        let Some(_gate) = self.locks.close_gate()? else {
            self.collect_wanted.store(true, Ordering::SeqCst);
            return Ok(());
        };
        let (blobs, chains) = self.needed(&*self.index()?)?;
        for name in names(&self.layout.layers())?.into_iter().filter(|name| !before.contains(name)) {
            let text = name.to_string_lossy();
            let layer = text.strip_suffix(".json").unwrap_or(&text);
            if !chains.contains(layer) {
                self.remove_layer(layer)?;
            }
        }
        for name in names(&self.layout.blobs())?.iter().filter(|name| !before.contains(*name) && !blobs.contains(*name))
        {
            self.remove(&self.layout.blobs().join(name))?;
        }
        self.empty_temporary()
    }

    /// Collects what could not be collected before.
    pub(crate) fn collect_if_wanted(&self) {
        if self.collect_wanted.load(Ordering::SeqCst)
            && let Err(error) = self.collect()
        {
            tracing::warn!(%error, "garbage of the image store could not be removed");
        }
    }

    /// What an interrupted run left in the temporary folder. The caller holds the closed gate.
    pub(crate) fn empty_temporary(&self) -> Result<(), ImageError> {
        for name in names(&self.layout.temporary())? {
            let path = self.layout.temporary().join(name);
            let removed = if path.is_dir() { self.disk.remove_folder(&path) } else { self.disk.remove_file(&path) };
            removed.map_err(ImageError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Names of the blobs and layer folders that the listed images need. An image that cannot be read stops the
    /// collection: what it needs is unknown.
    pub(crate) fn needed(&self, index: &Index) -> Result<(HashSet<OsString>, HashSet<String>), ImageError> {
        let (mut blobs, mut chains) = (HashSet::new(), HashSet::new());
        for (id, listed) in &index.images {
            let facts = self.facts(id, &listed.manifest)?;
            blobs.insert(listed.manifest.hex().into());
            blobs.insert(id.0.hex().into());
            // The indexes it was chosen from, for nodes that ask by their digests.
            blobs.extend(Index::registry_digests(listed).map(|digest| digest.hex().into()));
            blobs.extend(facts.manifest.layers.iter().map(|layer| layer.digest.hex().into()));
            chains.extend(facts.chains.iter().map(|chain: &ChainId| chain.folder_name().to_owned()));
        }
        Ok((blobs, chains))
    }

    /// Bytes of the blobs and of the unpacked layers that the listed images need.
    pub(crate) fn measure(&self, index: &Index) -> Result<(u64, u64), ImageError> {
        let (blobs, _) = self.needed(index)?;
        let bytes =
            blobs.iter().map(|name| std::fs::metadata(self.layout.blobs().join(name)).map_or(0, |m| m.len())).sum();
        let mut chains = HashSet::new();
        for (id, listed) in &index.images {
            chains.extend(self.facts(id, &listed.manifest)?.chains.iter().cloned());
        }
        Ok((bytes, chains.iter().filter_map(|chain| self.unpacked(chain)).map(|marker| marker.bytes).sum()))
    }

    /// Marker first: a folder without one is never used.
    fn remove_layer(&self, name: &str) -> Result<u64, ImageError> {
        let folder = self.layout.layers().join(name);
        let marker = folder.with_extension("json");
        let bytes = std::fs::read(&marker).ok();
        let bytes =
            bytes.and_then(|text| serde_json::from_slice::<super::layers::Marker>(&text).ok()).map_or(0, |m| m.bytes);
        self.disk.remove_file(&marker).map_err(ImageError::io("remove", &marker))?;
        self.disk.remove_folder(&folder).map_err(ImageError::io("remove", &folder))?;
        Ok(bytes)
    }

    fn remove(&self, path: &Path) -> Result<u64, ImageError> {
        let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
        self.disk.remove_file(path).map_err(ImageError::io("remove", path))?;
        Ok(size)
    }
}

fn names(folder: &Path) -> Result<Vec<OsString>, ImageError> {
    let read = || std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.file_name())).collect::<Result<Vec<_>, _>>();
    read().map_err(ImageError::io("list", folder))
}
