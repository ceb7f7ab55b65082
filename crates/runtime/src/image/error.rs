//! What can go wrong with images, worded for the person who asked.
//!
//! Every variant names the image, layer, file or registry it is about, what was expected and what to do next; the
//! cause hangs below as the source and is not repeated in the text.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::reference::Reference;

/// Anything an image operation can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A name breaks the rules of image names.
    #[error("\"{input}\" is not an image name: expected {expected}")]
    Reference {
        /// What was given.
        input: String,
        /// The rule.
        expected: &'static str,
    },
    /// A digest is not one.
    #[error("\"{input}\" is not a digest: expected sha256: and 64 lower-case hexadecimal digits")]
    DigestSyntax {
        /// What was given.
        input: String,
    },
    /// No such image in the store.
    #[error(
        "image \"{name}\" is not on this machine: pull it, load it from an archive, or check the name with `naru image ls`"
    )]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// A short id means several images.
    #[error("the short id \"{input}\" means {} images: give more digits of one of {}", .candidates.len(), list(.candidates))]
    Ambiguous {
        /// What was asked for.
        input: String,
        /// The ids it may mean.
        candidates: Vec<String>,
    },
    /// An image cannot be removed.
    #[error("image \"{name}\" was not removed: {reason}")]
    InUse {
        /// What was to be removed.
        name: String,
        /// Who holds it and what to do.
        reason: String,
    },
    /// Bytes are not what their digest says.
    #[error(
        "{what} is damaged: expected {expected}, got {actual} ({bytes} bytes); nothing of it was kept, fetch it again from its source"
    )]
    DigestMismatch {
        /// The blob or layer and where it came from.
        what: String,
        /// The digest that was promised.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
        /// Length of what came.
        bytes: u64,
    },
    /// More bytes than promised or allowed.
    #[error("{what} is larger than {limit} bytes, which is {why}; it was not kept")]
    TooLarge {
        /// The blob, document or layer.
        what: String,
        /// The bound that was passed.
        limit: u64,
        /// Where the bound comes from.
        why: &'static str,
    },
    /// The disk is full.
    #[error("no space left in {}: {what} needs {needed} bytes and {free} are free; what was begun has been removed, free some space (`naru image prune`) and try again", .path.display())]
    DiskFull {
        /// The folder that is full.
        path: PathBuf,
        /// What was being written.
        what: String,
        /// Bytes it needs in all.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file operation failed.
    #[error("could not {what} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A stream failed.
    #[error("could not read {what}")]
    Stream {
        /// Which stream.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The store's list of images cannot be read.
    #[error("the image list {} is damaged ({problem}); nothing was changed: restore it, or move the folder away and load the images again", .path.display())]
    StoreDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive is not one, or lacks a part.
    #[error("{archive} is not a usable image archive: {problem}; expected a `docker save` archive or an OCI layout")]
    Archive {
        /// The file or stream.
        archive: String,
        /// What is wrong.
        problem: String,
    },
    /// A manifest, index or configuration cannot be used.
    #[error("the {document} {digest} cannot be used: {problem}")]
    Document {
        /// Manifest, index or configuration.
        document: &'static str,
        /// Which one.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// A layer's entry would touch something outside the layer, or is malformed.
    #[error("layer {layer} was refused: entry \"{entry}\" {problem}; nothing of the layer was kept")]
    Layer {
        /// The layer's uncompressed digest.
        layer: Digest,
        /// The entry's path in the archive.
        entry: String,
        /// What it does.
        problem: String,
    },
    /// A layer cannot be decoded.
    #[error("layer {layer} cannot be unpacked: {problem}; nothing of the layer was kept")]
    LayerUnreadable {
        /// The layer's uncompressed digest.
        layer: Digest,
        /// What is wrong with it.
        problem: String,
        /// The decoder's words.
        #[source]
        source: Option<io::Error>,
    },
    /// No variant of the image runs on this machine.
    #[error("image \"{name}\" has no variant for {wanted}: it offers {}", list(.available))]
    Platform {
        /// The image.
        name: String,
        /// This machine's or the asked platform.
        wanted: String,
        /// What the image offers.
        available: Vec<String>,
    },
    /// The registry refuses the credentials, or wants some.
    #[error(
        "registry {registry} refuses access to \"{reference}\": {problem}; log in with `docker login {registry}` or give credentials, and check that the name is right"
    )]
    Unauthorized {
        /// Its host.
        registry: String,
        /// The image.
        reference: Box<Reference>,
        /// What the registry says.
        problem: String,
    },
    /// The registry has no such image.
    #[error("registry {registry} has no image \"{reference}\": check the name and the tag")]
    NotInRegistry {
        /// Its host.
        registry: String,
        /// The image.
        reference: Box<Reference>,
    },
    /// The image would have to be fetched, and its registry was never reached.
    #[error(
        "image \"{reference}\" is not on this machine, and its registry {registry} cannot be reached: {problem}; check the name and the network, or load the image with `naru image load`"
    )]
    Nowhere {
        /// Its host.
        registry: String,
        /// The image.
        reference: Box<Reference>,
        /// Why there is no connection.
        problem: String,
    },
    /// The registry went away and did not come back.
    #[error(
        "registry {registry} stopped answering while {what} of \"{reference}\" was under way ({attempts} attempts, {done} bytes received): {problem}; what arrived is kept for the next attempt, try again when the registry is reachable"
    )]
    RegistryUnreachable {
        /// Its host.
        registry: String,
        /// The image.
        reference: Box<Reference>,
        /// Manifest, layer, …
        what: String,
        /// How often it was tried.
        attempts: u32,
        /// Bytes received of this part.
        done: u64,
        /// The last failure.
        problem: String,
    },
    /// The registry answered something that makes no sense.
    #[error("registry {registry} gave an unusable answer for {what} of \"{reference}\": {problem}")]
    Registry {
        /// Its host.
        registry: String,
        /// The image.
        reference: Box<Reference>,
        /// Manifest, layer, …
        what: String,
        /// What was wrong.
        problem: String,
    },
    /// Docker's credentials could not be used.
    #[error("the credentials for {registry} in {} cannot be used: {problem}", .path.display())]
    Credentials {
        /// The registry they are for.
        registry: String,
        /// The configuration file.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// The image must be present and is not (pull policy "never").
    #[error(
        "image \"{reference}\" is not on this machine and must not be pulled (pull policy Never): load it first or change the policy"
    )]
    NeverPulled {
        /// The image.
        reference: Box<Reference>,
    },
    /// The Docker engine did not give the image.
    #[error("the Docker engine at {} did not give image \"{name}\": {problem}", .socket.display())]
    Engine {
        /// Its socket.
        socket: PathBuf,
        /// The image.
        name: String,
        /// Its answer.
        problem: String,
    },
    /// No other node gave the image.
    #[error(
        "\"{reference}\" could not be copied from another node: {problem}; what arrived is kept for the next attempt"
    )]
    Peers {
        /// The image.
        reference: Box<Reference>,
        /// What each of them said.
        problem: String,
    },
    /// The work was cut short because the process ends.
    #[error("{what} was interrupted")]
    Interrupted {
        /// What was going on.
        what: &'static str,
    },
}

impl ImageError {
    /// For `map_err` after a file operation.
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.as_ref().to_owned();
        move |source| ImageError::Io { what, path, source }
    }

    /// Whether the disk was full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            ImageError::DiskFull { .. } => true,
            ImageError::Io { source, .. } | ImageError::Stream { source, .. } => is_full(source),
            _ => false,
        }
    }

    /// Whether the image is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ImageError::NotFound { .. } | ImageError::NotInRegistry { .. })
    }
}

/// Whether the system said that a disk or quota is exhausted.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}
