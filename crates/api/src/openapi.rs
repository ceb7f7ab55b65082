//! OpenAPI.

use serde_json::Value;

use crate::kind::Registry;

/// The document at `/openapi/v3`.
pub fn v3_index(_registry: &Registry) -> Value {
    Value::Null
}

/// The document of one group and version; `None` when it is not served.
pub fn v3(_registry: &Registry, _group: &str, _version: &str) -> Option<bytes::Bytes> {
    None
}

/// The document at `/openapi/v2`.
pub fn v2(_registry: &Registry) -> bytes::Bytes {
    bytes::Bytes::new()
}
