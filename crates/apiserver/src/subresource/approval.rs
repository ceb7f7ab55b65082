//! Certificate requests: who may approve one, and the certificate of an approved one.
//!
//! A request for a client of this API is signed in the write that approves it: the authority is at hand here, so there
//! is no moment in which it is approved and not signed. Other signers are programs of their own.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use naru_api::{Status, meta};
use naru_identity::{Authority, Subject};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use crate::authorization::Attributes;
use crate::call::Call;
use crate::user::MASTERS;

/// The signer of clients of this API.
pub(crate) const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// What such a certificate may be for.
const USAGES: [&str; 3] = ["client auth", "digital signature", "key encipherment"];

/// Whether the user may decide about requests to the signer that `request` names.
///
/// # Errors
/// 403, as for the right `approve` on the signer or on all of its domain.
pub(super) fn allowed(call: &Call<'_>, request: &Value) -> Result<(), Status> {
    let signer = meta::text(request, "spec.signerName");
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let rbac = call.core.rbac.load();
    let may = |name: &str| {
        let right = Attributes {
            verb: "approve",
            group: "certificates.k8s.io",
            resource: "signers",
            name,
            ..Attributes::default()
        };
        rbac.allows(call.user, &right)
    };
    if may(signer) || may(&domain) {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName {signer:?}");
    Err(Status::forbidden(&call.route.kind, call.name(), &why))
}

/// Signs an approved request for a client of this API, once; or says in it why that cannot be.
pub(super) fn sign(authority: &Authority, request: &mut Value) {
    let has = |kind: &str| {
        let conditions = request["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == kind)
    };
    let done = request["status"]["certificate"].as_str().is_some_and(|c| !c.is_empty());
    let wanted = has("Approved") && !has("Denied") && !has("Failed") && !done;
    if !wanted || meta::text(request, "spec.signerName") != SIGNER {
        return;
    }
    match certificate(authority, request) {
        Ok(pem) => request["status"]["certificate"] = BASE64.encode(pem).into(),
        Err(why) => {
            let now = meta::time(Timestamp::now());
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": now, "lastTransitionTime": now});
            if let Some(conditions) = request["status"]["conditions"].as_array_mut() {
                conditions.push(failed);
            }
        }
    }
}

fn certificate(authority: &Authority, request: &Value) -> Result<String, String> {
    if !usages_are_a_clients(request) {
        return Err(format!("usages: expected {:?} and at most {}", USAGES[0], USAGES.join(", ")));
    }
    let (pem, subject) = read(request).ok_or("spec.request is not a PEM certificate request with a common name")?;
    if subject.groups.iter().any(|g| g == MASTERS) {
        return Err(format!("the group {MASTERS} is not given to anyone by request"));
    }
    authority.sign_request(&pem, &subject).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
        format!("{error}{cause}")
    })
}

/// Whether a request wants what a client's certificate may be for, and no more.
pub(crate) fn usages_are_a_clients(request: &Value) -> bool {
    let usages: Vec<&str> =
        request["spec"]["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    usages.contains(&USAGES[0]) && usages.iter().all(|u| USAGES.contains(u))
}

/// A certificate as `status.certificate` has it.
pub(crate) fn encoded(certificate: &str) -> String {
    BASE64.encode(certificate)
}

/// The request's text and whom it is for.
pub(crate) fn read(request: &Value) -> Option<(String, Subject)> {
    let pem = String::from_utf8(BASE64.decode(request["spec"]["request"].as_str()?).ok()?).ok()?;
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let name = &parsed.certification_request_info.subject;
    let user = name.iter_common_name().next()?.as_str().ok().filter(|n| !n.is_empty())?.to_owned();
    let groups = name.iter_organization().map(|o| o.as_str().map(str::to_owned)).collect::<Result<_, _>>().ok()?;
    Some((pem, Subject { user, groups }))
}
