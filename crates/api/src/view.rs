//! Typed views: code that reads objects parses their bytes into a Rust type here.
//!
//! A view is for reading and for building new objects. Objects are never stored through one, because a typed struct
//! silently drops the fields it does not know. The bodies below are not generic, so each type's parser is compiled once,
//! in this crate.

mod list;
mod qos;

pub(crate) use list::describe;
pub use qos::qos_class;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// The bytes do not hold an object of the asked type.
#[derive(Debug, thiserror::Error)]
#[error("the stored {kind} cannot be read as {kind} of {group}/{version}; field types differ from the schema")]
pub struct ViewError {
    /// The kind that was asked for.
    pub kind: &'static str,
    /// Its group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What the parser said.
    #[source]
    pub source: serde_json::Error,
}

/// A typed view of one kind's objects.
pub trait View: Sized + Send + Sync + 'static {
    /// The API group; empty for the core group.
    const GROUP: &'static str;
    /// The version.
    const VERSION: &'static str;
    /// The kind.
    const KIND: &'static str;
    /// The plural, as in paths.
    const PLURAL: &'static str;
    /// Whether objects live in a namespace.
    const NAMESPACED: bool;

    /// Parses an object.
    fn from_json(bytes: &[u8]) -> Result<Self, ViewError>;

    /// The object as JSON, with `apiVersion` and `kind`.
    fn to_value(&self) -> Value;

    /// The metadata.
    fn meta(&self) -> &ObjectMeta;

    /// The metadata, for writing.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// Parses an object that is already JSON in memory.
    fn from_value(value: &Value) -> Result<Self, ViewError> {
        Self::from_json(value.to_string().as_bytes())
    }

    /// The object's bytes.
    fn to_bytes(&self) -> bytes::Bytes {
        bytes::Bytes::from(self.to_value().to_string())
    }

    /// `metadata.name`, or empty.
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`, or empty.
    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    /// `metadata.uid`, or empty.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }
}

/// Adds `apiVersion` and `kind` where the type does not write them itself.
fn with_kind(mut value: Value, group: &str, version: &str, kind: &str) -> Value {
    if let Some(map) = value.as_object_mut()
        && !map.contains_key("kind")
    {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        map.insert("apiVersion".to_owned(), api_version.into());
        map.insert("kind".to_owned(), kind.into());
    }
    value
}

#[cfg(test)]
mod tests;
