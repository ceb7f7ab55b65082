//! Writing archives: one tar file that is an OCI layout and a `docker load` archive at once, as current engines do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::json;

use super::to_json;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::manifest::{Descriptor, Index, OCI_INDEX, OCI_MANIFEST};
use crate::image::record::ImageId;
use crate::image::reference::Reference;
use crate::image::store::{By, Facts, Store};

/// Writes the images that `names` mean to `out` and gives the writer back.
pub(crate) fn save<W: Write>(store: &Store, names: &[String], out: W) -> Result<W, ImageError> {
    let index = store.index()?;
    let mut wanted: BTreeMap<ImageId, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let meaning = index.resolve(name)?.ok_or_else(|| ImageError::NotFound { name: name.clone() })?;
        let tags = wanted.entry(meaning.id).or_default();
        if let By::Name(tag) = meaning.by {
            tags.insert(tag);
        }
    }
    let mut archive = Archive {
        builder: tar::Builder::new(out),
        written: BTreeSet::new(),
        manifests: Vec::new(),
        docker: Vec::new(),
    };
    for (id, tags) in &wanted {
        let Some(listed) = index.images.get(id) else { continue };
        let facts = store.facts(id, &listed.manifest)?;
        archive.image(store, id, &listed.manifest, &facts, tags)?;
    }
    archive.finish().map_err(|source| ImageError::Stream { what: "the archive being written".into(), source })
}

struct Archive<W: Write> {
    builder: tar::Builder<W>,
    written: BTreeSet<Digest>,
    manifests: Vec<Descriptor>,
    docker: Vec<serde_json::Value>,
}

impl<W: Write> Archive<W> {
    fn image(
        &mut self,
        store: &Store,
        id: &ImageId,
        manifest: &Digest,
        facts: &Facts,
        tags: &BTreeSet<String>,
    ) -> Result<(), ImageError> {
        let layers = facts.manifest.layers.iter().map(|layer| &layer.digest);
        for digest in layers.clone().chain([&id.0, manifest]) {
            self.blob(store, digest)?;
        }
        let media_type = Some(facts.manifest.media_type.as_str()).filter(|t| !t.is_empty()).unwrap_or(OCI_MANIFEST);
        let size = std::fs::metadata(store.layout.blob(manifest))
            .map_err(ImageError::io("read", store.layout.blob(manifest)))?
            .len();
        let described = Descriptor::new(media_type, manifest.clone(), size);
        if tags.is_empty() {
            self.manifests.push(described.clone());
        }
        let references: Vec<Reference> = tags.iter().filter_map(|tag| Reference::parse(tag).ok()).collect();
        for reference in &references {
            let mut named = described.clone();
            named.annotations.insert("io.containerd.image.name".into(), reference.to_string());
            named
                .annotations
                .insert("org.opencontainers.image.ref.name".into(), reference.tag().unwrap_or_default().to_owned());
            self.manifests.push(named);
        }
        self.docker.push(json!({
            "Config": name(&id.0),
            "RepoTags": references.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": layers.map(name).collect::<Vec<_>>(),
        }));
        Ok(())
    }

    fn blob(&mut self, store: &Store, digest: &Digest) -> Result<(), ImageError> {
        if !self.written.insert(digest.clone()) {
            return Ok(());
        }
        let file = store.open_blob(digest)?;
        let size = file.metadata().map_err(ImageError::io("read", store.layout.blob(digest)))?.len();
        let written = self.builder.append_data(&mut header(size), name(digest), file);
        written.map_err(|source| ImageError::Stream { what: "the archive being written".into(), source })
    }

    fn finish(mut self) -> io::Result<W> {
        let index =
            Index { schema_version: 2, media_type: OCI_INDEX.into(), manifests: std::mem::take(&mut self.manifests) };
        let documents = [
            ("index.json", to_json(&index)),
            ("manifest.json", to_json(&self.docker)),
            ("oci-layout", to_json(&json!({ "imageLayoutVersion": "1.0.0" }))),
        ];
        for (name, bytes) in documents {
            self.builder.append_data(&mut header(bytes.len() as u64), name, bytes.as_slice())?;
        }
        self.builder.into_inner()
    }
}

fn name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}
