//! Makes the table of schema facts.
//!
//! Input: a JSON document with every type of the Kubernetes API (`schemas`: properties, types, references, list types,
//! keys, defaults). Output: one text file a package in a form of our own, which people can review in a diff:
//!
//! ```text
//! package io.k8s.api.core.v1
//! type Container
//!   args []string atomic
//!   name string!
//!   ports []ContainerPort map(containerPort,protocol) merge(containerPort)
//!   resources ResourceRequirements fill
//! ```
//!
//! A type is `string bytes int32 int64 number bool any object quantity time microtime intstr`, the name of a type (with
//! its package unless it is of the same one), `[]` or `{}` before a type for lists and maps; `!` says required. Then follow
//! `atomic`, `set`, `map(keys)` for lists; `atomic` for maps and structs; `merge`, `merge(key)`, `retain` for patches;
//! `fill` where an absent struct is written as an empty one; `default=` and JSON. Defaults that are only the zero value of
//! a Go type are left out: no server fills them in.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The packages that are kept: what is served now or is a stable part of what will be.
const PACKAGES: &[(&str, &str)] = &[
    ("io.k8s.api.admissionregistration.v1", "admissionregistration.v1"),
    ("io.k8s.api.apps.v1", "apps.v1"),
    ("io.k8s.api.authentication.v1", "authentication.v1"),
    ("io.k8s.api.authorization.v1", "authorization.v1"),
    ("io.k8s.api.autoscaling.v1", "autoscaling.v1"),
    ("io.k8s.api.autoscaling.v2", "autoscaling.v2"),
    ("io.k8s.api.batch.v1", "batch.v1"),
    ("io.k8s.api.certificates.v1", "certificates.v1"),
    ("io.k8s.api.coordination.v1", "coordination.v1"),
    ("io.k8s.api.core.v1", "core.v1"),
    ("io.k8s.api.discovery.v1", "discovery.v1"),
    ("io.k8s.api.events.v1", "events.v1"),
    ("io.k8s.api.flowcontrol.v1", "flowcontrol.v1"),
    ("io.k8s.api.networking.v1", "networking.v1"),
    ("io.k8s.api.node.v1", "node.v1"),
    ("io.k8s.api.policy.v1", "policy.v1"),
    ("io.k8s.api.rbac.v1", "rbac.v1"),
    ("io.k8s.api.resource.v1", "resource.v1"),
    ("io.k8s.api.scheduling.v1", "scheduling.v1"),
    ("io.k8s.api.storage.v1", "storage.v1"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1", "apiextensions.v1"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1", "meta.v1"),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1", "apiregistration.v1"),
];

/// Types that are one JSON value with rules of its own.
const SCALARS: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "microtime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "object"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "object"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "object"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "intstr"),
];

/// Writes the files of all packages into `to`.
pub fn generate(from: &Path, to: &Path) -> Result<()> {
    let text = std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let document: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", from.display()))?;
    let schemas = document.get("schemas").and_then(Value::as_object).context("the document has no `schemas`")?;
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for (package, file) in PACKAGES {
        let types: BTreeMap<&str, &Value> = schemas
            .iter()
            .filter_map(|(name, schema)| Some((name.strip_prefix(package)?.strip_prefix('.')?, schema)))
            .filter(|(name, _)| !name.contains('.'))
            .collect();
        let mut out = format!("package {package}\n");
        for (name, schema) in types {
            let full = format!("{package}.{name}");
            if SCALARS.iter().any(|s| s.0 == full) || is_list_of_objects(schema) {
                continue;
            }
            write_type(&mut out, package, name, schema, schemas).with_context(|| full)?;
        }
        let path = to.join(format!("{file}.txt"));
        std::fs::write(&path, out).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Lists (`PodList`) follow from their kind and are not written.
fn is_list_of_objects(schema: &Value) -> bool {
    let list_meta = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
    schema.pointer("/properties/metadata/allOf/0/$ref").and_then(Value::as_str) == Some(list_meta)
        && schema.pointer("/properties/items").is_some()
}

fn write_type(
    out: &mut String,
    package: &str,
    name: &str,
    schema: &Value,
    schemas: &serde_json::Map<String, Value>,
) -> Result<()> {
    if schema.get("properties").is_none() && schema.get("type").is_none() {
        writeln!(out, "type {name} any")?;
        return Ok(());
    }
    write!(out, "type {name}")?;
    if schema.get("x-kubernetes-map-type").is_some_and(|t| t == "atomic") {
        write!(out, " atomic")?;
    }
    writeln!(out)?;
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let shape = shape(package, property).with_context(|| field.clone())?;
        write!(out, "  {field} {shape}")?;
        if required.contains(&field.as_str()) {
            write!(out, "!")?;
        }
        write_list(out, property)?;
        write_default(out, property, schemas)?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_list(out: &mut String, property: &Value) -> Result<()> {
    let text = |key: &str| property.get(key).and_then(Value::as_str);
    match text("x-kubernetes-list-type") {
        Some("map") => {
            let keys = property.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
            let keys: Vec<&str> = keys.filter_map(Value::as_str).collect();
            write!(out, " map({})", keys.join(","))?;
        }
        Some(other @ ("atomic" | "set")) => write!(out, " {other}")?,
        Some(other) => bail!("unknown list type {other}"),
        None => {}
    }
    if text("x-kubernetes-map-type") == Some("atomic") {
        write!(out, " atomic")?;
    }
    for strategy in text("x-kubernetes-patch-strategy").into_iter().flat_map(|s| s.split(',')) {
        match (strategy, text("x-kubernetes-patch-merge-key")) {
            ("merge", Some(key)) => write!(out, " merge({key})")?,
            ("merge", None) => write!(out, " merge")?,
            ("retainKeys", _) => write!(out, " retain")?,
            ("replace", _) => {}
            (other, _) => bail!("unknown patch strategy {other}"),
        }
    }
    Ok(())
}

fn write_default(out: &mut String, property: &Value, schemas: &serde_json::Map<String, Value>) -> Result<()> {
    let Some(default) = property.get("default") else { return Ok(()) };
    if default.as_object().is_some_and(serde_json::Map::is_empty) {
        let target = reference(property).and_then(|name| schemas.get(name));
        if target.is_some_and(|t| t.get("properties").is_some()) {
            write!(out, " fill")?;
        }
        return Ok(());
    }
    let zero = default == "" || default == 0 || default == false || default.is_null();
    if !zero {
        write!(out, " default={default}")?;
    }
    Ok(())
}

fn reference(property: &Value) -> Option<&str> {
    let target = property.get("$ref").or_else(|| property.pointer("/allOf/0/$ref"))?;
    target.as_str()?.strip_prefix("#/components/schemas/")
}

fn shape(package: &str, property: &Value) -> Result<String> {
    if let Some(name) = reference(property) {
        if let Some((_, scalar)) = SCALARS.iter().find(|s| s.0 == name) {
            return Ok((*scalar).to_owned());
        }
        let (of, short) = name.rsplit_once('.').context("a reference without a package")?;
        return Ok(if of == package { short.to_owned() } else { name.to_owned() });
    }
    let text = |key: &str| property.get(key).and_then(Value::as_str);
    Ok(match (text("type"), text("format")) {
        (Some("string"), Some("byte")) => "bytes".to_owned(),
        (Some("string"), _) => "string".to_owned(),
        (Some("integer"), Some("int32")) => "int32".to_owned(),
        (Some("integer"), _) => "int64".to_owned(),
        (Some("number"), _) => "number".to_owned(),
        (Some("boolean"), _) => "bool".to_owned(),
        (Some("array"), _) => {
            format!("[]{}", shape(package, property.get("items").context("a list without items")?)?)
        }
        (Some("object"), _) => match property.get("additionalProperties") {
            Some(values) => format!("{{}}{}", shape(package, values)?),
            None => "object".to_owned(),
        },
        (None, _) => "any".to_owned(),
        (Some(other), _) => bail!("unknown type {other}"),
    })
}
