//! Images from archives and root file systems, and back into archives.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::Arc;

use super::{Images, blocking, record};
use crate::image::archive::{self, Prepared};
use crate::image::bridge::{BlockingReader, BlockingWriter};
use crate::image::config::ImageConfig;
use crate::image::error::ImageError;
use crate::image::options::{BoxedWriter, Source};
use crate::image::progress::Progress;
use crate::image::record::ImageRecord;
use crate::image::reference::Reference;
use crate::image::store::FileGuard;

impl Images {
    /// Takes every image of a `docker save` archive or OCI layout, checked and unpacked. Names in the archive replace
    /// those in the store. All images are taken or none.
    pub async fn load(&self, source: Source, progress: Progress) -> Result<Vec<ImageRecord>, ImageError> {
        let (store, watcher) = (self.store.clone(), progress.clone());
        let stage = move || archive::load(&store, open(source)?, &watcher);
        self.add(stage, &progress).await
    }

    /// Makes a one-layer image of a root file system: a tar archive, or a folder that is packed.
    pub async fn import_rootfs(
        &self,
        source: Source,
        config: ImageConfig,
        reference: Option<&Reference>,
    ) -> Result<ImageRecord, ImageError> {
        let (store, name) = (self.store.clone(), reference.map(Reference::to_string));
        let stage = move || archive::import_rootfs(&store, open(source)?, &config, name).map(|prepared| vec![prepared]);
        let mut records = self.add(stage, &Progress::none()).await?;
        records.pop().ok_or(ImageError::Interrupted { what: "importing a root file system" })
    }

    /// Writes images (names or ids) as one archive: a `docker load` archive and an OCI layout in one.
    pub async fn save(&self, names: &[String], writer: BoxedWriter) -> Result<(), ImageError> {
        let gate = self.gate().await?;
        let (store, names, held) = (self.store.clone(), names.to_vec(), gate.clone());
        let result = blocking("saving images", move || {
            let _held = held;
            let out = archive::save(&store, &names, BlockingWriter::new(writer))?;
            out.finish().map_err(|source| ImageError::Stream { what: "the archive being written".into(), source })
        });
        let result = result.await;
        self.after_adding(gate).await;
        result
    }

    /// Runs `stage` (blobs into the store), unpacks what it prepared, and only then lists it.
    pub(super) async fn add<F>(&self, stage: F, progress: &Progress) -> Result<Vec<ImageRecord>, ImageError>
    where
        F: FnOnce() -> Result<Vec<Prepared>, ImageError> + Send + 'static,
    {
        let gate = self.gate().await?;
        let (held, store) = (gate.clone(), self.store.clone());
        let before = blocking("looking at the image store", move || store.present()).await?;
        let result = match blocking("adding images", move || ((), stage(), held).1).await {
            Ok(prepared) => self.finish_adding(prepared, &gate, progress).await,
            Err(error) => Err(error),
        };
        self.after_adding(gate).await;
        if result.is_err() {
            self.take_back(before).await;
        }
        result
    }

    /// Removes what a refused addition had begun.
    pub(super) async fn take_back(&self, before: HashSet<OsString>) {
        let store = self.store.clone();
        if let Err(error) = blocking("taking an image back", move || store.take_back(&before)).await {
            tracing::warn!(%error, "what was begun of an image could not be removed; `naru image prune` does");
        }
    }

    /// Unpacks and lists images whose blobs are in the store.
    pub(super) async fn finish_adding(
        &self,
        prepared: Vec<Prepared>,
        gate: &Arc<FileGuard>,
        progress: &Progress,
    ) -> Result<Vec<ImageRecord>, ImageError> {
        for image in &prepared {
            let (store, id, manifest) = (self.store.clone(), image.id.clone(), image.manifest.clone());
            let facts = blocking("reading an image", move || store.facts(&id, &manifest)).await?;
            self.unpack(&facts, gate, progress).await?;
        }
        let (store, held) = (self.store.clone(), gate.clone());
        blocking("listing images", move || {
            let _held = held;
            for image in &prepared {
                store.list_image(&image.manifest, &image.names, &image.digests)?;
            }
            let index = store.index()?;
            prepared.iter().map(|image| record(&store, &index, &image.id)).collect()
        })
        .await
    }
}

fn open(source: Source) -> Result<archive::Opened, ImageError> {
    Ok(match source {
        Source::Folder(path) => archive::Opened::Folder(path),
        Source::File(path) => {
            let file = std::fs::File::open(&path).map_err(ImageError::io("open", &path))?;
            let size = file.metadata().ok().map(|meta| meta.len());
            archive::Opened::Tar { name: path.display().to_string(), reader: Box::new(file), size }
        }
        Source::Stream(reader) => archive::Opened::Tar {
            name: "the stream".into(),
            reader: Box::new(BlockingReader::new(reader)),
            size: None,
        },
    })
}
