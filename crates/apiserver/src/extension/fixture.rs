//! A definition for tests.

use std::sync::Arc;

use naru_api::Kind;
use naru_crd::{Definition, Names};
use naru_store::Revision;
use serde_json::{Value, json};

use super::custom::Custom;
use super::kinds::Kinds;

/// A definition of widgets with one version.
pub(crate) fn definition(version: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "uid": "d", "generation": 1},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": version, "served": true, "storage": true,
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "color": {"type": "string", "default": "red"}, "size": {"type": "integer"}}}}}}}],
        },
        "status": {"storedVersions": [version]},
    })
}

/// The kinds of [`definition`] and what else is known of them.
pub(crate) fn served(version: &str) -> (Vec<Kind>, Arc<Custom>) {
    let definition = definition(version);
    let accepted = Names::read(&definition["spec"]["names"]);
    let kinds = Kinds::of("widgets.example.com", Definition::read(&definition), &accepted).expect("it can be read");
    (kinds.served, Arc::new(Custom::new(kinds.storage, Revision(0), false, false)))
}

/// The kind of a version while objects are stored in another.
pub(crate) fn kind(version: &str, stored: &str) -> Kind {
    let mut definition = definition(stored);
    let mut other = definition["spec"]["versions"][0].clone();
    (other["name"], other["storage"]) = (version.into(), false.into());
    definition["spec"]["versions"].as_array_mut().expect("versions").push(other);
    let accepted = Names::read(&definition["spec"]["names"]);
    let kinds = Kinds::of("widgets.example.com", Definition::read(&definition), &accepted).expect("it can be read");
    kinds.served.into_iter().find(|kind| kind.version == version).expect("served")
}
