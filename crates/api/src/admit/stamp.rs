//! What needs a clock or chance: the caller brings both.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::meta;

/// Gives a new object its identity and time. A Job also gets the selector that finds its pods by its identity.
pub fn stamp(kind: &Kind, object: &mut Value, uid: &str, now: Timestamp) {
    meta::set(object, "uid", uid);
    meta::set(object, "creationTimestamp", meta::time(now));
    if kind.is("batch", "Job") {
        select_by_identity(object, uid);
    }
    if kind.is("apiregistration.k8s.io", "APIService") {
        available(object, now);
    }
    date(kind, None, object, now);
}

/// Says since when devices are tainted, where nobody said: since now, or since it was said of `old`.
pub fn date(kind: &Kind, old: Option<&Value>, object: &mut Value, now: Timestamp) {
    if !kind.is("resource.k8s.io", "ResourceSlice") {
        return;
    }
    let known: Vec<(Value, Value)> = old.map(taints).unwrap_or_default();
    let devices = object.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let name = device["name"].clone();
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten().filter(|taint| taint.is_object() && taint["timeAdded"].is_null()) {
            let same = taint_of(&name, taint);
            let since = known.iter().find(|(taint, _)| *taint == same).map(|(_, since)| since.clone());
            taint["timeAdded"] = since.unwrap_or_else(|| meta::time(now).into());
        }
    }
}

/// The taints of a slice's devices, and since when they are there.
fn taints(slice: &Value) -> Vec<(Value, Value)> {
    let devices = slice.pointer("/spec/devices").and_then(Value::as_array).into_iter().flatten();
    let of = |device: &Value| {
        let taints = device["taints"].as_array().into_iter().flatten();
        taints.map(|taint| (taint_of(&device["name"], taint), taint["timeAdded"].clone())).collect::<Vec<_>>()
    };
    devices.flat_map(of).collect()
}

/// What tells a taint from others.
fn taint_of(device: &Value, taint: &Value) -> Value {
    json!([device, taint["key"], taint["value"], taint["effect"]])
}

/// A group that this server serves itself is there from the beginning.
fn available(service: &mut Value, now: Timestamp) {
    if service.pointer("/spec/service").is_none_or(Value::is_null) {
        service["status"] = json!({"conditions": [{"type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available", "lastTransitionTime": meta::time(now)}]});
    }
}

/// The name for `generateName`: the base, cut to fit, and five characters made from `chance`. The characters form no words.
pub fn generate_name(base: &str, chance: u64) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const LENGTH: usize = 63 - 5;
    let mut end = base.len().min(LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut rest = chance;
    for _ in 0..5 {
        let n = ALPHABET.len() as u64;
        name.push(char::from(ALPHABET[usize::try_from(rest % n).unwrap_or(0)]));
        rest /= n;
    }
    name
}

fn select_by_identity(job: &mut Value, uid: &str) {
    let name = meta::name(job).to_owned();
    let Some(spec) = job.get_mut("spec").filter(|s| s.is_object()) else { return };
    if spec.get("manualSelector").is_some_and(|m| m == true) {
        return;
    }
    if spec.get("selector").is_none() {
        spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    }
    let Some(template) = spec.get_mut("template").filter(|t| t.is_object()) else { return };
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", uid),
        ("controller-uid", uid),
        ("batch.kubernetes.io/job-name", name.as_str()),
        ("job-name", name.as_str()),
    ] {
        meta::set_label(template, key, value);
    }
}
