//! `docker save` archives since 2016: `manifest.json` lists configurations, names and layer files.

use serde::Deserialize;

use super::bundle::Bundle;
use super::{Prepared, assemble, full_name};
use crate::image::config::{ConfigFile, null_is_default};
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::record::ImageId;
use crate::image::store::Store;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
}

/// Adds the images of `manifest.json` to those found as an OCI layout in the same archive: new archives are both, and
/// only names are added then.
pub(super) fn merge(store: &Store, bundle: &mut Bundle<'_>, images: &mut Vec<Prepared>) -> Result<(), ImageError> {
    let Some(text) = bundle.document("manifest.json")? else { return Ok(()) };
    let listed: Vec<Listed> =
        serde_json::from_slice(&text).map_err(|e| bundle.unusable(&format!("its manifest.json is malformed ({e})")))?;
    for entry in listed {
        let config = bundle.document(&entry.config)?;
        let config =
            config.ok_or_else(|| bundle.unusable(&format!("the configuration {} is missing", entry.config)))?;
        let id = ImageId(Digest::of(&config));
        let names: Vec<String> = entry.repo_tags.iter().filter_map(|name| full_name(name)).collect();
        if let Some(known) = images.iter_mut().find(|image| image.id == id) {
            known.names.extend(names);
            known.names.sort();
            known.names.dedup();
            continue;
        }
        let manifest = image(store, bundle, &entry, &id, &config)?;
        images.push(Prepared { id, manifest, names, digests: Vec::new() });
    }
    Ok(())
}

fn image(
    store: &Store,
    bundle: &mut Bundle<'_>,
    entry: &Listed,
    id: &ImageId,
    config: &[u8],
) -> Result<Digest, ImageError> {
    let parsed: ConfigFile = serde_json::from_slice(config)
        .map_err(|e| bundle.unusable(&format!("the configuration {} is malformed ({e})", entry.config)))?;
    let (diff_ids, files) = (parsed.rootfs.diff_ids.len(), entry.layers.len());
    if diff_ids != files {
        return Err(bundle
            .unusable(&format!("the configuration {} names {diff_ids} layers, manifest.json {files}", entry.config)));
    }
    let mut layers = Vec::with_capacity(files);
    for name in &entry.layers {
        layers.push(bundle.take(name, None)?);
    }
    bundle.take(&entry.config, Some(&id.0))?;
    assemble(store, &id.0, config.len() as u64, layers)
}
