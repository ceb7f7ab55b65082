//! OCI layouts: `index.json` names manifests, everything lies under its digest.

use std::collections::BTreeMap;

use super::bundle::Bundle;
use super::{Prepared, full_name};
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::manifest::{Descriptor, Document, Index};
use crate::image::platform::Platform;
use crate::image::record::ImageId;
use crate::image::store::{Store, parse_config};

/// Full name of the image, as containerd, BuildKit and Docker write it.
const FULL_NAME: &str = "io.containerd.image.name";
/// A tag, or a full name in the archives of other tools.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Brings the images of the layout into the store; none when there is no layout.
pub(super) fn images(store: &Store, bundle: &mut Bundle<'_>) -> Result<Vec<Prepared>, ImageError> {
    let Some(text) = bundle.document("index.json")? else { return Ok(Vec::new()) };
    let index: Index =
        serde_json::from_slice(&text).map_err(|e| bundle.unusable(&format!("its index.json is malformed ({e})")))?;
    let mut prepared: Vec<Prepared> = Vec::new();
    for (name, offers) in by_name(&index) {
        for descriptor in fitting(offers) {
            let Some(manifest) = manifest_of(bundle, &descriptor)? else { continue };
            let image = image(store, bundle, &manifest)?;
            match prepared.iter_mut().find(|known| known.id == image.id) {
                Some(known) => known.names.extend(name.clone()),
                None => prepared.push(Prepared { names: name.iter().cloned().collect(), ..image }),
            }
        }
    }
    Ok(prepared)
}

/// The descriptors of the layout, those of one name together: they are its platforms.
fn by_name(index: &Index) -> BTreeMap<Option<String>, Vec<Descriptor>> {
    let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for descriptor in &index.manifests {
        let full = descriptor.annotations.get(FULL_NAME);
        // A tag alone does not say of what.
        let name = full.or_else(|| descriptor.annotations.get(REF_NAME).filter(|name| name.contains([':', '/'])));
        groups.entry(name.and_then(|name| full_name(name))).or_default().push(descriptor.clone());
    }
    groups
}

/// What runs here of one name's platforms; everything when nothing does, so that foreign images can be carried on.
fn fitting(offers: Vec<Descriptor>) -> Vec<Descriptor> {
    if offers.len() > 1 && offers.iter().all(|offer| offer.platform.is_some()) {
        let index = Index { schema_version: 2, media_type: String::new(), manifests: offers.clone() };
        if let Some(best) = index.choose(&Platform::host()) {
            return vec![best.clone()];
        }
    }
    offers
}

/// The manifest that a descriptor means: itself, or what an index offers for this machine. None when the archive was
/// made without it.
fn manifest_of(bundle: &Bundle<'_>, descriptor: &Descriptor) -> Result<Option<Digest>, ImageError> {
    let mut digest = descriptor.digest.clone();
    // An index in an index in an index is no image.
    for _ in 0..3 {
        let Some(bytes) = document(bundle, &digest)? else { return Ok(None) };
        match Document::parse(&digest, &bytes)? {
            Document::Manifest(_) => return Ok(Some(digest)),
            Document::Index(mut index) => {
                index.manifests.retain(|offer| bundle.has(&blob(&offer.digest)));
                let chosen = index.choose(&Platform::host()).or(index.manifests.first());
                let Some(chosen) = chosen else { return Ok(None) };
                digest = chosen.digest.clone();
            }
        }
    }
    Err(bundle.unusable("its indexes are nested too deep"))
}

/// Brings one image's blobs into the store.
fn image(store: &Store, bundle: &mut Bundle<'_>, digest: &Digest) -> Result<Prepared, ImageError> {
    let bytes = document(bundle, digest)?.unwrap_or_default();
    let Document::Manifest(manifest) = Document::parse(digest, &bytes)? else {
        return Err(bundle.unusable("an index stands where a manifest should be"));
    };
    let config = &manifest.config.digest;
    let text =
        document(bundle, config)?.ok_or_else(|| bundle.unusable(&format!("the configuration {config} is missing")))?;
    parse_config(config, &text, &manifest)?;
    for layer in &manifest.layers {
        bundle.take(&blob(&layer.digest), Some(&layer.digest))?;
    }
    bundle.take(&blob(config), Some(config))?;
    store.keep_checked("the manifest", store.stage_bytes("the manifest", &bytes)?, digest)?;
    Ok(Prepared { id: ImageId(config.clone()), manifest: digest.clone(), names: Vec::new(), digests: Vec::new() })
}

/// A document by its digest, checked.
fn document(bundle: &Bundle<'_>, digest: &Digest) -> Result<Option<Vec<u8>>, ImageError> {
    let Some(bytes) = bundle.document(&blob(digest))? else { return Ok(None) };
    let actual = Digest::of(&bytes);
    if actual != *digest {
        let what = format!("the document {}", blob(digest));
        return Err(ImageError::DigestMismatch { what, expected: digest.clone(), actual, bytes: bytes.len() as u64 });
    }
    Ok(Some(bytes))
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
