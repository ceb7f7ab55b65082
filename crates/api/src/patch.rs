//! Patches.

use serde_json::Value;

use crate::kind::Kind;
use crate::status::Status;

/// Applies a JSON patch (RFC 6902).
pub fn json(_object: &mut Value, _patch: &[u8]) -> Result<(), Status> {
    Ok(())
}

/// Applies a merge patch (RFC 7386).
pub fn merge(_object: &mut Value, _patch: &Value) -> Result<(), Status> {
    Ok(())
}

/// Applies a strategic merge patch.
pub fn strategic(_kind: &Kind, _object: &mut Value, _patch: &Value) -> Result<(), Status> {
    Ok(())
}
