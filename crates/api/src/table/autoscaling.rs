//! The table of autoscalers.

use serde_json::Value;

use super::cell::{created, items, name, plain};
use super::{Table, table};
use crate::meta;

/// How many metrics are shown before the rest is only counted.
const SHOWN: usize = 2;

pub(super) const AUTOSCALER: Table =
    table(&["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"], |object, now| {
        let of = |key: &str| meta::text(object, &format!("spec.scaleTargetRef.{key}"));
        let number = |path: &str, missing: &str| -> Value { plain(meta::at(object, path), missing).into() };
        vec![
            name(object),
            format!("{}/{}", of("kind"), of("name")).into(),
            targets(object).into(),
            number("spec.minReplicas", "<unset>"),
            number("spec.maxReplicas", "0"),
            number("status.currentReplicas", "0"),
            created(object, now),
        ]
    });

/// What each metric is and is to be; the older version knows one.
fn targets(object: &Value) -> String {
    if meta::api_version(object) == "autoscaling/v1" {
        let percent = |path: &str, missing: &str| match meta::at(object, path).as_i64() {
            Some(n) => format!("{n}%"),
            None => missing.to_owned(),
        };
        let seen = percent("status.currentCPUUtilizationPercentage", "<unknown>");
        return match percent("spec.targetCPUUtilizationPercentage", "").as_str() {
            "" => "<none>".to_owned(),
            target => format!("cpu: {seen}/{target}"),
        };
    }
    let seen: Vec<&Value> = items(object, "status.currentMetrics").collect();
    let mut all: Vec<String> =
        items(object, "spec.metrics").enumerate().map(|(i, m)| target(m, seen.get(i).copied())).collect();
    if all.is_empty() {
        return "<none>".to_owned();
    }
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let shown = all.join(", ");
    if more == 0 { shown } else { format!("{shown} + {more} more...") }
}

fn target(metric: &Value, seen: Option<&Value>) -> String {
    let (source, named) = match meta::text(metric, "type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = |field: &str| meta::at(metric, &format!("{source}.target.{field}"));
    let current = |field: &str, unit: &str| {
        let value = seen.map_or(&Value::Null, |s| meta::at(s, &format!("{source}.current.{field}")));
        if value.is_null() { "<unknown>".to_owned() } else { format!("{}{unit}", plain(value, "")) }
    };
    let average = !wanted("averageValue").is_null();
    if named {
        let (field, unit) = if average { ("averageValue", "") } else { ("averageUtilization", "%") };
        let wanted = match plain(wanted(field), "") {
            text if text.is_empty() => "<auto>".to_owned(),
            text => format!("{text}{unit}"),
        };
        return format!("{}: {}/{wanted}", meta::text(metric, &format!("{source}.name")), current(field, unit));
    }
    let field = if average { "averageValue" } else { "value" };
    let note = if average && source != "pods" { " (avg)" } else { "" };
    format!("{}/{}{note}", current(field, ""), plain(wanted(field), "<auto>"))
}
