//! Rules of configuration and small kinds.

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
        if data.value.get(key).is_none() {
            errors.push(data.key(key, &Value::Null).required(""));
        }
    }
}

/// An Event speaks of its own namespace.
pub(in super::super) fn event(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let about = root.field("involvedObject");
    let namespace = about.field("namespace");
    let own = meta::namespace(root.value);
    let fits = namespace.text() == own || (namespace.is_empty() && own == "default");
    if !fits {
        errors.push(namespace.invalid_value(format!("{:?}", namespace.text()), "does not match event.namespace"));
    }
}

/// A PriorityClass.
pub(in super::super) fn priority_class(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    const HIGHEST: i64 = 1_000_000_000;
    let value = root.field("value");
    let system = meta::name(root.value).starts_with("system-");
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
