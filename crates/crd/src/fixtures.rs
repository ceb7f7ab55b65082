//! Definitions for tests.

use serde_json::{Value, json};

use crate::{Definition, Fault, Version};

/// A definition with one version whose `spec` has this schema.
pub(crate) fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList", "shortNames": ["ct"]},
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    })
}

/// The version of [`definition`], which must be right.
#[track_caller]
pub(crate) fn version(spec: &Value) -> Version {
    let crd = definition(spec);
    let faults = crate::faults(&crd, None);
    assert!(faults.is_empty(), "{}", told(&faults));
    Definition::read(&crd).versions.remove(0)
}

/// An object with a `spec`.
pub(crate) fn object(spec: &Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "one"}, "spec": spec})
}

/// Faults as people read them.
pub(crate) fn told(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}
