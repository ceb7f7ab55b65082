//! The store's operations, as callers see them: asynchronous, with the blocking work on threads made for it.

mod add;
mod copy;
mod remove;
mod rootfs;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;

use super::error::ImageError;
use super::layer::Limits;
use super::platform::Platform;
use super::record::{ImageId, ImageRecord};
use super::reference::Reference;
use super::store::{Disk, FileGuard, Index, Store};

/// The images of this machine. Cheap to clone; several processes may share one folder.
#[derive(Clone, Debug)]
pub struct Images {
    store: Arc<Store>,
}

impl Images {
    /// Opens the store in `dir` (made when missing) and removes what an interrupted run left.
    ///
    /// # Errors
    /// [`ImageError::StoreDamaged`] when the list of images cannot be read; nothing is changed then.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Images, ImageError> {
        Images::open_with(dir.into(), Limits::default()).await
    }

    pub(crate) async fn open_with(dir: PathBuf, limits: Limits) -> Result<Images, ImageError> {
        let store = blocking("opening the image store", move || Store::open(dir, Disk::default(), limits)).await?;
        Ok(Images { store: Arc::new(store) })
    }

    /// Every image, by first name; nameless ones last.
    pub async fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let store = self.store.clone();
        blocking("listing images", move || {
            let index = store.index()?;
            let mut records = Vec::with_capacity(index.images.len());
            for id in index.images.keys() {
                match record(&store, &index, id) {
                    Ok(record) => records.push(record),
                    // One damaged image must not hide the others.
                    Err(error) => tracing::warn!(image = %id, %error, "an image cannot be read"),
                }
            }
            records.sort_by(|a, b| (a.tags.is_empty(), &a.tags, &a.id).cmp(&(b.tags.is_empty(), &b.tags, &b.id)));
            Ok(records)
        })
        .await
    }

    /// The image that `name` (a name, name@digest, id or unambiguous short id) means, if it is here.
    pub async fn resolve(&self, name: &str) -> Result<Option<ImageRecord>, ImageError> {
        let (store, name) = (self.store.clone(), name.to_owned());
        blocking("looking up an image", move || {
            let index = store.index()?;
            index.resolve(&name)?.map(|meaning| record(&store, &index, &meaning.id)).transpose()
        })
        .await
    }

    /// As [`Images::resolve`], with absence as the error.
    pub async fn inspect(&self, name: &str) -> Result<ImageRecord, ImageError> {
        self.resolve(name).await?.ok_or_else(|| ImageError::NotFound { name: name.to_owned() })
    }

    /// Gives the image `name` a further name.
    pub async fn tag(&self, name: &str, target: &Reference) -> Result<(), ImageError> {
        if target.digest().is_some() {
            let expected = "a name with a tag and without a digest";
            return Err(ImageError::Reference { input: target.to_string(), expected });
        }
        let (store, name, target) = (self.store.clone(), name.to_owned(), target.to_string());
        blocking("tagging an image", move || {
            store.update(|index| {
                let meaning = index.resolve(&name)?.ok_or(ImageError::NotFound { name })?;
                index.names.insert(target, meaning.id);
                Ok(())
            })
        })
        .await
    }

    /// Keeps the garbage collection out while something is added.
    async fn gate(&self) -> Result<Arc<FileGuard>, ImageError> {
        let store = self.store.clone();
        blocking("waiting for the image store", move || store.locks.gate().map(Arc::new)).await
    }

    /// After something was added or failed to be: collects what waited for it.
    async fn after_adding(&self, gate: Arc<FileGuard>) {
        drop(gate);
        let store = self.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.collect_if_wanted()).await;
    }
}

/// Runs blocking work on a thread made for it.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ImageError::Interrupted { what })?
}

/// What callers are told about a listed image.
fn record(store: &Store, index: &Index, id: &ImageId) -> Result<ImageRecord, ImageError> {
    let listed = index.images.get(id).ok_or_else(|| ImageError::NotFound { name: id.to_string() })?;
    let facts = store.facts(id, &listed.manifest)?;
    let unpacked: Option<u64> = facts.chains.iter().map(|chain| store.unpacked(chain).map(|marker| marker.bytes)).sum();
    let blobs = || facts.manifest.layers.iter().map(|layer| layer.size).sum();
    let config = &facts.config;
    Ok(ImageRecord {
        id: id.clone(),
        tags: index.names_of(id),
        digests: listed.digests.iter().cloned().collect(),
        manifest: listed.manifest.clone(),
        config: config.image_config(),
        platform: Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        },
        created: config.created.clone(),
        author: config.author.clone(),
        layers: config.rootfs.diff_ids.clone(),
        history: config.history.clone(),
        size: unpacked.unwrap_or_else(blobs),
        stored_at: listed.stored_at.clone(),
    })
}
