//! The pod's identity in this crate.

use std::fmt;
use std::sync::Arc;

/// A pod's `metadata.uid`. Cheap to clone; the only key under which the network knows a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// The text of the uid.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for PodUid {
    fn default() -> Self {
        Self("".into())
    }
}

impl From<&str> for PodUid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for PodUid {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
