//! What the server adds to objects.

use serde_json::Value;

use crate::kind::Kind;

/// Fills in defaults.
pub fn default(_kind: &Kind, _object: &mut Value) {}

/// Makes a new object ready: drops status, sets generation.
pub fn prepare_create(_kind: &Kind, _object: &mut Value) {}

/// Makes a changed object ready: keeps status and immutable metadata, raises the generation when the spec differs.
pub fn prepare_update(_kind: &Kind, _old: &Value, _new: &mut Value) {}

/// Makes a changed status ready: keeps everything but the status.
pub fn prepare_status(_kind: &Kind, _old: &Value, _new: &mut Value) {}
