//! Images from and to registries and a Docker engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Images, blocking, record};
use crate::image::archive::Prepared;
use crate::image::digest::Digest;
use crate::image::engine;
use crate::image::error::ImageError;
use crate::image::manifest::{Descriptor, Document, Manifest, OCI_MANIFEST};
use crate::image::options::{PullOptions, PullPolicy, PushOptions, Source};
use crate::image::platform::Platform;
use crate::image::progress::{Progress, Step};
use crate::image::record::{ImageId, ImageRecord, PullOutcome, Pulled};
use crate::image::reference::Reference;
use crate::image::registry::Remote;
use crate::image::store::{FileGuard, parse_config};

/// Blobs on their way at the same time.
pub(super) const PARALLEL: usize = 4;

impl Images {
    /// Fetches an image from its registry, checked by digest and unpacked.
    ///
    /// # Errors
    /// A registry that went away was asked several times; what it gave is kept, and the next pull continues from there.
    pub async fn pull(&self, reference: &Reference, options: PullOptions) -> Result<Pulled, ImageError> {
        let present = self.resolve(&reference.to_string()).await?;
        let fits = |image: &ImageRecord| {
            options.platform.as_ref().is_none_or(|wanted| wanted.choose([&image.platform]).is_some())
        };
        match (options.policy, present) {
            (PullPolicy::Never, None) => {
                return Err(ImageError::NeverPulled { reference: Box::new(reference.clone()) });
            }
            (PullPolicy::Never | PullPolicy::IfNotPresent, Some(image)) if fits(&image) => {
                return Ok(Pulled { image, outcome: PullOutcome::Present });
            }
            _ => {}
        }
        let remote = Remote::new(reference, &options.auth, &options.progress).await?;
        if let Some(image) = self.up_to_date(&remote, reference).await?.filter(fits) {
            return Ok(Pulled { image, outcome: PullOutcome::UpToDate });
        }
        let gate = self.gate().await?;
        let store = self.store.clone();
        let before = blocking("looking at the image store", move || store.present()).await?;
        let result = self.fetch(&remote, reference, &options, &gate).await;
        self.after_adding(gate).await;
        if let Err(ImageError::DiskFull { .. }) = result {
            // Kept parts of a download are for a registry that went away; a full disk needs the room.
            self.take_back(before).await;
        }
        Ok(Pulled { image: result?, outcome: PullOutcome::Downloaded })
    }

    /// The image, when the store has what the registry names now; it gets the reference's name.
    async fn up_to_date(&self, remote: &Remote, reference: &Reference) -> Result<Option<ImageRecord>, ImageError> {
        let digest = match reference.digest() {
            Some(digest) => digest.clone(),
            None => remote.digest().await?,
        };
        let pinned = reference.at(&digest).to_string();
        let (store, tag) = (self.store.clone(), reference.tag().map(|_| name_without_digest(reference)));
        blocking("looking up an image", move || {
            let found = store.update(|index| {
                let found = index.resolve(&pinned)?.map(|meaning| meaning.id);
                if let (Some(id), Some(tag)) = (&found, tag) {
                    index.names.insert(tag, id.clone());
                }
                Ok(found)
            })?;
            let index = store.index()?;
            found.map(|id| record(&store, &index, &id)).transpose()
        })
        .await
    }

    async fn fetch(
        &self,
        remote: &Remote,
        reference: &Reference,
        options: &PullOptions,
        gate: &Arc<FileGuard>,
    ) -> Result<ImageRecord, ImageError> {
        let wanted = options.platform.clone().unwrap_or_else(Platform::host);
        let Chosen { top, digest, manifest, bytes, indexes } = choose(remote, reference, &wanted).await?;
        let config = remote.fetch_document("the configuration", &manifest.config).await?;
        parse_config(&manifest.config.digest, &config, &manifest)?;
        let layers: BTreeMap<&Digest, &Descriptor> =
            manifest.layers.iter().map(|layer| (&layer.digest, layer)).collect();
        for digest in layers.keys() {
            options.progress.tell(digest.short(), Step::Waiting);
        }
        let fetches = layers.values().map(|layer| remote.fetch(&self.store, gate, layer, &options.progress));
        stream::iter(fetches).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;

        let (store, held, id) = (self.store.clone(), gate.clone(), ImageId(manifest.config.digest));
        let mut prepared =
            Prepared { id: id.clone(), manifest: digest.clone(), names: Vec::new(), digests: Vec::new() };
        prepared.names.extend(reference.tag().map(|_| name_without_digest(reference)));
        prepared.digests = [top, digest.clone()].iter().map(|digest| reference.at(digest).to_string()).collect();
        blocking("keeping an image's documents", move || {
            let _held = held;
            store.keep_checked("the configuration", store.stage_bytes("the configuration", &config)?, &id.0)?;
            for index in indexes {
                store.keep(store.stage_bytes("an index", &index)?)?;
            }
            store.keep_checked("the manifest", store.stage_bytes("the manifest", &bytes)?, &digest)
        })
        .await?;
        let mut records = self.finish_adding(vec![prepared], gate, &options.progress).await?;
        records.pop().ok_or(ImageError::Interrupted { what: "pulling an image" })
    }

    /// Sends the image `name` to the registry that `target` names; gives the digest it is stored under there.
    pub async fn push(&self, name: &str, target: &Reference, options: PushOptions) -> Result<Digest, ImageError> {
        let image = self.inspect(name).await?;
        let gate = self.gate().await?;
        let result = self.send(&image, target, &options).await;
        self.after_adding(gate).await;
        result
    }

    async fn send(&self, image: &ImageRecord, target: &Reference, options: &PushOptions) -> Result<Digest, ImageError> {
        let (store, id, digest) = (self.store.clone(), image.id.clone(), image.manifest.clone());
        let read = move || Ok((store.facts(&id, &digest)?, store.read_document("the manifest", &digest)?));
        let (facts, bytes) = blocking("reading an image", read).await?;
        let remote = Remote::new(target, &options.auth, &options.progress).await?;
        remote.authorise_push().await?;
        let blobs: BTreeMap<&Digest, &Descriptor> =
            facts.manifest.layers.iter().chain([&facts.manifest.config]).map(|blob| (&blob.digest, blob)).collect();
        let sends = blobs.values().map(|blob| remote.send(&self.store, blob, &options.progress));
        stream::iter(sends).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
        let media_type = Some(facts.manifest.media_type.as_str()).filter(|t| !t.is_empty()).unwrap_or(OCI_MANIFEST);
        remote.send_manifest(&image.manifest, bytes, media_type).await?;
        let (store, id, pinned) = (self.store.clone(), image.id.clone(), target.at(&image.manifest).to_string());
        blocking("listing an image", move || {
            store.update(|index| {
                if let Some(listed) = index.images.get_mut(&id) {
                    listed.digests.insert(pinned);
                }
                Ok(())
            })
        })
        .await?;
        Ok(image.manifest.clone())
    }

    /// Copies an image out of the Docker engine of this machine (`DOCKER_HOST`, or `/var/run/docker.sock`).
    pub async fn import_from_docker(
        &self,
        reference: &Reference,
        progress: Progress,
    ) -> Result<ImageRecord, ImageError> {
        self.import_from_docker_at(&engine::socket(), reference, progress).await
    }

    /// As [`Images::import_from_docker`], from the engine that listens at `socket`.
    pub async fn import_from_docker_at(
        &self,
        socket: &Path,
        reference: &Reference,
        progress: Progress,
    ) -> Result<ImageRecord, ImageError> {
        let stream = engine::export(socket, reference).await?;
        let loaded = self.load(Source::Stream(stream), progress).await?;
        if reference.digest().is_none() && loaded.len() == 1 && !loaded[0].tags.contains(&reference.to_string()) {
            self.tag(&loaded[0].id.to_string(), reference).await?;
        }
        match reference.digest() {
            None => self.inspect(&reference.to_string()).await,
            Some(_) => self.inspect(&loaded[0].id.to_string()).await,
        }
    }
}

/// The manifest for a platform.
struct Chosen {
    /// Digest of what the reference names.
    top: Digest,
    /// Digest of the manifest.
    digest: Digest,
    manifest: Manifest,
    /// The manifest as it came.
    bytes: Vec<u8>,
    /// The indexes on the way to it, as they came.
    indexes: Vec<Vec<u8>>,
}

async fn choose(remote: &Remote, reference: &Reference, wanted: &Platform) -> Result<Chosen, ImageError> {
    let (top, mut bytes) = remote.manifest(None).await?;
    let (mut digest, mut indexes) = (top.clone(), Vec::new());
    // An index may name indexes; more than two deep is no image.
    for _ in 0..3 {
        match Document::parse(&digest, &bytes)? {
            Document::Manifest(manifest) => return Ok(Chosen { top, digest, manifest, bytes, indexes }),
            Document::Index(index) => {
                let chosen = index.choose(wanted).ok_or_else(|| ImageError::Platform {
                    name: reference.to_string(),
                    wanted: wanted.to_string(),
                    available: index.offers(),
                })?;
                indexes.push(bytes);
                (digest, bytes) = remote.manifest(Some(&chosen.digest)).await?;
            }
        }
    }
    Err(ImageError::Document { document: "index", digest: top, problem: "its indexes are nested too deep".into() })
}

/// A reference's name with its tag alone.
pub(super) fn name_without_digest(reference: &Reference) -> String {
    let full = reference.to_string();
    full.split_once('@').map_or(full.clone(), |(name, _)| name.to_owned())
}
