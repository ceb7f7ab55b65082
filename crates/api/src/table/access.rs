//! Tables of secrets and rights.

use serde_json::{Map, Value};

use super::age::span;
use super::cell::{created, items, joined, name, number, text};
use super::{Table, table};
use crate::meta;

pub(super) const SECRET: Table = table(&["Name", "Type", "Data", "Age"], |object, now| {
    let count = object.get("data").and_then(Value::as_object).map_or(0, Map::len);
    vec![name(object), text(object, "type", ""), count.into(), created(object, now)]
});

pub(super) const SERVICE_ACCOUNT: Table = table(&["Name", "Secrets", "Age"], |object, now| {
    vec![name(object), items(object, "secrets").count().into(), created(object, now)]
});

/// Kinds whose table says when instead of how long ago.
pub(super) const CREATED: Table = table(&["Name", "Created At"], |object, _| {
    vec![name(object), text(object, "metadata.creationTimestamp", "<unknown>")]
});

pub(super) const BINDING: Table =
    table(&["Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"], |object, now| {
        let role = format!("{}/{}", meta::text(object, "roleRef.kind"), meta::text(object, "roleRef.name"));
        let of = |kind: &str| {
            let subjects = items(object, "subjects").filter(|s| meta::text(s, "kind") == kind);
            let names: Vec<String> = subjects
                .map(|s| match meta::text(s, "namespace") {
                    "" => meta::text(s, "name").to_owned(),
                    namespace => format!("{namespace}/{}", meta::text(s, "name")),
                })
                .collect();
            joined(names.iter().map(String::as_str), "")
        };
        vec![name(object), role.into(), created(object, now), of("User"), of("Group"), of("ServiceAccount")]
    });

pub(super) const SIGNING_REQUEST: Table =
    table(&["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"], |object, now| {
        let holds = |of: &str| items(object, "status.conditions").any(|c| meta::text(c, "type") == of);
        let mut condition = match (holds("Denied"), holds("Approved")) {
            (true, _) => "Denied",
            (_, true) => "Approved",
            _ => "Pending",
        }
        .to_owned();
        if holds("Failed") {
            condition.push_str(",Failed");
        }
        if !meta::text(object, "status.certificate").is_empty() {
            condition.push_str(",Issued");
        }
        let lifetime = match number(object, "spec.expirationSeconds") {
            0 => "<none>".to_owned(),
            seconds => span(seconds),
        };
        vec![
            name(object),
            created(object, now),
            text(object, "spec.signerName", "<none>"),
            text(object, "spec.username", ""),
            lifetime.into(),
            condition.into(),
        ]
    });
