//! Unpacking an image's layers, each once.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Images, blocking};
use crate::image::error::ImageError;
use crate::image::progress::{Progress, Step};
use crate::image::record::{ImageId, Rootfs};
use crate::image::store::{ChainId, Facts, FileGuard, Store, Wanted};

impl Images {
    /// The unpacked layers of an image, unpacking what is not.
    ///
    /// # Errors
    /// A layer that is damaged, malicious or too large ([`ImageError::DigestMismatch`], [`ImageError::Layer`],
    /// [`ImageError::TooLarge`]), a full disk ([`ImageError::DiskFull`]); nothing of that layer is left then.
    pub async fn rootfs(&self, id: &ImageId) -> Result<Rootfs, ImageError> {
        let (store, id) = (self.store.clone(), id.clone());
        let (facts, ready) = blocking("looking up an image's layers", move || {
            let index = store.index()?;
            let listed = index.images.get(&id).ok_or_else(|| ImageError::NotFound { name: id.to_string() })?;
            let facts = store.facts(&id, &listed.manifest)?;
            let ready = facts.chains.iter().all(|chain| store.unpacked(chain).is_some());
            Ok((facts, ready))
        })
        .await?;
        if !ready {
            let gate = self.gate().await?;
            let result = self.unpack(&facts, &gate, &Progress::none()).await;
            self.after_adding(gate).await;
            result?;
        }
        Ok(folders(&self.store, &facts.chains))
    }

    /// Unpacks every layer of an image that is not unpacked yet.
    pub(super) async fn unpack(
        &self,
        facts: &Arc<Facts>,
        gate: &Arc<FileGuard>,
        progress: &Progress,
    ) -> Result<(), ImageError> {
        let mut fresh = Vec::new();
        for (depth, chain) in facts.chains.iter().enumerate() {
            let wanted = Wanted {
                chain: chain.clone(),
                diff_id: facts.config.rootfs.diff_ids[depth].clone(),
                blob: facts.manifest.layers[depth].clone(),
                lowers: folders(&self.store, &facts.chains[..depth]).lower,
            };
            let lock = self.store.locks.name(&format!("layer-{}", chain.folder_name())).await?;
            let (store, gate, progress) = (self.store.clone(), gate.clone(), progress.clone());
            let marker = blocking("unpacking a layer", move || {
                let _held = (lock, gate);
                let item = wanted.blob.digest.short();
                let marker = match store.unpacked(&wanted.chain) {
                    Some(_) => None,
                    None => Some(store.unpack(&wanted, &progress)?),
                };
                progress.tell(item, Step::Done);
                Ok(marker)
            });
            fresh.extend(marker.await?);
        }
        if !fresh.is_empty() {
            self.store.make_durable_later(fresh);
        }
        Ok(())
    }
}

fn folders(store: &Store, chains: &[ChainId]) -> Rootfs {
    let lower: Vec<PathBuf> = chains.iter().rev().map(|chain| store.layout.layer(chain)).collect();
    Rootfs { base: store.layout.layers(), lower }
}
