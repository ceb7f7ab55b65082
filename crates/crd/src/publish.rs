//! How a version's objects are described to clients, in OpenAPI.
//!
//! The definition's own JSON is written out with what every object has. Version 2 of OpenAPI cannot say everything, and
//! clients that read it take what is not said for forbidden: where it cannot be said, nothing is.

use serde_json::{Map, Value, json};

use crate::definition::Version;

/// Which of the two forms is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/openapi/v2`.
    V2,
    /// `/openapi/v3`.
    V3,
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The name of the schema of a kind: `com.example.stable.v1.CronTab`.
pub fn component(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.rsplit('.').collect();
    parts.extend([version, kind]);
    parts.join(".")
}

/// The schema of a version's objects; `version` is its entry in `spec.versions`.
pub fn describe(group: &str, kind: &str, version: &Value, dialect: Dialect) -> Value {
    let gvk = json!([{"group": group, "kind": kind, "version": version["name"]}]);
    described(&version["schema"]["openAPIV3Schema"], gvk, dialect)
}

impl Version {
    /// The schema of the version's objects, as clients are told it.
    pub fn describe(&self, group: &str, kind: &str, dialect: Dialect) -> Value {
        // It was JSON when it was kept.
        let source = serde_json::from_str(&self.source).unwrap_or_default();
        described(&source, json!([{"group": group, "kind": kind, "version": self.name}]), dialect)
    }
}

fn described(source: &Value, gvk: Value, dialect: Dialect) -> Value {
    let anything = dialect == Dialect::V2 && source["x-kubernetes-preserve-unknown-fields"] == true;
    let mut out = if source.is_object() && !anything {
        let mut out = write(source, dialect);
        with_meta(&mut out, dialect);
        out
    } else {
        // No field at all may be named here: clients would take all others for unknown.
        Map::from_iter([("type".to_owned(), json!("object"))])
    };
    out.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
    Value::Object(out)
}

/// Adds what every object has.
fn with_meta(out: &mut Map<String, Value>, dialect: Dialect) {
    let properties = out.entry("properties").or_insert_with(|| json!({}));
    let about = "What the object is called, and what the server knows of it.";
    let metadata = match dialect {
        Dialect::V2 => json!({"$ref": format!("#/definitions/{OBJECT_META}"), "description": about}),
        // Nothing may stand beside a reference.
        Dialect::V3 => {
            json!({"allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}], "description": about})
        }
    };
    properties["metadata"] = metadata;
    for (name, about) in
        [("apiVersion", "The group and version that the object is written in."), ("kind", "What the object is.")]
    {
        properties[name] = json!({"type": "string", "description": about});
    }
}

fn write(raw: &Value, dialect: Dialect) -> Map<String, Value> {
    let mut out = raw.as_object().cloned().unwrap_or_default();
    // What says nothing is not said.
    out.retain(|_, value| !value.is_null());
    match dialect {
        Dialect::V2 => narrow(&mut out),
        Dialect::V3 => unfold(&mut out),
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = out.get_mut(key).filter(|inner| inner.is_object()) {
            *inner = Value::Object(write(inner, dialect));
        }
    }
    if let Some(properties) = out.get_mut("properties").and_then(Value::as_object_mut) {
        for inner in properties.values_mut() {
            *inner = Value::Object(write(inner, dialect));
        }
    }
    let embedded = out.get("x-kubernetes-embedded-resource") == Some(&json!(true));
    let unsaid = dialect == Dialect::V2 && out.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if embedded && !unsaid {
        with_meta(&mut out, dialect);
        let required = out.entry("required").or_insert_with(|| json!([]));
        for name in ["kind", "apiVersion"] {
            if let Some(list) = required.as_array_mut().filter(|list| !list.iter().any(|given| given == name)) {
                list.push(name.into());
            }
        }
    }
    out
}

/// Says in plain words what a whole number or text is.
fn unfold(out: &mut Map<String, Value>) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let first = out.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf"));
    let said = out.get("anyOf") == Some(&either) || first == Some(&either);
    if said || out.get("x-kubernetes-int-or-string") != Some(&json!(true)) {
        return;
    }
    if out.get("anyOf").is_none() {
        out.insert("anyOf".to_owned(), either);
    } else if let Some(all) = out.entry("allOf").or_insert_with(|| json!([])).as_array_mut() {
        all.insert(0, json!({"anyOf": either}));
    }
}

/// Leaves out what version 2 cannot say.
fn narrow(out: &mut Map<String, Value>) {
    for key in ["anyOf", "oneOf", "allOf", "not"] {
        out.remove(key);
    }
    let is = |out: &Map<String, Value>, key: &str| out.get(key) == Some(&json!(true));
    let nullable = is(out, "nullable");
    out.remove("nullable");
    if nullable {
        // A type would forbid null.
        for key in ["type", "items", "properties"] {
            out.remove(key);
        }
    }
    if is(out, "x-kubernetes-preserve-unknown-fields") {
        for key in ["items", "properties"] {
            out.remove(key);
        }
        if out.get("type") == Some(&json!("object")) {
            out.remove("type");
        }
    }
    if out.get("type") == Some(&json!("array")) && !out.contains_key("items") {
        out.remove("type");
    }
    if out.get("additionalProperties").is_some_and(|inner| inner["nullable"] == true) {
        out.remove("required");
    }
    // A field that may be null is no longer required: null counts as absent there.
    let may_be_null: Vec<String> = out
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, inner)| inner["nullable"] == true)
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !may_be_null.iter().any(|null| name == null));
        if required.is_empty() {
            out.remove("required");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Value {
        json!({"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "required": ["spec"], "properties": {
                "spec": {"type": "object", "description": "What is wanted.", "properties": {
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "note": {"type": "string", "nullable": true},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
                    "either": {"x-kubernetes-int-or-string": true},
                    "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
                }, "required": ["note"]}}}}})
    }

    #[test]
    fn both_forms_say_what_they_can() {
        let v3 = describe("stable.example.com", "CronTab", &version(), Dialect::V3);
        let spec = &v3["properties"]["spec"]["properties"];
        assert_eq!(
            v3["x-kubernetes-group-version-kind"],
            json!([{"group": "stable.example.com", "version": "v1", "kind": "CronTab"}])
        );
        assert_eq!(v3["properties"]["metadata"]["allOf"][0]["$ref"], format!("#/components/schemas/{OBJECT_META}"));
        assert_eq!(v3["properties"]["spec"]["description"], "What is wanted.");
        assert_eq!(spec["note"], json!({"type": "string", "nullable": true}));
        assert_eq!(spec["any"]["properties"]["a"]["type"], "string");
        assert!(spec["pod"]["properties"]["kind"].is_object());
        assert_eq!(spec["pod"]["required"], json!(["kind", "apiVersion"]));
        assert!(spec["port"]["anyOf"].is_array() && spec["port"].get("allOf").is_none());
        assert_eq!(spec["either"]["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
        let v2 = describe("stable.example.com", "CronTab", &version(), Dialect::V2);
        let spec = &v2["properties"]["spec"];
        assert_eq!(v2["properties"]["metadata"]["$ref"], format!("#/definitions/{OBJECT_META}"));
        assert_eq!(spec["properties"]["note"], json!({}));
        assert!(spec.get("required").is_none());
        assert_eq!(spec["properties"]["any"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        assert!(spec["properties"]["port"].get("anyOf").is_none());
    }

    #[test]
    fn a_version_describes_itself() {
        let crd = json!({"spec": {"group": "example.com", "names": {"kind": "X"}, "versions": [version()]}});
        let read = crate::Definition::read(&crd).versions.remove(0);
        for dialect in [Dialect::V2, Dialect::V3] {
            assert_eq!(read.describe("example.com", "X", dialect), describe("example.com", "X", &version(), dialect));
        }
    }

    #[test]
    fn where_anything_may_stand_nothing_is_named() {
        let mut open = version();
        open["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = json!(true);
        let v2 = describe("example.com", "Open", &open, Dialect::V2);
        assert!(v2.get("properties").is_none() && v2["type"] == "object");
        let v3 = describe("example.com", "Open", &open, Dialect::V3);
        assert!(v3["properties"]["spec"].is_object());
        assert_eq!(component("stable.example.com", "v1", "CronTab"), "com.example.stable.v1.CronTab");
    }
}
