//! OpenAPI documents, made from the registry and the schema facts.
//!
//! Clients read them to explain fields (`kubectl explain`), to find out whether the server checks fields, and to merge
//! lists. The prose comes from the typed views, or from the definitions of kinds that users made; it is made for one
//! document and dropped with it: nothing here stays in memory. Documents are named by a hash of what they are made from ([`hash`]), so the index costs nothing.

mod gnostic;
mod paths;
mod prose;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use naru_crd::publish::Dialect;
use serde_json::{Map, Value, json};

use crate::kind::{Kind, Registry, Storage, Subresource, form};
use crate::schema::{Schema, TypeId};
use prose::Prose;

/// The version of Kubernetes whose API is presented.
pub const KUBERNETES_VERSION: &str = "v1.36.0";

/// The document at `/openapi/v3`: where each group and version is described.
pub fn v3_index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, version) in registry.group_versions() {
        let of = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = format!("/openapi/v3/{of}?hash={}", hash(registry, &group, &version));
        paths.insert(of, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// A name for what [`v3`] would say: it changes whenever the document may.
pub fn hash(registry: &Registry, group: &str, version: &str) -> String {
    // FNV-1a: a name, not a defence.
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    add(env!("CARGO_PKG_VERSION"));
    add(KUBERNETES_VERSION);
    for kind in registry.of(group, version) {
        add(&kind.kind);
        add(&kind.plural);
        add(if kind.is_namespaced() { "namespaced" } else { "cluster" });
        kind.subresources.iter().for_each(|s| add(s.path()));
        if let Some(version) = kind.custom() {
            add(&kind.list_kind());
            add(&version.hash.to_string());
        }
    }
    format!("{state:016X}")
}

/// The document of one group and version, as JSON; `None` when it is not served.
pub fn v3(registry: &Registry, group: &str, version: &str) -> Option<Bytes> {
    let kinds: Vec<&Kind> = registry.of(group, version).map(AsRef::as_ref).collect();
    if kinds.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    kinds.iter().for_each(|k| paths::of(k, Dialect::V3, &mut paths));
    let mut out = String::from("{\"openapi\":\"3.0.0\",");
    out.push_str(&format!("\"info\":{},\"paths\":", info()));
    out.push_str(&Value::Object(paths).to_string());
    out.push_str(",\"components\":{\"schemas\":{");
    write_types(&kinds, Dialect::V3, &[], |name, value| push_type(&mut out, name, value));
    out.push_str("}}}");
    Some(Bytes::from(out))
}

/// What another server says of its own resources, to be told in one document with ours.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    /// Its paths.
    pub paths: &'a Map<String, Value>,
    /// The types that these need. One that goes by the name of one of ours is taken for the same.
    pub definitions: &'a Map<String, Value>,
}

/// The document at `/openapi/v2`, as JSON.
pub fn v2(registry: &Registry, others: &[Foreign<'_>]) -> Bytes {
    let kinds: Vec<&Kind> = registry.iter().map(AsRef::as_ref).collect();
    let paths = v2_paths(&kinds, others);
    let mut out = String::from("{\"swagger\":\"2.0\",");
    out.push_str(&format!("\"info\":{},\"paths\":", info()));
    out.push_str(&Value::Object(paths).to_string());
    out.push_str(",\"definitions\":{");
    write_types(&kinds, Dialect::V2, others, |name, value| push_type(&mut out, name, value));
    out.push_str("}}");
    Bytes::from(out)
}

/// The document at `/openapi/v2`, in the protobuf form that Go clients ask for.
pub fn v2_protobuf(registry: &Registry, others: &[Foreign<'_>]) -> Bytes {
    let kinds: Vec<&Kind> = registry.iter().map(AsRef::as_ref).collect();
    let mut document = gnostic::Document::new(&info(), &v2_paths(&kinds, others));
    write_types(&kinds, Dialect::V2, others, |name, value| document.define(name, value));
    Bytes::from(document.finish())
}

fn v2_paths(kinds: &[&Kind], others: &[Foreign<'_>]) -> Map<String, Value> {
    let mut paths = Map::new();
    kinds.iter().for_each(|k| paths::of(k, Dialect::V2, &mut paths));
    for (path, item) in others.iter().flat_map(|other| other.paths) {
        paths.entry(path.as_str()).or_insert_with(|| item.clone());
    }
    paths
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": KUBERNETES_VERSION})
}

/// Adds a type to an object of types.
fn push_type(out: &mut String, name: &str, value: &Value) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(&format!("{}:{value}", Value::from(name)));
}

/// Writes every type that the kinds and their subresources use, one by one, so that only what is written grows.
fn write_types(kinds: &[&Kind], dialect: Dialect, others: &[Foreign<'_>], mut write: impl FnMut(&str, &Value)) {
    let prose = Prose::of(kinds);
    let mut written = BTreeSet::new();
    let mut add = |name: &str, value: &Value| {
        if written.insert(name.to_owned()) {
            write(name, value);
        }
    };
    for (name, value) in types::scalars(dialect) {
        add(name, &value);
    }
    // Of all these there is one table, so that a place in it stands for one type; there may be many kinds.
    let (mut seen, mut named) = (BTreeSet::new(), BTreeMap::<TypeId, Vec<Value>>::new());
    for kind in kinds.iter().filter(|k| k.custom().is_none()) {
        named.entry(kind.schema().root_id()).or_default().push(types::gvk(kind, &kind.kind));
    }
    for schema in roots(kinds) {
        for id in types::closure(&schema).into_iter().filter(|id| seen.insert(*id)) {
            let gvk = named.remove(&id).unwrap_or_default();
            let value = types::describe(&schema, schema.types().get(id), gvk, &prose, dialect);
            add(&types::component(&schema, id), &value);
        }
    }
    for kind in kinds {
        if let Some(version) = kind.custom() {
            add(&types::root_name(kind), &version.describe(&kind.group, &kind.kind, dialect));
        }
    }
    for kind in kinds.iter().filter(|k| k.storage != Storage::Review) {
        add(&types::list_name(kind), &types::list(kind, dialect));
    }
    for (name, value) in others.iter().flat_map(|other| other.definitions) {
        add(name, value);
    }
}

/// The types of the table that everything is reached from. Kinds that users define describe themselves.
fn roots(kinds: &[&Kind]) -> Vec<Schema> {
    let mut roots: Vec<Schema> = kinds.iter().filter(|k| k.custom().is_none()).map(|k| k.schema()).collect();
    let meta = ["DeleteOptions", "ListMeta", "ObjectMeta", "Status"];
    roots.extend(meta.iter().filter_map(|n| Schema::builtin(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{n}"))));
    for subresource in kinds.iter().flat_map(|k| k.subresources.iter()) {
        match subresource {
            Subresource::Scale => roots.push(form::scale().schema()),
            Subresource::Binding => roots.push(form::binding().schema()),
            Subresource::Eviction => roots.push(form::eviction().schema()),
            Subresource::Token => roots.push(form::token_request().schema()),
            _ => {}
        }
    }
    roots
}

#[cfg(test)]
mod tests;
