//! A kind that a user defined, for tests: with a status of its own, columns, defaults, a list with keys, a set, fields that
//! are kept without a schema, and an object inside of the object.

use std::sync::Arc;

use naru_crd::{Definition, Version};
use serde_json::{Value, json};

use super::{Kind, Registry, SchemaRef, Subresource, Subresources};

/// The kind's group.
pub(crate) const CUSTOM: &str = "example.com";

/// The kind's definition.
pub(crate) fn definition() -> Value {
    let ports = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": {"type": "object", "required": ["port", "protocol"], "properties": {"port": {"type": "integer"},
            "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}});
    let spec = json!({"type": "object", "properties": {
        "image": {"type": "string", "maxLength": 20},
        "replicas": {"type": "integer", "default": 1},
        "paused": {"type": "boolean"},
        "note": {"type": "string", "nullable": true},
        "ports": ports,
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "steps": {"type": "array", "items": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true,
            "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
    }, "x-kubernetes-validations": [{"rule": "!has(self.image) || self.image != 'bad'", "message": "bad image"}]});
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.example.com"},
        "spec": {
            "group": CUSTOM, "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabs"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "description": "Work by the clock.",
                    "properties": {"spec": spec, "status": status}}},
                "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.image"}, {"jsonPath": ".spec.replicas"}, {"jsonPath": ".spec.paused"}],
                "additionalPrinterColumns": [
                    {"name": "Image", "type": "string", "jsonPath": ".spec.image", "description": "What runs."},
                    {"name": "Wanted", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ]}],
        },
    })
}

/// The definition's only version.
pub(crate) fn version() -> Arc<Version> {
    read(&definition())
}

/// The only version of a definition.
pub(crate) fn read(definition: &Value) -> Arc<Version> {
    Arc::new(Definition::read(definition).versions.remove(0))
}

/// The kind of a version, as a server makes it.
pub(crate) fn kind(version: &Arc<Version>) -> Kind {
    let mut kind = Kind::new(CUSTOM, "v1", "CronTab", "crontabs", SchemaRef::Own(version.clone()));
    kind.list_kind = Some("CronTabs".into());
    if version.status {
        kind.subresources = Subresources::of(&[Subresource::Status]);
    }
    kind.selectable = version.selectable.iter().map(|path| path.trim_start_matches('.').to_owned().into()).collect();
    kind
}

/// As [`kind`], of a definition that was changed.
pub(crate) fn changed(change: impl FnOnce(&mut Value)) -> Kind {
    let mut definition = definition();
    change(&mut definition["spec"]["versions"][0]);
    kind(&read(&definition))
}

/// The built-in kinds and this one.
pub(crate) fn registry() -> Registry {
    Registry::builtin().with(kind(&version())).expect("a name that is free")
}

/// An object of the kind.
pub(crate) fn object(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": "one", "namespace": "default"}, "spec": spec})
}

#[test]
fn the_definition_is_right() {
    let mut definition = definition();
    naru_crd::fill(&mut definition);
    naru_crd::prepare(None, &mut definition);
    let faults: Vec<String> = naru_crd::faults(&definition, None).iter().map(ToString::to_string).collect();
    assert_eq!(faults, Vec::<String>::new());
}
