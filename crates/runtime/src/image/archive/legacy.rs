//! `docker save` archives before 2016: a `repositories` file, and one folder a layer whose `json` names its parent.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;

use super::bundle::Bundle;
use super::{Layer, Prepared, assemble, full_name, keep_config};
use crate::image::compression::decoder;
use crate::image::config::{ConfigFile, HistoryEntry, RootfsSection, RunSection};
use crate::image::digest::{Digest, HashingReader};
use crate::image::error::ImageError;
use crate::image::record::ImageId;
use crate::image::store::Store;

/// No engine stacks more layers.
const DEPTH: usize = 128;

#[derive(Deserialize)]
struct Ancestor {
    parent: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    config: Option<RunSection>,
    #[serde(default)]
    container_config: Option<RunSection>,
}

/// Brings the images of an old archive into the store.
pub(super) fn images(store: &Store, bundle: &mut Bundle<'_>) -> Result<Vec<Prepared>, ImageError> {
    let Some(text) = bundle.document("repositories")? else { return Ok(Vec::new()) };
    let repositories: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&text)
        .map_err(|e| bundle.unusable(&format!("its repositories file is malformed ({e})")))?;
    let mut prepared: BTreeMap<String, Prepared> = BTreeMap::new();
    for (repository, tags) in repositories {
        for (tag, top) in tags {
            if !prepared.contains_key(&top) {
                let image = image(store, bundle, &top)?;
                prepared.insert(top.clone(), image);
            }
            if let Some(image) = prepared.get_mut(&top) {
                image.names.extend(full_name(&format!("{repository}:{tag}")));
            }
        }
    }
    Ok(prepared.into_values().collect())
}

fn image(store: &Store, bundle: &mut Bundle<'_>, top: &str) -> Result<Prepared, ImageError> {
    let mut ancestors = ancestors(bundle, top)?;
    let mut config = match ancestors.first_mut() {
        Some((_, newest)) => ConfigFile {
            created: newest.created.clone(),
            author: newest.author.clone(),
            architecture: newest.architecture.clone().unwrap_or_else(|| "amd64".into()),
            os: newest.os.clone().unwrap_or_else(|| "linux".into()),
            config: newest.config.take().unwrap_or_default(),
            ..ConfigFile::default()
        },
        None => return Err(bundle.unusable(&format!("the layer {top} is missing"))),
    };
    let mut layers = Vec::new();
    let mut rootfs = RootfsSection { kind: "layers".into(), diff_ids: Vec::new() };
    for (id, ancestor) in ancestors.into_iter().rev() {
        let layer = bundle.take(&format!("{id}/layer.tar"), None)?;
        rootfs.diff_ids.push(diff_id(store, &layer)?);
        layers.push(layer);
        let command = ancestor.container_config.map(|section| section.cmd.join(" "));
        config.history.push(HistoryEntry { created: ancestor.created, created_by: command, ..Default::default() });
    }
    config.rootfs = rootfs;
    let (digest, size) = keep_config(store, &config)?;
    let manifest = assemble(store, &digest, size, layers)?;
    Ok(Prepared { id: ImageId(digest), manifest, names: Vec::new(), digests: Vec::new() })
}

/// A layer and those below it, newest first.
fn ancestors(bundle: &Bundle<'_>, top: &str) -> Result<Vec<(String, Ancestor)>, ImageError> {
    let mut out: Vec<(String, Ancestor)> = Vec::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next {
        if out.len() == DEPTH || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bundle.unusable(&format!("the layers below {top} make no image")));
        }
        let text = bundle
            .document(&format!("{id}/json"))?
            .ok_or_else(|| bundle.unusable(&format!("the layer {id} is missing")))?;
        let ancestor: Ancestor =
            serde_json::from_slice(&text).map_err(|e| bundle.unusable(&format!("{id}/json is malformed ({e})")))?;
        next = ancestor.parent.clone().filter(|parent| !parent.is_empty());
        out.push((id, ancestor));
    }
    Ok(out)
}

/// The digest of a layer without its compression.
pub(super) fn diff_id(store: &Store, layer: &Layer) -> Result<Digest, ImageError> {
    let path = store.layout.blob(&layer.digest);
    let blob = store.open_blob(&layer.digest)?;
    let hash = || -> io::Result<Digest> {
        let (decoder, _) = decoder(blob)?;
        let mut reader = HashingReader::new(decoder.take(store.limits.bytes));
        io::copy(&mut reader, &mut io::sink())?;
        Ok(reader.finish().0)
    };
    hash().map_err(ImageError::io("decompress", path))
}
