//! Paths and operations.

use serde_json::{Map, Value, json};

use super::Dialect;
use super::types::{gvk, list_name, reference, root_name};
use crate::kind::{Kind, Storage, Subresource, form};
use crate::patch::CUSTOM_LANGUAGES;

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const BODIES: [&str; 2] = ["application/json", "application/yaml"];
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// Parameters of operations: name, type.
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCHING: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const LISTING: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETING: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// Writes the paths of one kind.
pub(super) fn of(kind: &Kind, dialect: Dialect, paths: &mut Map<String, Value>) {
    let base = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let scope = if kind.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", kind.plural);
    let writer = Writer { kind, dialect };
    let one = format!("{collection}/{{name}}");
    let mut item = Map::new();
    if kind.storage == Storage::Observed {
        writer.list(&mut item, "");
        paths.insert(collection.clone(), writer.path(item, &collection));
        let mut item = Map::new();
        item.insert("get".to_owned(), writer.operation(kind, "get", "", &[], None, &root_name(kind)));
        paths.insert(one.clone(), writer.path(item, &one));
        return;
    }
    writer.post(&mut item, kind, "create");
    if !kind.is_stored() {
        paths.insert(collection.clone(), writer.path(item, &collection));
        return;
    }
    writer.list(&mut item, "");
    if kind.verbs().contains(&"deletecollection") {
        writer.delete_collection(&mut item);
    }
    paths.insert(collection.clone(), writer.path(item, &collection));
    if kind.is_namespaced() {
        let everywhere = format!("{base}/{}", kind.plural);
        let mut item = Map::new();
        writer.list(&mut item, "ForAllNamespaces");
        paths.insert(everywhere.clone(), writer.path(item, &everywhere));
    }
    let mut item = Map::new();
    writer.read_write(&mut item, kind, "");
    writer.delete(&mut item);
    paths.insert(one.clone(), writer.path(item, &one));
    for subresource in kind.subresources.iter() {
        let path = format!("{one}/{}", subresource.path());
        let mut item = Map::new();
        writer.subresource(&mut item, subresource);
        if !item.is_empty() {
            paths.insert(path.clone(), writer.path(item, &path));
        }
    }
}

struct Writer<'k> {
    kind: &'k Kind,
    dialect: Dialect,
}

impl Writer<'_> {
    fn path(&self, mut item: Map<String, Value>, path: &str) -> Value {
        let mut parameters = Vec::new();
        for name in ["name", "namespace"] {
            if path.contains(&format!("{{{name}}}")) {
                parameters.push(self.parameter(name, "string", "path"));
            }
        }
        parameters.push(self.parameter("pretty", "string", "query"));
        item.insert("parameters".to_owned(), Value::Array(parameters));
        Value::Object(item)
    }

    fn parameter(&self, name: &str, kind: &str, place: &str) -> Value {
        let mut out = json!({"name": name, "in": place});
        if place == "path" {
            out["required"] = true.into();
        }
        match self.dialect {
            Dialect::V2 => out["type"] = kind.into(),
            Dialect::V3 => out["schema"] = json!({"type": kind}),
        }
        out
    }

    /// One operation: `action` is what the extension calls it, `of` the kind that it speaks of.
    fn operation(
        &self,
        of: &Kind,
        action: &str,
        suffix: &str,
        query: &[(&str, &str)],
        body: Option<(&str, &[&str])>,
        answer: &str,
    ) -> Value {
        let mut parameters: Vec<Value> = query.iter().map(|(name, kind)| self.parameter(name, kind, "query")).collect();
        let mut out = json!({
            "operationId": self.identifier(action, suffix),
            "tags": [self.tag()],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(of, &of.kind),
        });
        let answer = reference(answer, self.dialect);
        match self.dialect {
            Dialect::V2 => {
                if let Some((schema, media)) = body {
                    let schema = reference(schema, self.dialect);
                    let required = action != "delete" && action != "deletecollection";
                    parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
                    out["consumes"] = json!(media);
                }
                out["produces"] = json!(BODIES);
                out["responses"] = json!({"200": {"description": "OK", "schema": answer}});
            }
            Dialect::V3 => {
                if let Some((schema, media)) = body {
                    let schema = reference(schema, self.dialect);
                    let content = media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema})));
                    out["requestBody"] = json!({"content": Value::Object(content.collect())});
                }
                let content = BODIES.iter().map(|m| ((*m).to_owned(), json!({"schema": answer})));
                let content: Value = Value::Object(content.collect());
                out["responses"] = json!({"200": {"description": "OK", "content": content}});
            }
        }
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        out
    }

    /// `listCoreV1NamespacedPod`, `patchAppsV1NamespacedDeploymentStatus`.
    fn identifier(&self, action: &str, suffix: &str) -> String {
        let verb = match action {
            "post" => "create",
            "get" => "read",
            "put" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let scope = if self.kind.is_namespaced() && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        let version = capital(&self.kind.version);
        format!("{verb}{}{version}{scope}{}{suffix}", capital(&self.group()), self.kind.kind)
    }

    /// The group as one word: `core`, `rbacAuthorization`, `stableExampleCom`.
    fn group(&self) -> String {
        let group = self.kind.group.strip_suffix(".k8s.io").unwrap_or(&self.kind.group);
        let mut words = group.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        match words.next() {
            None => "core".to_owned(),
            Some(first) => words.fold(first.to_owned(), |all, word| all + &capital(word)),
        }
    }

    fn tag(&self) -> String {
        format!("{}_{}", self.group(), self.kind.version)
    }

    fn list(&self, item: &mut Map<String, Value>, suffix: &str) {
        let operation = self.operation(self.kind, "list", suffix, LISTING, None, &list_name(self.kind));
        item.insert("get".to_owned(), operation);
    }

    fn post(&self, item: &mut Map<String, Value>, of: &Kind, suffix: &str) {
        let suffix = if suffix == "create" { "" } else { suffix };
        let name = root_name(of);
        item.insert("post".to_owned(), self.operation(of, "post", suffix, WRITE, Some((&name, &BODIES)), &name));
    }

    fn read_write(&self, item: &mut Map<String, Value>, of: &Kind, suffix: &str) {
        let name = root_name(of);
        item.insert("get".to_owned(), self.operation(of, "get", suffix, &[], None, &name));
        item.insert("put".to_owned(), self.operation(of, "put", suffix, WRITE, Some((&name, &BODIES)), &name));
        let languages: &[&str] = if self.kind.custom().is_some() { &CUSTOM_LANGUAGES } else { &PATCHES };
        let patch = self.operation(of, "patch", suffix, PATCHING, Some((PATCH, languages)), &name);
        item.insert("patch".to_owned(), patch);
    }

    fn delete(&self, item: &mut Map<String, Value>) {
        let body = Some((DELETE_OPTIONS, &BODIES as &[&str]));
        item.insert("delete".to_owned(), self.operation(self.kind, "delete", "", DELETING, body, STATUS));
    }

    fn delete_collection(&self, item: &mut Map<String, Value>) {
        let query: Vec<(&str, &str)> = LISTING.iter().chain(DELETING).copied().collect();
        let body = Some((DELETE_OPTIONS, &BODIES as &[&str]));
        let operation = self.operation(self.kind, "deletecollection", "", &query, body, STATUS);
        item.insert("delete".to_owned(), operation);
    }

    /// Streams (exec, attach, port-forward, proxy, log) are no documents and are left out.
    fn subresource(&self, item: &mut Map<String, Value>, subresource: Subresource) {
        let suffix = capital(subresource.path());
        match subresource {
            Subresource::Status | Subresource::EphemeralContainers | Subresource::Resize | Subresource::Approval => {
                self.read_write(item, self.kind, &suffix)
            }
            Subresource::Scale => self.read_write(item, form::scale(), &suffix),
            Subresource::Binding => self.post(item, form::binding(), &suffix),
            Subresource::Eviction => self.post(item, form::eviction(), &suffix),
            Subresource::Token => self.post(item, form::token_request(), &suffix),
            Subresource::Finalize => {
                let name = root_name(self.kind);
                let body = Some((name.as_str(), &BODIES as &[&str]));
                item.insert("put".to_owned(), self.operation(self.kind, "put", &suffix, WRITE, body, &name));
            }
            Subresource::Log
            | Subresource::Exec
            | Subresource::Attach
            | Subresource::PortForward
            | Subresource::Proxy => {}
        }
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
