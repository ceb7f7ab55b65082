//! What callers say about an operation.

use std::collections::HashSet;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

use super::platform::Platform;
use super::progress::Progress;
use super::record::ImageId;

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
