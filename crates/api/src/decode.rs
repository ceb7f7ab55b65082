//! Bytes to objects.

use serde_json::Value;

use crate::kind::Kind;
use crate::status::Status;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML (one document).
    Yaml,
}

/// What happens to unknown and repeated fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are refused.
    Strict,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

/// A decoded object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without unknown fields.
    pub object: Value,
    /// One sentence for every dropped field.
    pub warnings: Vec<String>,
}

/// Reads an object of `kind`.
pub fn decode(_kind: &Kind, body: &[u8], _format: Format, _mode: FieldValidation) -> Result<Decoded, Status> {
    let object = serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))?;
    Ok(Decoded { object, warnings: Vec::new() })
}
