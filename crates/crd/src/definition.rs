//! Definitions: what a `CustomResourceDefinition` says, read once.
//!
//! Everything here is a function of the definition's JSON: whether it may be written ([`faults`]), what it says of each
//! version ([`Definition::read`]), what its status is among the names that are taken ([`status`]). Who serves it, stores it
//! and converts its objects is not known here.

mod check;
mod names;
mod prepare;
mod read;
mod status;

use serde_json::Value;

use crate::column::Column;
use crate::jsonpath::JsonPath;
use crate::schema::Schema;

pub use check::faults;
pub use prepare::{fill, prepare};
pub use status::{Taken, status};

/// What a definition says.
#[derive(Debug)]
pub struct Definition {
    /// The group of its kinds.
    pub group: String,
    /// How its kind is called.
    pub names: Names,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// How objects of one version become objects of another.
    pub conversion: Conversion,
    /// Its versions, the one that clients should use first.
    pub versions: Vec<Version>,
}

/// How a kind is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The name in paths (`crontabs`).
    pub plural: String,
    /// The name for one object (`crontab`).
    pub singular: String,
    /// The kind (`CronTab`).
    pub kind: String,
    /// The kind of lists (`CronTabList`).
    pub list_kind: String,
    /// Short names that clients accept.
    pub short_names: Vec<String>,
    /// Groups of kinds that clients ask for together.
    pub categories: Vec<String>,
}

/// How objects of one version become objects of another.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    #[default]
    None,
    /// A webhook is asked, whose client configuration and review versions stand here.
    Webhook {
        /// `spec.conversion.webhook.clientConfig`.
        client: Value,
        /// `spec.conversion.webhook.conversionReviewVersions`, in order of preference.
        reviews: Vec<String>,
    },
}

/// One version.
#[derive(Debug)]
pub struct Version {
    /// Its name (`v1`).
    pub name: String,
    /// Whether clients may use it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// What clients that use it are warned with, if it is deprecated.
    pub deprecation: Option<String>,
    /// What its objects look like.
    pub schema: Schema,
    /// Whether objects have a status that is written apart.
    pub status: bool,
    /// Where the number of replicas stands, if objects can be scaled.
    pub scale: Option<Scale>,
    /// What tables show besides the name.
    pub columns: Vec<Column>,
    /// Fields that objects can be selected by (`.spec.color`).
    pub selectable: Vec<String>,
    /// A name for what it says, which changes whenever that changes.
    pub hash: u64,
    /// The schema as it was written, from which clients are told.
    pub(crate) source: Box<str>,
}

/// Where the number of replicas stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// The wanted number.
    pub wanted: JsonPath,
    /// The observed number.
    pub observed: JsonPath,
    /// The selector of pods, as text.
    pub selector: Option<JsonPath>,
}

// === impl Definition ===

impl Definition {
    /// The version that objects are stored in.
    pub fn storage(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.storage)
    }

    /// The version of a name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }
}

#[cfg(test)]
mod tests;
