//! Rules that objects must keep.

mod error;
pub mod names;

pub use error::{FieldError, FieldReason};

use serde_json::Value;

use crate::kind::Kind;

/// What is wrong with a new object.
pub fn create(_kind: &Kind, _object: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// What is wrong with a changed object.
pub fn update(_kind: &Kind, _old: &Value, _new: &Value) -> Vec<FieldError> {
    Vec::new()
}
