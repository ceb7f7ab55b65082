//! Certificate requests say who made them: whoever approves one relies on it, so nobody can say it for themselves.

use naru_api::Kind;
use serde_json::{Value, json};

use crate::user::User;

/// Writes the user into a new certificate request.
pub(crate) fn sign_off(kind: &Kind, user: &User, object: &mut Value) {
    if kind.collection() != "certificatesigningrequests.certificates.k8s.io" || !object["spec"].is_object() {
        return;
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
}
