//! Kinds that users define: their objects, and the definitions themselves.
//!
//! Both are judged by `naru_crd`, which knows nothing of metadata; here its faults become errors like all others.

use naru_crd::{Fault, Version};
use serde_json::Value;

use super::error::FieldError;

/// What is wrong with an object; with `old` only what is wrong with what changed.
pub(super) fn object(version: &Version, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    tell(version.faults(object, old), errors);
}

/// What is wrong with an object of which only the status was written.
pub(super) fn status(version: &Version, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    tell(version.status_faults(new, old), errors);
}

/// What is wrong with a definition.
pub(super) fn definition(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    tell(naru_crd::faults(definition, old), errors);
}

/// What is wrong with a definition of which only the status was written: what is stored must stay readable.
pub(super) fn definition_status(definition: &Value, errors: &mut Vec<FieldError>) {
    let faults = naru_crd::faults(definition, Some(definition));
    tell(faults.into_iter().filter(|fault| fault.path.starts_with("status.")).collect(), errors);
}

fn tell(faults: Vec<Fault>, errors: &mut Vec<FieldError>) {
    errors.extend(faults.into_iter().map(FieldError::from));
}

#[cfg(test)]
mod tests;
