//! Rules of admission policies and their bindings.

use naru_cel::RESERVED;

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;

/// How many conditions and audit annotations a policy may have.
const CONDITIONS: usize = 64;
const AUDIT_ANNOTATIONS: usize = 20;
/// How long the expression of an audit annotation may be, in bytes.
const AUDIT_EXPRESSION: usize = 5 * 1024;

/// A ValidatingAdmissionPolicy's spec.
pub(in super::super) fn validating(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    common(spec, errors);
    let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let text = "validations or auditAnnotations must contain at least one item";
        errors.extend([validations.required(text), annotations.required(text)]);
    }
    if annotations.items().count() > AUDIT_ANNOTATIONS {
        errors.push(annotations.invalid(format!("must not have more than {AUDIT_ANNOTATIONS} auditAnnotations")));
    }
    super::check::unique(&annotations, "key", errors);
}

/// A MutatingAdmissionPolicy's spec.
pub(in super::super) fn mutating(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    common(spec, errors);
    let mutations = spec.field("mutations");
    if mutations.is_empty() {
        errors.push(mutations.required("mutations must contain at least one item"));
    }
    let again = spec.field("reinvocationPolicy");
    if again.is_empty() {
        errors.push(again.required(""));
    }
}

fn common(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let constraints = spec.field("matchConstraints");
    let rules = constraints.field("resourceRules");
    if !constraints.exists() {
        errors.push(constraints.required(""));
    } else if rules.is_empty() {
        // Without one, nobody could say which types the expressions are about.
        errors.push(rules.required(""));
    }
    let conditions = spec.field("matchConditions");
    let count = conditions.items().count();
    if count > CONDITIONS {
        errors.push(FieldError::too_many(conditions.to_string(), count, CONDITIONS));
    }
    for condition in conditions.items() {
        let (name, expression) = (condition.field("name"), condition.field("expression"));
        if name.is_empty() {
            errors.push(name.required(""));
        } else if let Err(why) = names::label_key(name.text()) {
            errors.push(name.invalid(why));
        }
        if expression.text().trim().is_empty() {
            errors.push(expression.required(""));
        }
    }
    super::check::unique(&conditions, "name", errors);
}

/// The keys of audit annotations stand behind the policy's name.
pub(in super::super) fn annotations(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (spec, metadata) = (root.field("spec"), root.field("metadata"));
    let policy = metadata.field("name");
    for annotation in spec.field("auditAnnotations").items() {
        let (key, value) = (annotation.field("key"), annotation.field("valueExpression"));
        if policy.is_empty() {
            errors.push(key.invalid("requires metadata.name be non-empty"));
        } else {
            let whole = format!("{}/{}", policy.text(), key.text());
            if let Err(why) = names::label_key(&whole) {
                errors.push(key.invalid_value(format!("{whole:?}"), why));
            }
        }
        let text = value.text().trim();
        if text.is_empty() {
            errors.push(value.required("valueExpression is not specified"));
        } else if text.len() > AUDIT_EXPRESSION {
            errors.push(value.required(&format!("must not exceed {AUDIT_EXPRESSION} bytes in length")));
        }
    }
}

/// The kind of a policy's parameters.
pub(in super::super) fn param_kind(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (version, kind) = (of.field("apiVersion"), of.field("kind"));
    if version.is_empty() {
        errors.push(version.required(""));
    } else {
        let (group, name) = version.text().split_once('/').unwrap_or(("", version.text()));
        if name.contains('/') {
            errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text())));
        } else {
            if let Err(why) = names::dns_subdomain(group)
                && !group.is_empty()
            {
                errors.push(version.invalid_value(format!("{group:?}"), why));
            }
            if name.is_empty() {
                errors.push(version.invalid("version must be specified"));
            } else if let Err(why) = names::dns_1035_label(name) {
                errors.push(version.invalid_value(format!("{name:?}"), why));
            }
        }
    }
    if kind.is_empty() {
        errors.push(kind.required(""));
    } else if let Err(why) = names::dns_1035_label(&kind.text().to_lowercase()) {
        errors.push(kind.invalid(format!("may have mixed case, but should otherwise match: {why}")));
    }
}

/// Which parameters a binding means.
pub(in super::super) fn param_ref(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (name, selector) = (of.field("name"), of.field("selector"));
    if let Err(why) = names::path_segment(name.text())
        && !name.is_empty()
    {
        errors.push(name.invalid(why));
    }
    match (name.is_empty(), selector.exists()) {
        (true, false) => errors.push(of.required("one of name or selector must be specified")),
        (false, true) => {
            let text = "name and selector are mutually exclusive";
            errors.extend([name.forbidden(text), selector.forbidden(text)]);
        }
        _ => {}
    }
    let otherwise = of.field("parameterNotFoundAction");
    if otherwise.is_empty() {
        errors.push(otherwise.required(""));
    }
}

/// A ValidatingAdmissionPolicyBinding's spec.
pub(in super::super) fn validating_binding(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    mutating_binding(spec, errors);
    let actions = spec.field("validationActions");
    let mut seen = Vec::new();
    for action in actions.items() {
        if seen.contains(&action.text()) {
            errors.push(action.duplicate());
        }
        seen.push(action.text());
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                    response and headers serves no purpose)";
        errors.push(actions.invalid(text));
    }
    if seen.is_empty() {
        errors.push(actions.required("at least one validation action is required"));
    }
}

/// A MutatingAdmissionPolicyBinding's spec.
pub(in super::super) fn mutating_binding(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let policy = spec.field("policyName");
    if policy.is_empty() {
        errors.push(policy.required(""));
    } else if let Err(why) = names::dns_subdomain(policy.text()) {
        errors.push(policy.invalid(why));
    }
}

/// A variable of a policy.
pub(in super::super) fn variable(variable: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (name, expression) = (variable.field("name"), variable.field("expression"));
    if name.text().trim().is_empty() {
        errors.push(name.required("name is not specified"));
    } else if !is_identifier(name.text()) {
        errors.push(name.invalid("name is not a valid CEL identifier"));
    }
    if expression.text().trim().is_empty() {
        errors.push(expression.required("expression is not specified"));
    }
}

fn is_identifier(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !RESERVED.contains(&text)
}

/// One thing that a policy demands.
pub(in super::super) fn validation(validation: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (expression, message) = (validation.field("expression"), validation.field("message"));
    let made = validation.field("messageExpression");
    if expression.text().trim().is_empty() {
        errors.push(expression.required("expression is not specified"));
    }
    if !made.is_empty() && made.text().trim().is_empty() {
        errors.push(made.invalid("must be non-empty if specified"));
    }
    if !message.is_empty() && message.text().trim().is_empty() {
        errors.push(message.invalid("message must be non-empty if specified"));
    } else if message.text().trim().contains(['\n', '\r']) {
        errors.push(message.invalid("message must not contain line breaks"));
    }
}

/// One change that a policy makes.
pub(in super::super) fn mutation(mutation: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (apply, patch) = (mutation.field("applyConfiguration"), mutation.field("jsonPatch"));
    let (used, other) = match mutation.field("patchType").text() {
        "ApplyConfiguration" => (&apply, &patch),
        "JSONPatch" => (&patch, &apply),
        _ => return,
    };
    let sort = mutation.field("patchType");
    let sort = sort.text();
    if !used.exists() {
        errors.push(used.required(&format!("must be specified when patchType is {sort}")));
    } else if used.field("expression").text().trim().is_empty() {
        errors.push(used.field("expression").required("expression is not specified"));
    }
    if other.exists() {
        errors.push(other.forbidden(format!("must not be specified when patchType is {sort}")));
    }
}
