//! Where things lie in the store's folder.

use std::path::{Path, PathBuf};

use crate::image::digest::Digest;

/// Identity of a stack of layers: the digest of the lowest, or of the stack below and the next one. Layers are kept
/// by it because unpacking one depends on those below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct ChainId(pub Digest);

impl ChainId {
    /// The chain ids of an image's layers, lowest first.
    pub(crate) fn of(diff_ids: &[Digest]) -> Vec<ChainId> {
        let mut chain: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let next = match chain.last() {
                None => diff_id.clone(),
                Some(ChainId(below)) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            };
            chain.push(ChainId(next));
        }
        chain
    }

    /// Half of the digits: enough to be unique, short enough for mounts of many layers.
    pub(crate) fn folder_name(&self) -> &str {
        &self.0.hex()[..32]
    }
}

/// The store's folder and the names in it.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Layout {
        Layout { root }
    }

    /// Every folder that must exist.
    pub(crate) fn folders(&self) -> [PathBuf; 5] {
        [self.blobs(), self.partials(), self.layers(), self.temporary(), self.locks()]
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The list of images: the only file that is ever replaced.
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("images.json")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Downloads that were cut off, to be continued.
    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex())
    }

    /// Unpacked layers; everything directly in it is a `lowerdir` or a marker.
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, chain: &ChainId) -> PathBuf {
        self.layers().join(chain.folder_name())
    }

    /// Says that a layer is complete.
    pub(crate) fn marker(&self, chain: &ChainId) -> PathBuf {
        self.layers().join(format!("{}.json", chain.folder_name()))
    }

    /// What is being written; emptied at start.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_start_with_the_lowest_layer() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = ChainId::of(&[a.clone(), b.clone()]);
        assert_eq!(chain[0].0, a);
        assert_eq!(chain[1].0, Digest::of(format!("{a} {b}").as_bytes()));
        assert_ne!(ChainId::of(&[b, a])[1], chain[1]);
    }
}
