//! A definition for tests.

use std::sync::Arc;

use naru_api::Kind;
use naru_crd::{Definition, Names};
use naru_store::Revision;
use serde_json::{Value, json};

use super::custom::Custom;
use super::kinds::{Kinds, Versions};

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
    let Kinds { served, versions } = kinds(&definition(version));
    (served, Arc::new(Custom::new(versions, Revision(0))))
}

/// These versions of widgets, of which the first is stored. They say the same.
pub(crate) fn versions(names: &[&str]) -> Versions {
    let mut definition = definition(names[0]);
    for name in &names[1..] {
        let mut other = definition["spec"]["versions"][0].clone();
        (other["name"], other["storage"]) = ((*name).into(), false.into());
        definition["spec"]["versions"].as_array_mut().expect("versions").push(other);
    }
    kinds(&definition).versions
}

fn kinds(definition: &Value) -> Kinds {
    let accepted = Names::read(&definition["spec"]["names"]);
    Kinds::of("widgets.example.com", Definition::read(definition), &accepted).expect("it can be read")
}
