//! Checks that many rules share.

use std::net::IpAddr;

use serde_json::Value;

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use crate::select::LabelSelector;

pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(super) const PORT: &str = "must be between 1 and 65535, inclusive";

/// Each named number is at least 0.
pub(super) fn not_negative(spot: &Spot<'_>, fields: &[&str], errors: &mut Vec<FieldError>) {
    for name in fields {
        let field = spot.field(name);
        if field.number().is_some_and(|n| n < 0) {
            errors.push(field.invalid(NOT_NEGATIVE));
        }
    }
}

/// A port number.
pub(super) fn port(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if spot.number().is_some_and(|n| !(1..=65_535).contains(&n)) {
        errors.push(spot.invalid(PORT));
    }
}

/// A port number or the name of one.
pub(super) fn port_or_name(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    match spot.value {
        Value::Number(_) => port(spot, errors),
        Value::String(name) => port_name(spot, name, errors),
        _ => {}
    }
}

/// The name of a port: an IANA service name.
pub(super) fn port_name(spot: &Spot<'_>, name: &str, errors: &mut Vec<FieldError>) {
    let mut tell = |why: &str| errors.push(spot.invalid(why));
    if name.len() > 15 {
        tell("must be no more than 15 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        tell("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        tell("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        tell("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        tell("must not begin or end with a hyphen");
    }
}

/// An IP address.
pub(super) fn ip(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if spot.text().parse::<IpAddr>().is_err() {
        errors.push(spot.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
    }
}

/// An address range.
pub(super) fn cidr(spot: &Spot<'_>, errors: &mut Vec<FieldError>) -> Option<ipnet::IpNet> {
    let parsed = spot.text().parse().ok();
    if parsed.is_none() {
        errors.push(spot.invalid("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"));
    }
    parsed
}

/// A list of address ranges.
pub(super) fn cidrs(list: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for range in list.items() {
        cidr(&range, errors);
    }
}

/// A DNS label.
pub(super) fn label(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !spot.is_empty()
        && let Err(why) = names::dns_label(spot.text())
    {
        errors.push(spot.invalid(why));
    }
}

/// A DNS subdomain.
pub(super) fn subdomain(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !spot.is_empty()
        && let Err(why) = names::dns_subdomain(spot.text())
    {
        errors.push(spot.invalid(why));
    }
}

/// No two objects of a list have the same text in a field.
pub(super) fn unique(list: &Spot<'_>, field: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for item in list.items() {
        let text = item.value.get(field).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        if seen.contains(&text) {
            errors.push(item.field(field).duplicate());
        } else {
            seen.push(text);
        }
    }
}

/// A wildcard stands alone.
pub(super) fn alone(list: &Spot<'_>, what: &str, errors: &mut Vec<FieldError>) {
    if list.items().count() > 1 && list.items().any(|item| item.text() == "*") {
        errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
    }
}

/// A relative path that stays where it is.
pub(super) fn local_path(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if spot.text().starts_with('/') {
        errors.push(spot.invalid("must be a relative path"));
    }
    no_climbing(spot, errors);
}

/// A path without `..`.
pub(super) fn no_climbing(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if spot.text().split('/').any(|part| part == "..") {
        errors.push(spot.invalid("must not contain '..'"));
    }
}

/// A whole number or a percentage.
pub(super) fn number_or_percent(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    match spot.value {
        Value::Number(_) if spot.number().is_some_and(|n| n < 0) => errors.push(spot.invalid(NOT_NEGATIVE)),
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
            if digits.is_none() {
                let text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                            '93%', regex used for validation is '[0-9]+%')";
                errors.push(spot.invalid(text));
            }
        }
        _ => {}
    }
}

/// Whether a number or percentage is zero.
pub(super) fn is_zero(spot: &Spot<'_>) -> bool {
    match spot.value {
        Value::Number(_) => spot.number() == Some(0),
        Value::String(text) => text.trim_end_matches('%').trim_start_matches('0').is_empty(),
        _ => true,
    }
}

/// The keys, values and operators of a label selector.
pub(super) fn label_selector(spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    super::super::metadata::labels(&spot.field("matchLabels"), errors);
    for term in spot.field("matchExpressions").items() {
        let (key, operator, values) = (term.field("key"), term.field("operator"), term.field("values"));
        if let Err(why) = names::label_key(key.text()) {
            errors.push(key.invalid(why));
        }
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            _ => {}
        }
        for value in values.items() {
            if let Err(why) = names::label_value(value.text()) {
                errors.push(value.invalid(why));
            }
        }
    }
}

/// A workload's selector is not empty and finds its own template's pods.
pub(super) fn selects_own_pods(spec: &Spot<'_>, what: &str, errors: &mut Vec<FieldError>) {
    let selector = spec.field("selector");
    if !selector.exists() {
        return;
    }
    let Ok(parsed) = LabelSelector::from_object(selector.value) else { return };
    if parsed.is_everything() {
        errors.push(selector.invalid(format!("empty selector is invalid for {what}")));
        return;
    }
    let (template, metadata) = (spec.field("template"), "metadata");
    let metadata = template.field(metadata);
    let labels = metadata.field("labels");
    if !parsed.matches(&labels.value.as_object()) {
        let shown = if labels.exists() { labels.value.to_string() } else { "null".to_owned() };
        errors.push(labels.invalid_value(shown, "`selector` does not match template `labels`"));
    }
}
