//! The store's operations, as callers see them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::config::ImageConfig;
use super::digest::Digest;
use super::error::ImageError;
use super::platform::Platform;
use super::progress::Progress;
use super::record::{ImageId, ImageRecord, Pulled, Removed, Rootfs, Usage};
use super::reference::Reference;

/// A stream of bytes from anywhere.
pub type BoxedReader = Box<dyn AsyncRead + Send + Unpin>;
/// A place for bytes, anywhere.
pub type BoxedWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// Where an archive or a root file system comes from.
pub enum Source {
    /// A tar archive (plain, gzip or zstd), read from a file.
    File(PathBuf),
    /// A folder: an OCI layout, or a root file system.
    Folder(PathBuf),
    /// A tar archive (plain, gzip or zstd), read from a stream.
    Stream(BoxedReader),
}

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Who asks; by default what Docker's configuration says.
    pub auth: Auth,
    /// When to ask the registry.
    pub policy: PullPolicy,
    /// Which variant; by default this machine's.
    pub platform: Option<Platform>,
    /// Who watches.
    pub progress: Progress,
}

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// Who asks; by default what Docker's configuration says.
    pub auth: Auth,
    /// Who watches.
    pub progress: Progress,
}

/// Credentials for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// From `$DOCKER_CONFIG/config.json` or `~/.docker/config.json` and its credential helpers; anonymous without.
    #[default]
    Configured,
    /// None.
    Anonymous,
    /// A user's.
    Basic {
        /// Name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// A registry token.
    Bearer(String),
    /// The text of a `config.json` (an image pull secret).
    DockerConfig(String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::Configured => "Configured",
            Auth::Anonymous => "Anonymous",
            Auth::Basic { .. } => "Basic(…)",
            Auth::Bearer(_) => "Bearer(…)",
            Auth::DockerConfig(_) => "DockerConfig(…)",
        })
    }
}

/// When a pull asks the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always; only what differs is fetched.
    Always,
    /// Only when the store lacks the image.
    #[default]
    IfNotPresent,
    /// Never.
    Never,
}

/// What to prune.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Also images that have a name, not only nameless ones.
    pub all: bool,
    /// Images that containers use; never removed.
    pub in_use: HashSet<ImageId>,
}

/// The images of this machine. Cheap to clone; several processes may share one folder.
#[derive(Clone)]
pub struct Images {
    _store: Arc<()>,
}

impl Images {
    /// Opens the store in `dir` (made when missing) and removes what an interrupted run left.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Images, ImageError> {
        let _: PathBuf = dir.into();
        todo!()
    }

    /// Takes every image of a `docker save` archive or OCI layout. Names in the archive replace those in the store.
    pub async fn load(&self, source: Source, progress: Progress) -> Result<Vec<ImageRecord>, ImageError> {
        let _ = (source, progress);
        todo!()
    }

    /// Writes images (names or ids) as one archive: a `docker load` archive and an OCI layout in one.
    pub async fn save(&self, names: &[String], writer: BoxedWriter) -> Result<(), ImageError> {
        let _ = (names, writer);
        todo!()
    }

    /// Makes a one-layer image of a root file system.
    pub async fn import_rootfs(
        &self,
        source: Source,
        config: ImageConfig,
        reference: Option<&Reference>,
    ) -> Result<ImageRecord, ImageError> {
        let _ = (source, config, reference);
        todo!()
    }

    /// Fetches an image from its registry, checked by digest and unpacked.
    pub async fn pull(&self, reference: &Reference, options: PullOptions) -> Result<Pulled, ImageError> {
        let _ = (reference, options);
        todo!()
    }

    /// Sends the image `name` to the registry that `target` names; gives the digest it is stored under there.
    pub async fn push(&self, name: &str, target: &Reference, options: PushOptions) -> Result<Digest, ImageError> {
        let _ = (name, target, options);
        todo!()
    }

    /// Copies an image out of the Docker engine at `/var/run/docker.sock`.
    pub async fn import_from_docker(
        &self,
        reference: &Reference,
        progress: Progress,
    ) -> Result<ImageRecord, ImageError> {
        let _ = (reference, progress);
        todo!()
    }

    /// Every image, by first name.
    pub async fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        todo!()
    }

    /// The image that `name` (a name, name@digest, id or unambiguous short id) means, if it is here.
    pub async fn resolve(&self, name: &str) -> Result<Option<ImageRecord>, ImageError> {
        let _ = name;
        todo!()
    }

    /// As [`Images::resolve`], with absence as the error.
    pub async fn inspect(&self, name: &str) -> Result<ImageRecord, ImageError> {
        let _ = name;
        todo!()
    }

    /// Gives the image `name` a further name.
    pub async fn tag(&self, name: &str, target: &Reference) -> Result<(), ImageError> {
        let _ = (name, target);
        todo!()
    }

    /// Takes a name away, and with the last one the image. `in_use`: images of containers, which stay.
    pub async fn remove(&self, name: &str, force: bool, in_use: &HashSet<ImageId>) -> Result<Removed, ImageError> {
        let _ = (name, force, in_use);
        todo!()
    }

    /// Removes images nobody needs, and whatever belongs to no image.
    pub async fn prune(&self, options: PruneOptions) -> Result<Removed, ImageError> {
        let _ = options;
        todo!()
    }

    /// What the store takes, and what of it no image of `in_use` needs.
    pub async fn usage(&self, in_use: &HashSet<ImageId>) -> Result<Usage, ImageError> {
        let _ = in_use;
        todo!()
    }

    /// The unpacked layers of an image, unpacking what is not.
    pub async fn rootfs(&self, id: &ImageId) -> Result<Rootfs, ImageError> {
        let _ = id;
        todo!()
    }
}
