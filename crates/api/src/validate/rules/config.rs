//! Rules of configuration and small kinds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::error::FieldError;
use super::super::spot::Spot;
use super::check;
use crate::meta;

/// The bytes that a ConfigMap or Secret may hold.
const MAX_DATA: usize = 1024 * 1024;

fn key_is_valid(key: &str) -> bool {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    plain && !key.is_empty() && key.len() <= 253 && key != "." && !key.starts_with("..")
}

fn keys(map: &Spot<'_>, errors: &mut Vec<FieldError>) -> usize {
    let mut size = 0;
    for (key, value) in map.entries() {
        if !key_is_valid(key) {
            let text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
                        or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
            errors.push(map.key(key, &Value::Null).invalid_value(format!("{key:?}"), text));
        }
        size += value.text().len();
    }
    size
}

/// A ConfigMap.
pub(in super::super) fn config_map(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (data, binary) = (root.field("data"), root.field("binaryData"));
    // Base64 is a third longer than what it stands for.
    let size = keys(&data, errors) + keys(&binary, errors) / 4 * 3;
    for (key, value) in binary.entries() {
        if data.value.get(key).is_some() {
            errors.push(value.invalid_value(format!("{key:?}"), "duplicate of key present in data"));
        }
    }
    if size > MAX_DATA {
        errors.push(FieldError::too_long("", MAX_DATA));
    }
}

/// A Secret: some types must hold certain keys.
pub(in super::super) fn secret(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let data = root.field("data");
    if keys(&data, errors) / 4 * 3 > MAX_DATA {
        errors.push(FieldError::too_long("data", MAX_DATA));
    }
    let needed: &[&str] = match root.field("type").text() {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if meta::annotation(root.value, name).unwrap_or_default().is_empty() {
                errors.push(FieldError::required(format!("metadata.annotations[{name}]"), ""));
            }
            &[]
        }
        _ => &[],
    };
    for key in needed {
        match data.value.get(key) {
            None => errors.push(data.key(key, &Value::Null).required("")),
            Some(text) if key.starts_with(".docker") => docker(&data.key(key, text), errors),
            Some(_) => {}
        }
    }
    if root.field("type").text() == "kubernetes.io/basic-auth" && data.present(&["username", "password"]).is_empty() {
        errors.extend(["username", "password"].map(|key| data.key(key, &Value::Null).required("")));
    }
}

/// What registries are asked with is JSON; what is wrong with it is told without telling what it says.
fn docker(file: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let text = STANDARD.decode(file.text()).unwrap_or_default();
    if let Err(why) = serde_json::from_slice::<serde::de::IgnoredAny>(&text) {
        errors.push(file.invalid_value("\"<secret contents redacted>\"", why.to_string()));
    }
}

/// An Event speaks of its own namespace.
pub(in super::super) fn event(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let about = root.field("involvedObject");
    let namespace = about.field("namespace");
    let own = meta::namespace(root.value);
    let newer = root.field("eventTime").exists();
    let fits = namespace.text() == own || (namespace.is_empty() && own == "default");
    // One with a time of its own may be about something in another namespace.
    if !fits && (!newer || namespace.is_empty()) {
        errors.push(namespace.invalid_value(format!("{:?}", namespace.text()), "does not match event.namespace"));
    }
    if newer {
        reported(root, "reportingComponent", "message", errors);
    }
}

/// An Event as the newer group takes it: with a time of its own, and nothing of what that replaced.
pub(in super::super) fn newer_event(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let time = root.field("eventTime");
    if !time.exists() {
        errors.push(time.required(""));
    }
    reported(root, "reportingController", "note", errors);
    let sort = root.field("type");
    if !matches!(sort.text(), "Normal" | "Warning") {
        errors.push(sort.invalid_value("\"\"", format!("has invalid value: {}", sort.text())));
    }
    for (field, word) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let old = root.field(field);
        let set = match old.value {
            Value::Number(n) => n.as_i64() != Some(0),
            Value::Object(fields) => !fields.is_empty(),
            _ => !old.is_empty(),
        };
        if set {
            errors.push(FieldError::invalid(word, &Value::from(""), "needs to be unset"));
        }
    }
    series(&root.field("series"), errors);
}

/// What the newer group lets change of an Event: how often it was seen. Paths are those of the stored form, whichever the
/// request has.
pub(in super::super) fn newer_event_change(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if meta::at(old, "series") != meta::at(new, "series") {
        series(&Spot::root(new).field("series"), errors);
    }
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        let (before, after) = (said(meta::at(old, field)), said(meta::at(new, field)));
        if before != after {
            let path = if field == "reportingComponent" { "reportingController" } else { field };
            errors.push(FieldError::invalid(path, meta::at(new, field), "field is immutable"));
        }
    }
}

/// A value, unless it says no more than an absent one.
fn said(value: &Value) -> Option<&Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    (!empty).then_some(value)
}

/// How often it was seen, and when for the last time.
fn series(series: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !series.exists() {
        return;
    }
    let (count, last) = (series.field("count"), series.field("lastObservedTime"));
    if count.number().unwrap_or(0) < 2 {
        errors.push(count.invalid_value("\"\"", "should be at least 2"));
    }
    if !last.exists() {
        errors.push(last.required(""));
    }
}

/// Who reports what, in words of a bounded length.
fn reported(root: &Spot<'_>, controller: &str, message: &str, errors: &mut Vec<FieldError>) {
    let controller = root.field(controller);
    if controller.is_empty() {
        errors.push(controller.required(""));
    } else if let Err(why) = super::super::names::label_key(controller.text()) {
        errors.push(controller.invalid(why));
    }
    for field in ["reportingInstance", "action", "reason"] {
        let field = root.field(field);
        if field.is_empty() {
            errors.push(field.required(""));
        }
        at_most(&field, 128, errors);
    }
    at_most(&root.field(message), 1024, errors);
}

fn at_most(text: &Spot<'_>, limit: usize, errors: &mut Vec<FieldError>) {
    if text.text().len() > limit {
        errors.push(text.invalid_value("\"\"", format!("can have at most {limit} characters")));
    }
}

/// A PriorityClass.
pub(in super::super) fn priority_class(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    const HIGHEST: i64 = 1_000_000_000;
    let value = root.field("value");
    let (metadata, name) = (root.field("metadata"), meta::name(root.value));
    let system = name.starts_with("system-");
    if system && !matches!(name, "system-node-critical" | "system-cluster-critical") {
        let text = "priority class names with 'system-' prefix are reserved for system use only";
        errors.push(metadata.field("name").forbidden(text));
    }
    if !system && value.number().is_some_and(|n| n > HIGHEST) {
        errors.push(value.forbidden(format!("maximum allowed value of a user defined priority is {HIGHEST}")));
    }
}

/// A Lease.
pub(in super::super) fn lease(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let duration = spec.field("leaseDurationSeconds");
    if duration.number().is_some_and(|n| n <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    check::not_negative(spec, &["leaseTransitions"], errors);
}

/// One limit of a LimitRange.
pub(in super::super) fn limit(limit: &Spot<'_>, errors: &mut Vec<FieldError>) {
    use crate::quantity::Quantity;
    let amount = |spot: &Spot<'_>, name: &str| {
        spot.value.get(name).and_then(Value::as_str).and_then(|t| Quantity::parse(t).ok())
    };
    let (least, most) = (limit.field("min"), limit.field("max"));
    for (name, value) in least.entries() {
        if let (Some(min), Some(max)) = (amount(&least, name), amount(&most, name))
            && min > max
        {
            errors.push(value.invalid(format!("min value {min} is greater than max value {max}")));
        }
    }
}
