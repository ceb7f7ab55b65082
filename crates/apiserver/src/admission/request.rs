//! Certificate requests say who made them: whoever approves one relies on it, so nobody can say it for themselves. And
//! nobody becomes all-mighty by request.

use naru_api::{FieldError, Kind, Status, meta};
use serde_json::{Value, json};

use crate::subresource::approval::{self, signers::Signer};
use crate::user::{MASTERS, User};

/// Writes the user into a new certificate request.
///
/// # Errors
/// 403 for one that asks to be one of [`MASTERS`].
pub(crate) fn sign_off(kind: &Kind, user: &User, object: &mut Value) -> Result<(), Status> {
    if kind.collection() != approval::COLLECTION || !object["spec"].is_object() {
        return Ok(());
    }
    let signer = meta::text(object, "spec.signerName");
    let for_master =
        || approval::read(object).is_ok_and(|(_, read)| read.subject.groups.iter().any(|group| group == MASTERS));
    if Signer::of(signer) == Some(Signer::ApiClient) && for_master() {
        let why = format!("use of {signer} signer with {MASTERS} group is not allowed");
        return Err(Status::forbidden(kind, meta::name(object), &why));
    }
    let extra = (!user.extra.is_empty()).then(|| json!(user.extra));
    let uid = (!user.uid.is_empty()).then(|| json!(user.uid));
    for (field, value) in
        [("username", Some(json!(user.name))), ("groups", Some(json!(user.groups))), ("uid", uid), ("extra", extra)]
    {
        match (value, object["spec"].as_object_mut()) {
            (Some(value), Some(spec)) => drop(spec.insert(field.to_owned(), value)),
            (None, Some(spec)) => drop(spec.remove(field)),
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with the request that a new certificate request holds, beyond its form.
pub(crate) fn fault(kind: &Kind, object: &Value) -> Option<FieldError> {
    if kind.collection() != approval::COLLECTION {
        return None;
    }
    let why = approval::read(object).err()?;
    Some(FieldError::invalid("spec.request", &object["spec"]["request"], why))
}
