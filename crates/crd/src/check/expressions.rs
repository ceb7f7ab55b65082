//! What stands around the expressions of rules.

use serde_json::Value;

use super::list;
use crate::fault::Fault;
use crate::jsonpath::field_path;
use crate::path::Path;
use crate::schema::Schema;

/// What rules may say that they are about.
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Tells what is wrong with the rules of a schema, besides their expressions.
pub(super) fn check(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let rules = list(raw, "x-kubernetes-validations");
    if rules.is_empty() {
        return;
    }
    let all = path.field("x-kubernetes-validations");
    // Only read when a rule names a field.
    let mut read = None;
    for (index, rule) in rules.iter().enumerate() {
        let at = all.item(index);
        one(rule, &at, faults);
        let Some(field) = given(rule, "fieldPath") else { continue };
        let place = at.field("fieldPath");
        if field.trim().is_empty() {
            faults.push(Fault::invalid(place, field, "fieldPath must be non-empty if specified"));
        } else if breaks(field) {
            faults.push(Fault::invalid(place, field, "fieldPath must not contain line breaks"));
        } else if field_path(read.get_or_insert_with(|| Schema::read(raw)), field).is_err() {
            faults.push(Fault::invalid(place, field, "fieldPath must be a valid path"));
        }
    }
}

fn one(rule: &Value, at: &Path<'_>, faults: &mut Vec<Fault>) {
    let source = given(rule, "rule").unwrap_or_default().trim();
    let message = given(rule, "message");
    let told = message.unwrap_or_default().trim();
    if source.is_empty() {
        faults.push(Fault::required(at.field("rule"), "rule is not specified"));
    } else if message.is_some() && told.is_empty() {
        faults.push(Fault::invalid(
            at.field("message"),
            message.unwrap_or_default(),
            "message must be non-empty if specified",
        ));
    } else if breaks(told) {
        faults.push(Fault::invalid(
            at.field("message"),
            message.unwrap_or_default(),
            "message must not contain line breaks",
        ));
    } else if breaks(source) && told.is_empty() {
        faults.push(Fault::required(at.field("message"), "message must be specified if rule contains line breaks"));
    }
    if given(rule, "messageExpression").is_some_and(|text| text.trim().is_empty()) {
        let why = "messageExpression must be non-empty if specified";
        faults.push(Fault::required(at.field("messageExpression"), why));
    }
    if let Some(reason) = given(rule, "reason").filter(|reason| !REASONS.contains(reason)) {
        faults.push(Fault::not_supported(at.field("reason"), reason, REASONS));
    }
}

/// A text that is there; empty text is not.
fn given<'r>(rule: &'r Value, key: &str) -> Option<&'r str> {
    rule.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}
