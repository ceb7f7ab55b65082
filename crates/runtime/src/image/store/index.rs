//! The list of images: which names mean which image, and which manifest holds each together.
//!
//! One small JSON file, replaced as a whole. A change is made under the list's lock on what is on disk, never on a copy
//! in memory, because several processes may share the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::record::ImageId;
use crate::image::reference::Reference;

const VERSION: u32 = 1;

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    pub images: BTreeMap<ImageId, Listed>,
    /// Full names with tags.
    pub names: BTreeMap<String, ImageId>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    pub manifest: Digest,
    /// Full names with registry digests.
    #[serde(default)]
    pub digests: BTreeSet<String>,
    /// RFC 3339 time when it last came into the store.
    pub stored_at: String,
}

impl Default for Index {
    fn default() -> Index {
        Index { version: VERSION, images: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl Index {
    /// Reads the list; an absent file is an empty one.
    pub(crate) fn read(path: &Path) -> Result<Index, ImageError> {
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Index::default()),
            other => other.map_err(ImageError::io("read", path))?,
        };
        let damaged = |problem: String| ImageError::StoreDamaged { path: path.to_owned(), problem };
        let index: Index = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if index.version != VERSION {
            let problem = format!(
                "it has version {}, this program knows {VERSION}: use the program that wrote it",
                index.version
            );
            return Err(damaged(problem));
        }
        if let Some((name, _)) = index.names.iter().find(|(_, id)| !index.images.contains_key(id)) {
            return Err(damaged(format!("the name {name} means no listed image")));
        }
        Ok(index)
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// Lists an image (again).
    pub(crate) fn add(&mut self, id: &ImageId, manifest: &Digest, now: &str) {
        let listed = self.images.entry(id.clone()).or_insert_with(|| Listed {
            manifest: manifest.clone(),
            digests: BTreeSet::new(),
            stored_at: String::new(),
        });
        listed.manifest = manifest.clone();
        listed.stored_at = now.to_owned();
    }

    /// Digests under which registries know an image.
    pub(crate) fn registry_digests(listed: &Listed) -> impl Iterator<Item = Digest> {
        listed.digests.iter().filter_map(|name| name.rsplit_once('@')?.1.parse().ok())
    }

    /// All names of an image.
    pub(crate) fn names_of(&self, id: &ImageId) -> Vec<String> {
        self.names.iter().filter(|(_, owner)| *owner == id).map(|(name, _)| name.clone()).collect()
    }

    /// What a person's text means: an id, a name, a name with a digest, or the beginning of an id.
    pub(crate) fn resolve(&self, text: &str) -> Result<Option<Meaning>, ImageError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() == 64
            && let Ok(id) = format!("sha256:{digits}").parse::<ImageId>()
        {
            return Ok(self.images.contains_key(&id).then_some(Meaning { id, by: By::Id }));
        }
        let parsed = if text.starts_with("sha256:") { None } else { Some(Reference::parse(text)) };
        if let Some(Ok(reference)) = &parsed
            && let Some(found) = self.by_reference(reference)
        {
            return Ok(Some(found));
        }
        if !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            let matching: Vec<&ImageId> = self.images.keys().filter(|id| id.0.hex().starts_with(digits)).collect();
            return match matching.as_slice() {
                [] => Ok(None),
                [id] => Ok(Some(Meaning { id: (*id).clone(), by: By::Id })),
                many => Err(ImageError::Ambiguous {
                    input: text.to_owned(),
                    candidates: many.iter().map(|id| id.0.short().to_owned()).collect(),
                }),
            };
        }
        match parsed {
            Some(Err(error)) => Err(error),
            _ => Ok(None),
        }
    }

    fn by_reference(&self, reference: &Reference) -> Option<Meaning> {
        let Some(digest) = reference.digest() else {
            let name = reference.to_string();
            return self.names.get(&name).map(|id| Meaning { id: id.clone(), by: By::Name(name.clone()) });
        };
        let pinned = reference.at(digest).to_string();
        let by_digest =
            self.images.iter().find(|(_, listed)| listed.digests.contains(&pinned)).map(|(id, _)| id.clone());
        // Images that no registry has are pinned by their manifest; its bytes are the same under every name.
        let by_manifest = || self.images.iter().find(|(_, listed)| listed.manifest == *digest);
        by_digest
            .map(|id| Meaning { id, by: By::Digest(pinned) })
            .or_else(|| by_manifest().map(|(id, _)| Meaning { id: id.clone(), by: By::Id }))
    }
}

/// What a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub id: ImageId,
    pub by: By,
}

/// How the text named the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Id,
    Name(String),
    Digest(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (Index, ImageId) {
        let id = ImageId(Digest::of(b"config"));
        let mut index = Index::default();
        index.add(&id, &Digest::of(b"manifest"), "2026-01-01T00:00:00Z");
        index.names.insert("docker.io/library/redis:latest".into(), id.clone());
        let listed = index.images.get_mut(&id).unwrap();
        listed.digests.insert(format!("docker.io/library/redis@{}", Digest::of(b"list")));
        (index, id)
    }

    #[test]
    fn every_way_to_name_an_image() {
        let (index, id) = index();
        let pinned = format!("redis@{}", Digest::of(b"list"));
        for text in [
            "redis",
            "docker.io/redis:latest",
            &id.to_string(),
            id.0.hex(),
            id.0.short(),
            &format!("sha256:{}", id.0.short()),
            &pinned,
            &format!("redis:other@{}", Digest::of(b"list")),
            &format!("built@{}", Digest::of(b"manifest")),
        ] {
            assert_eq!(index.resolve(text).unwrap().map(|m| m.id), Some(id.clone()), "{text}");
        }
        for text in
            ["redis:7", "other", &format!("redis@{}", Digest::of(b"x")), "sha256:00", &Digest::of(b"y").to_string()]
        {
            assert_eq!(index.resolve(text).unwrap(), None, "{text}");
        }
        assert!(index.resolve("No Name").is_err());
    }

    #[test]
    fn a_name_wins_over_the_beginning_of_an_id_and_short_ids_must_be_clear() {
        let (mut index, id) = index();
        let other = ImageId(Digest::of(b"other"));
        index.add(&other, &Digest::of(b"m2"), "");
        let one_digit = &id.0.hex()[..1];
        index.names.insert(format!("docker.io/library/{one_digit}:latest"), other.clone());
        assert_eq!(index.resolve(one_digit).unwrap().unwrap().id, other);
        for n in 0_u32..64 {
            index.add(&ImageId(Digest::of(&n.to_le_bytes())), &Digest::of(b"m"), "");
        }
        let ambiguous =
            (b'0'..=b'9').chain(b'a'..=b'f').find_map(|c| index.resolve(std::str::from_utf8(&[c]).unwrap()).err());
        assert!(matches!(ambiguous, Some(ImageError::Ambiguous { .. })));
    }

    #[test]
    fn a_damaged_list_is_refused_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.json");
        assert_eq!(Index::read(&path).unwrap(), Index::default());
        for text in [
            "{",
            "{\"version\":2,\"images\":{},\"names\":{}}",
            &format!("{{\"version\":1,\"images\":{{}},\"names\":{{\"a\":\"{}\"}}}}", Digest::of(b"")),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Index::read(&path), Err(ImageError::StoreDamaged { .. })), "{text}");
        }
    }
}
