//! Unpacked layers: each once, whoever asks, however many images share it.
//!
//! A layer's marker is written after its folder is in place. Flushing every unpacked file before saying so would make
//! each first start wait for the disk; instead the marker names the boot it was written in and a later flush makes it
//! durable. After a power cut, layers that were not durable yet are simply unpacked again from their blobs.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Store;
use super::layout::ChainId;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::layer::{Failure, unpack};
use crate::image::manifest::Descriptor;
use crate::image::progress::{Progress, Step};

/// Says that a layer's folder is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    pub chain: ChainId,
    pub diff_id: Digest,
    /// Bytes of file contents.
    pub bytes: u64,
    /// The boot in which it was unpacked.
    pub boot: String,
    /// Whether its files were flushed since.
    pub durable: bool,
}

/// One layer to be unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub chain: ChainId,
    pub diff_id: Digest,
    pub blob: Descriptor,
    /// Folders of the layers below, nearest first.
    pub lowers: Vec<PathBuf>,
}

impl Store {
    /// The marker of a layer that can be used.
    pub(crate) fn unpacked(&self, chain: &ChainId) -> Option<Marker> {
        let marker: Marker = serde_json::from_slice(&std::fs::read(self.layout.marker(chain)).ok()?).ok()?;
        let survived = marker.durable || marker.boot == self.boot;
        (survived && marker.chain == *chain && self.layout.layer(chain).is_dir()).then_some(marker)
    }

    /// Unpacks a layer. The caller holds the gate and the lock on its chain id.
    pub(crate) fn unpack(&self, wanted: &Wanted, progress: &Progress) -> Result<Marker, ImageError> {
        let folder = self.temporary_name();
        self.disk.make_folder(&folder).map_err(ImageError::io("create", &folder))?;
        let result = self.unpack_into(wanted, &folder, progress);
        if result.is_err() {
            let _ = self.disk.remove_folder(&folder);
        }
        let bytes = result?;
        let place = self.layout.layer(&wanted.chain);
        self.disk
            .remove_file(&self.layout.marker(&wanted.chain))
            .map_err(ImageError::io("remove the marker of", &place))?;
        self.disk.remove_folder(&place).map_err(ImageError::io("remove", &place))?;
        self.disk.rename(&folder, &place).map_err(ImageError::io("rename to", &place))?;
        let marker = Marker {
            chain: wanted.chain.clone(),
            diff_id: wanted.diff_id.clone(),
            bytes,
            boot: self.boot.clone(),
            durable: false,
        };
        self.write_marker(&marker)?;
        Ok(marker)
    }

    fn unpack_into(&self, wanted: &Wanted, folder: &std::path::Path, progress: &Progress) -> Result<u64, ImageError> {
        let item = wanted.blob.digest.short().to_owned();
        let blob = self.open_blob(&wanted.blob.digest)?;
        let reader = Told { inner: blob, done: 0, told: 0, total: wanted.blob.size, item, progress: progress.clone() };
        let layer = || wanted.diff_id.clone();
        match unpack(reader, folder, &wanted.lowers, self.limits) {
            Ok(unpacked) if unpacked.diff_id == wanted.diff_id => Ok(unpacked.bytes),
            Ok(unpacked) => Err(ImageError::DigestMismatch {
                what: format!("the uncompressed layer {}", wanted.blob.digest),
                expected: wanted.diff_id.clone(),
                actual: unpacked.diff_id,
                bytes: unpacked.bytes,
            }),
            Err(Failure::Refused { entry, problem }) => Err(ImageError::Layer { layer: layer(), entry, problem }),
            Err(Failure::Unreadable(source)) => {
                let problem = "its archive is damaged or not one".into();
                Err(ImageError::LayerUnreadable { layer: layer(), problem, source: Some(source) })
            }
            Err(Failure::Full { needed }) => Err(ImageError::DiskFull {
                path: self.layout.root().to_owned(),
                what: format!("unpacking layer {}", layer()),
                needed,
                free: self.free(),
            }),
            Err(Failure::Write { entry, source }) => {
                let problem = format!("entry \"{entry}\" could not be written below {}", self.layout.root().display());
                Err(ImageError::LayerUnreadable { layer: layer(), problem, source: Some(source) })
            }
            Err(Failure::TooLarge { limit, why }) => {
                Err(ImageError::TooLarge { what: format!("layer {}", layer()), limit, why })
            }
        }
    }

    fn write_marker(&self, marker: &Marker) -> Result<(), ImageError> {
        let path = self.layout.marker(&marker.chain);
        let (mut temporary, mut file) = self.temporary_file()?;
        let text = serde_json::to_vec(marker).map_err(|e| ImageError::io("write", &path)(e.into()))?;
        let written = file.write_all(&text).and_then(|()| if marker.durable { self.disk.sync(&file) } else { Ok(()) });
        written.map_err(|e| self.write_error("the marker of a layer", text.len() as u64, e))?;
        self.disk.rename(temporary.path(), &path).map_err(ImageError::io("rename to", &path))?;
        temporary.moved_away();
        Ok(())
    }

    /// Flushes what was unpacked and marks it durable, on a thread of its own.
    pub(crate) fn make_durable_later(self: &Arc<Store>, markers: Vec<Marker>) {
        let store = self.clone();
        let work = move || {
            if let Err(error) = store.make_durable(markers) {
                tracing::warn!(%error, "unpacked layers could not be flushed; they are unpacked again after a reboot");
            }
            // A collection may have been put off meanwhile.
            store.collect_if_wanted();
        };
        // A failure to start the thread only means that the layers are unpacked again after a reboot.
        let _ = std::thread::Builder::new().name("image-flush".into()).spawn(work);
    }

    pub(super) fn make_durable(&self, markers: Vec<Marker>) -> Result<(), ImageError> {
        let folder = self.layout.layers();
        let open = std::fs::File::open(&folder).map_err(ImageError::io("open", &folder))?;
        rustix::fs::syncfs(&open).map_err(|e| ImageError::io("flush", &folder)(e.into()))?;
        let _flushing = self.flushing.lock();
        let _gate = self.locks.gate()?;
        for marker in markers {
            if self.unpacked(&marker.chain).as_ref() == Some(&marker) {
                self.write_marker(&Marker { durable: true, ..marker })?;
            }
        }
        Ok(())
    }
}

/// Tells how far unpacking is, once a megabyte.
struct Told<R> {
    inner: R,
    done: u64,
    told: u64,
    total: u64,
    item: String,
    progress: Progress,
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.done >= self.told + (1 << 20) || (count == 0 && self.told < self.done) {
            self.told = self.done;
            self.progress.tell(&self.item, Step::Unpacking { done: self.done, total: self.total });
        }
        Ok(count)
    }
}
