//! Tables of what extends the server: webhooks, policies, definitions, further servers, whose turn it is.

use jiff::Timestamp;
use serde_json::Value;

use super::cell::{created, items, joined, name, plain, text};
use super::{Table, table};
use crate::meta;

pub(super) const WEBHOOKS: Table = table(&["Name", "Webhooks", "Age"], |object, now| {
    vec![name(object), items(object, "webhooks").count().into(), created(object, now)]
});

pub(super) const VALIDATING_POLICY: Table =
    table(&["Name", "Validations", "ParamKind", "Age"], |object, now| policy(object, now, "spec.validations"));

pub(super) const MUTATING_POLICY: Table =
    table(&["Name", "Mutations", "ParamKind", "Age"], |object, now| policy(object, now, "spec.mutations"));

fn policy(object: &Value, now: Timestamp, rules: &str) -> Vec<Value> {
    let of = |key: &str| meta::text(object, &format!("spec.paramKind.{key}"));
    let params = match of("kind") {
        "" => "<unset>".to_owned(),
        kind => format!("{}/{kind}", of("apiVersion")),
    };
    vec![name(object), items(object, rules).count().into(), params.into(), created(object, now)]
}

pub(super) const POLICY_BINDING: Table = table(&["Name", "PolicyName", "ParamRef", "Age"], |object, now| {
    let of = |key: &str| meta::text(object, &format!("spec.paramRef.{key}"));
    let params = match (meta::at(object, "spec.paramRef").is_object(), of("name"), of("namespace")) {
        (false, ..) => "<unset>".to_owned(),
        (true, "", _) => "*".to_owned(),
        (true, name, "") => name.to_owned(),
        (true, name, namespace) => format!("{namespace}/{name}"),
    };
    vec![name(object), text(object, "spec.policyName", ""), params.into(), created(object, now)]
});

pub(super) const API_SERVICE: Table = table(&["Name", "Service", "Available", "Age"], |object, now| {
    let service = match meta::at(object, "spec.service") {
        Value::Object(_) => {
            let of = |key: &str| meta::text(object, &format!("spec.service.{key}"));
            format!("{}/{}", of("namespace"), of("name"))
        }
        _ => "Local".to_owned(),
    };
    let condition = items(object, "status.conditions").find(|c| meta::text(c, "type") == "Available");
    let available = match condition.map(|c| (meta::text(c, "status"), meta::text(c, "reason"))) {
        None => "Unknown".to_owned(),
        Some((status @ "True", _) | (status, "")) => status.to_owned(),
        Some((status, reason)) => format!("{status} ({reason})"),
    };
    vec![name(object), service.into(), available.into(), created(object, now)]
});

pub(super) const FLOW_SCHEMA: Table = table(
    &["Name", "PriorityLevel", "MatchingPrecedence", "DistinguisherMethod", "Age", "MissingPL"],
    |object, now| {
        let dangling = items(object, "status.conditions").find(|c| meta::text(c, "type") == "Dangling");
        vec![
            name(object),
            text(object, "spec.priorityLevelConfiguration.name", ""),
            plain(meta::at(object, "spec.matchingPrecedence"), "0").into(),
            text(object, "spec.distinguisherMethod.type", "<none>"),
            created(object, now),
            dangling.map_or("?", |c| meta::text(c, "status")).into(),
        ]
    },
);

pub(super) const PRIORITY_LEVEL: Table = table(
    &["Name", "Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age"],
    |object, now| {
        let limited =
            |path: &str| -> Value { plain(meta::at(object, &format!("spec.limited.{path}")), "<none>").into() };
        vec![
            name(object),
            text(object, "spec.type", ""),
            limited("nominalConcurrencyShares"),
            limited("limitResponse.queuing.queues"),
            limited("limitResponse.queuing.handSize"),
            limited("limitResponse.queuing.queueLengthLimit"),
            created(object, now),
        ]
    },
);

pub(super) const COMPONENT: Table = table(&["Name", "Status", "Message", "Error"], |object, _| {
    let condition = items(object, "conditions").find(|c| meta::text(c, "type") == "Healthy");
    let of = |key: &str| condition.map_or("", |c| meta::text(c, key));
    let status = match of("status") {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    };
    vec![name(object), status.into(), of("message").into(), of("error").into()]
});

pub(super) const RUNTIME_CLASS: Table = table(&["Name", "Handler", "Age"], |object, now| {
    vec![name(object), text(object, "handler", ""), created(object, now)]
});

pub(super) const ADDRESS: Table = table(&["Name", "ParentRef", "Age"], |object, now| {
    let parts =
        ["group", "resource", "namespace", "name"].map(|key| meta::text(object, &format!("spec.parentRef.{key}")));
    let parent = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    vec![name(object), if parent.is_empty() { "<none>".into() } else { parent.into() }, created(object, now)]
});

pub(super) const SERVICE_CIDR: Table = table(&["Name", "CIDRs", "Age"], |object, now| {
    let ranges = joined(items(object, "spec.cidrs").filter_map(Value::as_str), "<none>");
    vec![name(object), ranges, created(object, now)]
});
