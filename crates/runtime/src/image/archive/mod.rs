//! Images in files: `docker save` archives of every age and OCI layouts, in tar or in folders.
//!
//! Members of an archive are only ever names in a table: their bytes go to temporary files with names of our own, so
//! nothing in an archive can choose where it lands.

mod bundle;
mod docker;
mod legacy;
mod oci;
mod rootfs;
mod save;

use std::io::Read;
use std::path::PathBuf;

use bundle::Bundle;
pub(crate) use rootfs::import_rootfs;
pub(crate) use save::save;

use super::compression::Compression;
use super::config::ConfigFile;
use super::digest::Digest;
use super::error::ImageError;
use super::manifest::{Descriptor, Manifest, OCI_CONFIG};
use super::progress::Progress;
use super::record::ImageId;
use super::reference::Reference;
use super::store::Store;

/// Something to read an archive from.
pub(crate) enum Opened {
    Tar { name: String, reader: Box<dyn Read + Send>, size: Option<u64> },
    Folder(PathBuf),
}

/// An image whose blobs are in the store and which only has to be unpacked and listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub id: ImageId,
    pub manifest: Digest,
    pub names: Vec<String>,
    pub digests: Vec<String>,
}

/// Brings the blobs of all images of an archive into the store.
pub(crate) fn load(store: &Store, opened: Opened, progress: &Progress) -> Result<Vec<Prepared>, ImageError> {
    let mut bundle = Bundle::open(store, opened, progress)?;
    let mut images = oci::images(store, &mut bundle)?;
    docker::merge(store, &mut bundle, &mut images)?;
    if images.is_empty() {
        images = legacy::images(store, &mut bundle)?;
    }
    if images.is_empty() {
        return Err(bundle.unusable(
            "it has neither an index.json, nor a manifest.json, nor a repositories file that names an image",
        ));
    }
    Ok(images)
}

/// Makes the manifest of an image whose configuration and layers are in the store but which had none.
fn assemble(store: &Store, config: &Digest, size: u64, layers: Vec<Layer>) -> Result<Digest, ImageError> {
    let layers =
        layers.into_iter().map(|l| Descriptor::new(l.compression.layer_media_type(), l.digest, l.size)).collect();
    let manifest = Manifest::assemble(Descriptor::new(OCI_CONFIG, config.clone(), size), layers);
    let bytes = to_json(&manifest);
    store.keep(store.stage_bytes("a manifest", &bytes)?)
}

/// A layer's blob in the store.
struct Layer {
    digest: Digest,
    size: u64,
    compression: Compression,
}

/// A configuration made here, as a blob.
fn keep_config(store: &Store, config: &ConfigFile) -> Result<(Digest, u64), ImageError> {
    let bytes = to_json(config);
    let digest = store.keep(store.stage_bytes("a configuration", &bytes)?)?;
    Ok((digest, bytes.len() as u64))
}

/// JSON of a document of ours, which always has one.
fn to_json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

/// The normal form of a name in an archive; names that are none are left out, the image is loaded nevertheless.
fn full_name(name: &str) -> Option<String> {
    Reference::parse(name).ok().filter(|reference| reference.digest().is_none()).map(|reference| reference.to_string())
}
