//! Certificate requests: who may decide about one, who may sign one, and the certificate of an approved one.
//!
//! A request to a signer of the cluster is signed in the write that approves it: the authority is at hand here, so there
//! is no moment in which it is approved and not signed. Other signers are programs of their own, which write the
//! certificate into the status.

pub(crate) mod signers;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use naru_api::{FieldError, Kind, Status, meta, validate};
use naru_identity::{CertificateRequest, IdentityError, Terms, check_certificates};
use serde_json::{Value, json};

use self::signers::Signer;
use crate::admission::joining;
use crate::authorization::Attributes;
use crate::call::Call;
use crate::object;
use crate::state::Core;
use crate::user::User;
use crate::verbs::Written;

/// Where certificate requests lie.
pub(crate) const COLLECTION: &str = "certificatesigningrequests.certificates.k8s.io";
/// How long a certificate is valid, unless less is asked for.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest life of one.
const SHORTEST: Duration = Duration::from_secs(600);
/// How long before it was signed it begins: clocks differ.
const BEFORE: Duration = Duration::from_secs(300);

/// Takes over what was decided about a request, and signs it if it is now to be signed; says whether it was.
///
/// # Errors
/// 403 without the right to decide for this signer, 422 for a decision that is none.
pub(super) fn decide(call: &Call<'_>, old: &Value, given: &Value, new: &mut Value) -> Result<bool, Status> {
    let kind = &call.route.kind;
    allowed(call.core, call.user, kind, old, "approve")?;
    for field in ["annotations", "labels", "finalizers", "ownerReferences"] {
        match given["metadata"].get(field) {
            Some(value) => meta::set(new, field, value.clone()),
            None => drop(meta::unset(new, field)),
        }
    }
    match given["status"].get("conditions").filter(|conditions| !conditions.is_null()) {
        Some(conditions) => new["status"]["conditions"] = conditions.clone(),
        None => {
            new["status"].as_object_mut().map(|status| status.remove("conditions"));
        }
    }
    let now = Timestamp::now();
    stamp(old, new, now);
    let errors = validate::approval(kind, old, new);
    if !errors.is_empty() {
        return Err(Status::invalid(kind, meta::name(old), errors));
    }
    Ok(sign(call.core, new, now))
}

/// After a decision by which a request was signed: a node whose certificate that is becomes one of the cluster.
///
/// # Errors
/// When its Node cannot be written.
pub(super) async fn settle(core: &Core, written: &Written) -> Result<(), Status> {
    let request = object::parse(&written.served);
    match Signer::of(meta::text(&request, "spec.signerName")) {
        Some(Signer::NodeClient) => joining::take_in(core, &request).await,
        _ => Ok(()),
    }
}

/// Judges a changed status of a certificate request, and completes it.
///
/// # Errors
/// 403 without the right to sign for its signer, 422 for a certificate that is none.
pub(crate) fn judge_status(core: &Core, user: &User, kind: &Kind, old: &Value, new: &mut Value) -> Result<(), Status> {
    if kind.collection() != COLLECTION {
        return Ok(());
    }
    ["Approved", "Denied"].iter().for_each(|of| keep(old, new, of));
    stamp(old, new, Timestamp::now());
    let differs = |path: &str| meta::at(old, path) != meta::at(new, path);
    if differs("status.certificate") || differs("status.conditions") {
        allowed(core, user, kind, old, "sign")?;
    }
    let certificate = meta::text(new, "status.certificate");
    if differs("status.certificate") && !certificate.is_empty() {
        let pem = BASE64.decode(certificate).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let judged = pem.ok_or_else(|| "must contain at least one CERTIFICATE PEM block".to_owned());
        if let Err(why) = judged.and_then(|pem| check_certificates(&pem)) {
            let error = FieldError::invalid("status.certificate", &json!("<certificate data>"), why);
            return Err(Status::invalid(kind, meta::name(old), vec![error]));
        }
    }
    Ok(())
}

/// Whether the user may decide about requests to the signer that `request` names (`approve`), or sign them (`sign`).
///
/// # Errors
/// 403, where the right is held neither on the signer nor on all of its domain.
fn allowed(core: &Core, user: &User, kind: &Kind, request: &Value, verb: &str) -> Result<(), Status> {
    let signer = meta::text(request, "spec.signerName");
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let rbac = core.rbac.load();
    let may = |name: &str| {
        let right =
            Attributes { verb, group: "certificates.k8s.io", resource: "signers", name, ..Attributes::default() };
        rbac.allows(user, &right)
    };
    if may(signer) || may(&domain) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(kind, meta::name(request), &why))
}

fn conditions(request: &Value) -> impl Iterator<Item = &Value> {
    request["status"]["conditions"].as_array().into_iter().flatten()
}

/// Leaves the conditions of a type as they were, where none was added or taken away: whoever writes the status may write
/// down times in another form.
fn keep(old: &Value, new: &mut Value, of: &str) {
    let before: Vec<&Value> = conditions(old).filter(|condition| condition["type"] == of).collect();
    let after = new["status"].get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten();
    let after: Vec<&mut Value> = after.filter(|condition| condition["type"] == of).collect();
    if before.len() == after.len() {
        after.into_iter().zip(before).for_each(|(after, before)| *after = before.clone());
    }
}

/// Writes down when each condition came, where nobody says.
fn stamp(old: &Value, new: &mut Value, now: Timestamp) {
    let list = new.get_mut("status").and_then(|status| status.get_mut("conditions")).and_then(Value::as_array_mut);
    for condition in list.into_iter().flatten().filter(|condition| condition.is_object()) {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = meta::time(now).into();
        }
        if condition["lastTransitionTime"].is_null() {
            let same = |known: &&Value| known["type"] == condition["type"] && known["status"] == condition["status"];
            let known = conditions(old).find(same).map(|known| known["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = known.filter(Value::is_string).unwrap_or_else(|| meta::time(now).into());
        }
    }
}

/// Signs an approved request to a signer of the cluster, once; or says in it why that cannot be.
fn sign(core: &Core, request: &mut Value, now: Timestamp) -> bool {
    let has = |of: &str| conditions(request).any(|condition| condition["type"] == of);
    let done = !meta::text(request, "status.certificate").is_empty();
    let wanted = has("Approved") && !has("Denied") && !has("Failed") && !done;
    let Some(signer) = Signer::of(meta::text(request, "spec.signerName")).filter(|_| wanted) else { return false };
    match certificate(core, signer, request, now) {
        Ok(pem) => {
            request["status"]["certificate"] = encoded(&pem).into();
            true
        }
        Err(why) => {
            let now = meta::time(now);
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": now, "lastTransitionTime": now});
            if let Some(conditions) = request["status"]["conditions"].as_array_mut() {
                conditions.push(failed);
            }
            false
        }
    }
}

fn certificate(core: &Core, signer: Signer, request: &Value, now: Timestamp) -> Result<String, String> {
    let (_, wish) = read(request)?;
    let usages = signer.judge(&wish, &usages(request))?;
    if signer == Signer::NodeClient {
        return joining::certificate(core, request);
    }
    let terms = Terms { usages, now, before: BEFORE, life: life(request) };
    core.authority.sign(&wish, &terms).map_err(|error| told(&error))
}

/// An error with its cause.
pub(crate) fn told(error: &IdentityError) -> String {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// How long the certificate is to be valid.
fn life(request: &Value) -> Duration {
    let asked = request["spec"]["expirationSeconds"].as_u64().map(Duration::from_secs);
    asked.map_or(LONGEST, |asked| asked.clamp(SHORTEST, LONGEST))
}

/// What the certificate is to be used for.
pub(crate) fn usages(request: &Value) -> Vec<&str> {
    request["spec"]["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A certificate as `status.certificate` has it.
pub(crate) fn encoded(certificate: &str) -> String {
    BASE64.encode(certificate)
}

/// The request's text, and what it says.
///
/// # Errors
/// Why it is none.
pub(crate) fn read(request: &Value) -> Result<(String, CertificateRequest), String> {
    let bytes = request["spec"]["request"].as_str().and_then(|text| BASE64.decode(text).ok()).unwrap_or_default();
    let pem = String::from_utf8(bytes).map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    let read = CertificateRequest::read(&pem).map_err(|error| error.to_string())?;
    Ok((pem, read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_get_their_times_once() {
        let now: Timestamp = "2026-05-03T00:00:00Z".parse().expect("a time");
        let old = json!({"status": {"conditions": [
            {"type": "A", "status": "True", "lastTransitionTime": "2026-05-01T00:00:00Z"}]}});
        let mut new = json!({"status": {"conditions": [
            {"type": "A", "status": "True"}, {"type": "B", "status": "True", "lastUpdateTime": "2026-05-02T00:00:00Z"}]}});
        stamp(&old, &mut new, now);
        let list = &new["status"]["conditions"];
        assert_eq!(list[0]["lastTransitionTime"], "2026-05-01T00:00:00Z", "nothing went over");
        assert_eq!(list[0]["lastUpdateTime"], "2026-05-03T00:00:00Z");
        assert_eq!(list[1]["lastUpdateTime"], "2026-05-02T00:00:00Z");
        assert_eq!(list[1]["lastTransitionTime"], "2026-05-03T00:00:00Z");
    }

    #[test]
    fn a_life_is_as_long_as_asked_within_bounds() {
        let life = |seconds: Value| super::life(&json!({"spec": {"expirationSeconds": seconds}})).as_secs();
        assert_eq!([life(json!(3600)), life(json!(1)), life(json!(1_000_000_000))], [3600, 600, 365 * 86_400]);
        assert_eq!(life(Value::Null), 365 * 86_400);
    }
}
