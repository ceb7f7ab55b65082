//! Rules of rights and reviews.

use super::super::error::FieldError;
use super::super::spot::Spot;
use crate::kind::{Kind, Scope};

/// A Role or ClusterRole: only the latter speaks of paths.
pub(in super::super) fn role(kind: &Kind, root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if kind.scope == Scope::Cluster {
        return;
    }
    for rule in root.field("rules").items() {
        let paths = rule.field("nonResourceURLs");
        if !paths.is_empty() {
            errors.push(paths.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
    }
}

/// A rule: verbs on resources or paths.
pub(in super::super) fn policy_rule(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let verbs = rule.field("verbs");
    if verbs.value.as_array().is_some_and(Vec::is_empty) {
        errors.push(verbs.required("verbs must contain at least one value"));
    }
    let (paths, groups, resources) = (rule.field("nonResourceURLs"), rule.field("apiGroups"), rule.field("resources"));
    if !paths.is_empty() {
        if !resources.is_empty() || !groups.is_empty() {
            errors.push(paths.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return;
    }
    if groups.is_empty() {
        errors.push(groups.required("resource rules must supply at least one api group"));
    }
    if resources.is_empty() {
        errors.push(resources.required("resource rules must supply at least one resource"));
    }
}

/// Somebody who gets rights.
pub(in super::super) fn subject(subject: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let group = subject.field("apiGroup");
    match subject.field("kind").text() {
        "ServiceAccount" if !group.is_empty() => {
            errors.push(group.unsupported(&[""]));
        }
        "User" | "Group" if group.text() != "rbac.authorization.k8s.io" => {
            errors.push(group.unsupported(&["rbac.authorization.k8s.io"]));
        }
        _ => {}
    }
}

/// A request for a token.
pub(in super::super) fn token_request(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let lifetime = spec.field("expirationSeconds");
    match lifetime.number() {
        Some(n) if n < 600 => errors.push(lifetime.invalid("may not specify a duration less than 10 minutes")),
        Some(n) if n > 1 << 32 => errors.push(lifetime.invalid("may not specify a duration larger than 2^32 seconds")),
        _ => {}
    }
}

/// A question about somebody's rights.
pub(in super::super) fn review(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    self_review(spec, errors);
    if spec.field("user").is_empty() && spec.field("groups").is_empty() {
        errors.push(spec.field("user").invalid_value("\"\"", "at least one of user or group must be specified"));
    }
}

/// A question about one's own rights.
pub(in super::super) fn self_review(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let both = spec.present(&["resourceAttributes", "nonResourceAttributes"]);
    match both.len() {
        0 => errors.push(
            spec.field("resourceAttributes")
                .invalid_value("null", "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ),
        1 => {}
        _ => errors.push(
            spec.field("nonResourceAttributes").forbidden("cannot be specified in combination with resourceAttributes"),
        ),
    }
}

/// The selector of a list or watch that is asked about: as it was written, or read. Operators that are not known are let
/// pass, since whoever judges may know them.
pub(in super::super) fn selector(selector: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (raw, requirements) = (selector.field("rawSelector"), selector.field("requirements"));
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => errors.push(raw.invalid("may not specified at the same time as requirements")),
        (true, true) => {
            let text = format!("when {selector} is specified, requirements or rawSelector is required");
            errors.push(requirements.required(&text));
        }
        _ => {}
    }
    for requirement in requirements.items() {
        let (operator, values) = (requirement.field("operator"), requirement.field("values"));
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            _ => {}
        }
    }
}
