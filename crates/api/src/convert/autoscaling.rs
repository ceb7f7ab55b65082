//! Autoscalers: `autoscaling/v2` and the older form, which knows nothing but a share of the processor.
//!
//! What the older form cannot say stands in its annotations, in the words that Kubernetes uses there: metrics as the
//! version before v2 wrote them, and the behaviour with capital letters, for that one was never meant to be read by
//! people. An annotation that makes no sense is as if it were absent.

use serde_json::{Map, Value, json};

use crate::decode::{self, FieldValidation};
use crate::kind::Kind;
use crate::meta;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Where the older form has a share of the processor.
const TARGET: &str = "targetCPUUtilizationPercentage";
const SEEN: &str = "currentCPUUtilizationPercentage";

/// A source of metrics: its field, and what each of its older fields is called in the newer form. `{}` stands for
/// `target` in a specification and for `current` in a status.
type Source = (&'static str, &'static [(&'static str, &'static str)]);

const SOURCES: [Source; 5] = [
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("{}Value", "{}.value"),
            ("averageValue", "{}.averageValue"),
        ],
    ),
    ("pods", &[("metricName", "metric.name"), ("selector", "metric.selector"), ("{}AverageValue", "{}.averageValue")]),
    (
        "resource",
        &[("name", "name"), ("{}AverageUtilization", "{}.averageUtilization"), ("{}AverageValue", "{}.averageValue")],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("container", "container"),
            ("{}AverageUtilization", "{}.averageUtilization"),
            ("{}AverageValue", "{}.averageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("{}Value", "{}.value"),
            ("{}AverageValue", "{}.averageValue"),
        ],
    ),
];

/// Whether an annotation holds a part of the newer form: such a one means nothing on an object that has the part itself.
pub(crate) fn is_note(annotation: &str) -> bool {
    [METRICS, CURRENT, CONDITIONS, BEHAVIOR].contains(&annotation)
}

/// The newer form as the older one.
pub(super) fn to_v1(autoscaler: &mut Value) {
    take_notes(autoscaler);
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = autoscaler.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = list(spec.remove("metrics"));
        let (shares, others): (Vec<Value>, Vec<Value>) =
            metrics.into_iter().partition(|m| share(m, "target").is_some());
        if let Some(percent) = shares.first().and_then(|m| share(m, "target")) {
            spec.insert(TARGET.to_owned(), percent);
        }
        if !others.is_empty() {
            notes.push((METRICS, others.iter().map(|m| older(m, "target")).collect()));
        }
        if let Some(behavior) = spec.remove("behavior") {
            notes.push((BEHAVIOR, cased(behavior, |c| c.to_ascii_uppercase())));
        }
    }
    if let Some(status) = autoscaler.get_mut("status").and_then(Value::as_object_mut) {
        let seen = list(status.remove("currentMetrics"));
        if let Some(percent) = seen.iter().find_map(|m| share(m, "current")) {
            status.insert(SEEN.to_owned(), percent);
        }
        if !seen.is_empty() {
            notes.push((CURRENT, seen.iter().map(|m| older(m, "current")).collect()));
        }
        if let Some(conditions) = status.remove("conditions").filter(|c| c.as_array().is_some_and(|c| !c.is_empty())) {
            notes.push((CONDITIONS, conditions));
        }
        // The older form always says how many there are.
        status.entry("currentReplicas").or_insert_with(|| 0.into());
        status.entry("desiredReplicas").or_insert_with(|| 0.into());
    }
    for (name, note) in notes {
        meta::set_annotation(autoscaler, name, &note.to_string());
    }
}

/// The older form as the newer one, whose kind is `newer`.
pub(super) fn to_v2(newer: &Kind, autoscaler: &mut Value) {
    let notes = take_notes(autoscaler);
    let mut plain = autoscaler.clone();
    fill(&mut plain, &Map::new());
    fill(autoscaler, &notes);
    // Notes are written by whoever writes the object: they are held against the schema like any other input.
    let mut judged = autoscaler.clone();
    if let Some(fields) = judged.as_object_mut() {
        fields.remove("apiVersion");
    }
    match decode::value(newer, judged, FieldValidation::Ignore) {
        Ok(decoded) => *autoscaler = decoded.object,
        Err(_) => *autoscaler = plain,
    }
}

fn fill(autoscaler: &mut Value, notes: &Map<String, Value>) {
    let note = |name: &str| notes.get(name).cloned();
    if let Some(spec) = autoscaler.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics: Vec<Value> = list(note(METRICS)).iter().map(|m| newer(m, "target")).collect();
        if let Some(percent) = spec.remove(TARGET).filter(|p| !p.is_null()) {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), metrics.into());
        }
        if let Some(behavior) = note(BEHAVIOR).filter(Value::is_object) {
            spec.insert("behavior".to_owned(), cased(behavior, |c| c.to_ascii_lowercase()));
        }
    }
    if let Some(status) = autoscaler.get_mut("status").and_then(Value::as_object_mut) {
        let mut seen: Vec<Value> = list(note(CURRENT)).iter().map(|m| newer(m, "current")).collect();
        if let Some(percent) = status.remove(SEEN).filter(|p| seen.is_empty() && !p.is_null()) {
            let current = json!({"averageUtilization": percent});
            seen.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}));
        }
        if !seen.is_empty() {
            status.insert("currentMetrics".to_owned(), seen.into());
        }
        if let Some(conditions) = note(CONDITIONS).filter(Value::is_array) {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

/// Takes the notes out of the annotations: what they say, as far as it is JSON.
fn take_notes(autoscaler: &mut Value) -> Map<String, Value> {
    let mut notes = Map::new();
    let Some(metadata) = autoscaler.get_mut("metadata").and_then(Value::as_object_mut) else { return notes };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return notes };
    for name in [METRICS, CURRENT, CONDITIONS, BEHAVIOR] {
        let note = annotations.remove(name);
        if let Some(note) = note.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()) {
            notes.insert(name.to_owned(), note);
        }
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    notes
}

/// The share of the processor that a metric speaks of, if it speaks of that and nothing else.
fn share(metric: &Value, part: &str) -> Option<Value> {
    let resource = metric.get("resource").filter(|r| metric["type"] == "Resource" && r["name"] == "cpu")?;
    resource.get(part)?.get("averageUtilization").filter(|p| !p.is_null()).cloned()
}

fn older(metric: &Value, part: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (source, fields) in SOURCES {
        let Some(of) = metric.get(source).filter(|v| v.is_object()) else { continue };
        let mut written = Map::new();
        for (name, path) in fields {
            let value = meta::at(of, &path.replace("{}", part));
            if !value.is_null() {
                written.insert(name.replace("{}", part), value.clone());
            }
        }
        out[source] = written.into();
    }
    out
}

fn newer(metric: &Value, part: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for (source, fields) in SOURCES {
        let Some(of) = metric.get(source).filter(|v| v.is_object()) else { continue };
        let mut written = json!({});
        for (name, path) in fields {
            if let Some(value) = of.get(name.replace("{}", part)).filter(|v| !v.is_null()) {
                put(&mut written, &path.replace("{}", part), value.clone());
            }
        }
        if part == "target" {
            let sort = match &written["target"] {
                t if t.get("averageUtilization").is_some() => "Utilization",
                t if t.get("averageValue").is_some() => "AverageValue",
                _ => "Value",
            };
            written["target"]["type"] = sort.into();
        }
        out[source] = written;
    }
    out
}

fn put(object: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((outer, inner)) => object[outer][inner] = value,
        None => object[path] = value,
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list.into_iter().filter(Value::is_object).collect(),
        _ => Vec::new(),
    }
}

/// The same with the first letter of every name in another case; without what is null.
fn cased(value: Value, case: fn(char) -> char) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(name, value)| {
                let mut letters = name.chars();
                let name: String = letters.next().map(case).into_iter().chain(letters).collect();
                (name, cased(value, case))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.into_iter().map(|item| cased(item, case)).collect(),
        other => other,
    }
}
