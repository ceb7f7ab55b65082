//! Rules of certificate requests: what is asked for, what was decided, and who may say so through which path.

use serde_json::Value;

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use crate::meta;

/// What a certificate can be asked for, in the order in which clients are told.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The conditions that a decision makes.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const CONDITIONS: &str = "status.conditions";

/// The path by which a request is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Through {
    /// Where decisions are written.
    Approval,
    /// Where certificates are written.
    Status,
}

/// A request for a certificate: who is to sign it, and for how long.
pub(in super::super) fn spec(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let lifetime = spec.field("expirationSeconds");
    if lifetime.number().is_some_and(|n| n < 600) {
        errors.push(lifetime.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
    let usages = spec.field("usages");
    let mut seen = Vec::new();
    for usage in usages.items() {
        if !USAGES.contains(&usage.text()) {
            errors.push(usage.unsupported(&USAGES));
        }
        if seen.contains(&usage.text()) {
            errors.push(usage.duplicate());
        }
        seen.push(usage.text());
    }
    let signer = spec.field("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        errors.push(signer.invalid("the legacy signerName is not allowed via this API version"));
        return;
    }
    let (domain, path) = match signer.text().split('/').collect::<Vec<_>>()[..] {
        // That it is missing is told by the schema.
        [""] => return,
        [domain, path] => (domain, path),
        _ => {
            let text = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(signer.invalid(text));
            return;
        }
    };
    for label in domain.split('.') {
        if let Err(why) = names::dns_label(label) {
            errors.push(signer.invalid_value(format!("{domain:?}"), format!("validating label {label:?}: {why}")));
        }
    }
    if !domain.contains('.') {
        let text = "should be a domain with at least two segments separated by dots";
        errors.push(signer.invalid_value(format!("{domain:?}"), text));
    }
    for label in path.split('.') {
        if let Err(why) = names::dns_subdomain(label) {
            errors.push(signer.invalid_value(format!("{path:?}"), format!("validating label {label:?}: {why}")));
        }
    }
}

/// What was decided.
pub(in super::super) fn status(root: &Spot<'_>, old: &Value, errors: &mut Vec<FieldError>) {
    let status = root.field("status");
    let conditions = status.field("conditions");
    let decided = |object: &Value| DECISIONS.iter().all(|of| !conditions_of(object, of).is_empty());
    let (was_both, mut seen) = (decided(old), Vec::new());
    for condition in conditions.items() {
        let (kind, state) = (condition.field("type"), condition.field("status"));
        let of = condition.value["type"].as_str().unwrap_or_default();
        if of.is_empty() {
            errors.push(kind.required(""));
        }
        let fixed = DECISIONS.contains(&of) || of == "Failed";
        let states: &[&str] = if fixed { &["True"] } else { &["False", "True", "Unknown"] };
        match state.text() {
            "" => errors.push(state.required("")),
            text if !states.contains(&text) => errors.push(state.unsupported(states)),
            _ => {}
        }
        let other = DECISIONS.iter().any(|decision| *decision != of && seen.contains(decision));
        if DECISIONS.contains(&of) && other && !was_both {
            errors.push(conditions.invalid_value(kind.value, "Approved and Denied conditions are mutually exclusive"));
        }
        if seen.contains(&of) {
            errors.push(kind.duplicate());
        }
        seen.push(of);
    }
}

/// What may not change, through one path or the other.
pub(in super::super) fn changes(old: &Value, new: &Value, through: Through, errors: &mut Vec<FieldError>) {
    let counted = |object: &Value, of: &str| conditions_of(object, of).len();
    for of in DECISIONS.iter().copied().chain(["Failed"]) {
        if counted(new, of) < counted(old, of) {
            errors
                .push(FieldError::forbidden(CONDITIONS, format!("updates may not remove a condition of type {of:?}")));
        }
    }
    for of in DECISIONS.iter().filter(|_| through == Through::Status) {
        let (before, after) = (conditions_of(old, of), conditions_of(new, of));
        if after.len() > before.len() {
            errors.push(FieldError::forbidden(CONDITIONS, format!("updates may not add a condition of type {of:?}")));
        } else if after.len() == before.len() && after != before {
            errors
                .push(FieldError::forbidden(CONDITIONS, format!("updates may not modify a condition of type {of:?}")));
        }
    }
    let path = "status.certificate";
    let (before, after) = (meta::text(old, path), meta::text(new, path));
    if before == after {
        return;
    }
    if through != Through::Status {
        errors.push(FieldError::forbidden(path, "updates may not set certificate content"));
    } else if !before.is_empty() {
        errors.push(FieldError::forbidden(path, "updates may not modify existing certificate content"));
    }
}

fn conditions_of<'a>(object: &'a Value, of: &str) -> Vec<&'a Value> {
    let conditions = meta::at(object, CONDITIONS).as_array().map_or(&[] as &[Value], Vec::as_slice);
    conditions.iter().filter(|condition| condition["type"] == of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(conditions: &[&str], certificate: &str) -> Value {
        let one = |of: &&str| json!({"type": of, "status": "True"});
        json!({"status": {"conditions": conditions.iter().map(one).collect::<Vec<_>>(), "certificate": certificate}})
    }

    fn told(old: &Value, new: &Value, through: Through) -> Vec<String> {
        let mut errors = Vec::new();
        status(&Spot::root(new), old, &mut errors);
        changes(old, new, through, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_decision_is_one_and_stays() {
        let (none, approved) = (request(&[], ""), request(&["Approved"], ""));
        assert_eq!(told(&none, &approved, Through::Approval), [""; 0]);
        let both = told(&none, &request(&["Approved", "Denied"], ""), Through::Approval);
        assert_eq!(
            both,
            ["status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"]
        );
        let taken = told(&approved, &none, Through::Approval);
        assert_eq!(taken, ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]);
        let twice = told(&none, &request(&["Approved", "Approved"], ""), Through::Approval);
        assert_eq!(twice, ["status.conditions[1].type: Duplicate value: \"Approved\""]);
        let mut no = approved.clone();
        no["status"]["conditions"][0]["status"] = "False".into();
        let no = told(&none, &no, Through::Approval);
        assert_eq!(no, ["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""]);
    }

    #[test]
    fn who_signs_does_not_decide_and_who_decides_does_not_sign() {
        let (none, approved) = (request(&[], ""), request(&["Approved"], ""));
        let added = told(&none, &approved, Through::Status);
        assert_eq!(added, ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]);
        assert_eq!(told(&none, &request(&["Failed", "Mine"], "c"), Through::Status), [""; 0]);
        let set = told(&none, &request(&[], "c"), Through::Approval);
        assert_eq!(set, ["status.certificate: Forbidden: updates may not set certificate content"]);
        let changed = told(&request(&[], "c"), &request(&[], "d"), Through::Status);
        assert_eq!(changed, ["status.certificate: Forbidden: updates may not modify existing certificate content"]);
    }
}
