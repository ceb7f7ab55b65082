//! Server-side apply: a client says the fields it wants, and the server remembers who wants what.
//!
//! An object's `metadata.managedFields` names the fields of every writer, from its creation on. Applying sets the fields
//! of the given configuration, takes away those that the same writer set before and no longer names (unless somebody else
//! owns them), and refuses to change what another writer owns unless forced. An ordinary write gives its writer what it
//! changes. An object of which nobody is known to own anything is left so until it is applied; what was there before
//! belongs to the writer [`BEFORE`], as in Kubernetes.
//!
//! What clients see is larger than most objects: [`Owners`] have a short form, in which they are kept and counted.

mod code;
mod entry;
mod owners;
mod set;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::{Kind, Subresource};
use crate::meta;
use crate::schema::Schema;
use crate::status::{Cause, Details, Reason, Status};
pub use code::{show, shown_len};
use entry::Entry;
pub use owners::Owners;
use owners::{NOBODYS, changes, updated};
use set::FieldSet;
use tree::Node;
pub use tree::overlay;

/// Who owns what an object held before it was applied for the first time.
pub const BEFORE: &str = "before-first-apply";

/// An object in another version (`apps/v1`), with the kind of that version; `None` when there is none.
pub type Versions<'v> = dyn Fn(&Value, &str) -> Option<(Arc<Kind>, Value)> + 'v;

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'w> {
    /// The name of the writer (`fieldManager`).
    pub manager: &'w str,
    /// The subresource written through; empty for the object itself.
    pub subresource: &'w str,
    /// The present time.
    pub now: Timestamp,
}

/// Applies `config`, which is decoded but not defaulted, to `live` (or to nothing). The answer is not defaulted or
/// validated yet. Conflicts with other writers are refused unless `force` takes their fields over.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
    versions: &Versions<'_>,
) -> Result<Value, Status> {
    if !meta::at(config, "metadata.managedFields").is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let schema = kind.schema();
    let node = Node::root(kind, &schema);
    let config = relevant(kind, config, writer.subresource);
    let wanted = tree::fields(&schema, &node, &config).without(&NOBODYS);
    let base = live.cloned().unwrap_or_else(|| json!({}));
    let mut entries = match live {
        None => Vec::new(),
        Some(live) => read(live).unwrap_or_else(|| before(kind, &schema, live, writer.now)),
    };
    let mut result = base.clone();
    tree::merge(&schema, &node, &mut result, &config);
    let mine = |e: &Entry| e.applied && e.manager == writer.manager && e.subresource == writer.subresource;
    let changes = Changes { kind, old: &base, new: &result, versions, known: BTreeMap::new() };
    resolve(kind, &mut entries, mine, changes, force)?;
    let last = entries.iter().find(|e| mine(e)).cloned();
    entries.retain(|e| !mine(e));
    if let Some(last) = &last {
        let mut keep = wanted.clone();
        entries.iter().for_each(|e| keep.add(e.fields.clone()));
        prune(kind, last, &wanted, &keep, &mut result, versions);
    }
    retain_existing(kind, &mut entries, &result, versions);
    let same = last.as_ref().is_some_and(|l| l.fields == wanted && l.api_version == kind.api_version());
    let time = match last {
        Some(last) if same && without_managers(&result) == without_managers(&base) => last.time,
        _ => meta::time(writer.now),
    };
    let own = Entry { applied: true, time, ..updated(kind, writer.manager, writer.subresource, writer.now, wanted) };
    entries.push(own);
    let mut owners = Owners { entries };
    owners.tidy();
    match owners.is_empty() {
        true => drop(meta::unset(&mut result, "managedFields")),
        false => meta::set(&mut result, "managedFields", owners.to_json()),
    }
    Ok(result)
}

/// What an apply changes, as each version of the object shows it.
struct Changes<'c> {
    kind: &'c Kind,
    old: &'c Value,
    new: &'c Value,
    versions: &'c Versions<'c>,
    known: BTreeMap<String, FieldSet>,
}

impl Changes<'_> {
    /// What changes in a version; nothing in one that is no longer there.
    fn of(&mut self, api_version: &str) -> &FieldSet {
        let (kind, old, new, versions) = (self.kind, self.old, self.new, self.versions);
        self.known.entry(api_version.to_owned()).or_insert_with(|| {
            if api_version == kind.api_version() {
                return changes(kind, old, new).0;
            }
            let both = versions(old, api_version).zip(versions(new, api_version));
            both.map(|((kind, old), (_, new))| changes(&kind, &old, &new).0).unwrap_or_default()
        })
    }
}

/// Takes away what a writer set the last time and does not want now, in the version in which it said so.
fn prune(kind: &Kind, last: &Entry, wanted: &FieldSet, keep: &FieldSet, result: &mut Value, versions: &Versions<'_>) {
    let gone = last.fields.without(wanted);
    if last.api_version == kind.api_version() {
        let schema = kind.schema();
        return tree::remove(&schema, &Node::root(kind, &schema), result, &gone, keep);
    }
    let Some((older, mut object)) = versions(result, &last.api_version) else { return };
    let schema = older.schema();
    tree::remove(&schema, &Node::root(&older, &schema), &mut object, &gone, keep);
    if let Some((_, object)) = versions(&object, &kind.api_version()) {
        *result = object;
    }
}

/// Takes from every writer what is no longer there, and the writers of versions that are no longer there.
fn retain_existing(kind: &Kind, entries: &mut Vec<Entry>, result: &Value, versions: &Versions<'_>) {
    let present = |kind: &Kind, object: &Value| {
        let schema = kind.schema();
        tree::fields(&schema, &Node::root(kind, &schema), object)
    };
    let here = present(kind, result);
    entries.retain_mut(|entry| {
        if entry.api_version == kind.api_version() {
            entry.fields = entry.fields.existing(&here);
            return true;
        }
        let Some((kind, object)) = versions(result, &entry.api_version) else { return false };
        entry.fields = entry.fields.existing(&present(&kind, &object));
        true
    });
}

/// The part of a configuration that may be set through a path.
fn relevant(kind: &Kind, config: &Value, subresource: &str) -> Value {
    let mut config = config.clone();
    let Some(map) = config.as_object_mut() else { return config };
    let narrow = Subresource::from_path(subresource).filter(|subresource| kind.has(*subresource));
    let part = match narrow {
        Some(Subresource::Status | Subresource::Approval) => "status",
        Some(Subresource::EphemeralContainers | Subresource::Resize | Subresource::Finalize | Subresource::Scale) => {
            "spec"
        }
        _ => {
            if kind.has(Subresource::Status) {
                map.remove("status");
            }
            return config;
        }
    };
    map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata") || key == part);
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
    }
    let Some(part) = map.get_mut(part).and_then(Value::as_object_mut) else { return config };
    match narrow {
        Some(Subresource::Approval) => part.retain(|key, _| key == "conditions"),
        Some(Subresource::Finalize) => part.retain(|key, _| key == "finalizers"),
        Some(Subresource::EphemeralContainers) => part.retain(|key, _| key == "ephemeralContainers"),
        Some(Subresource::Resize) => {
            part.retain(|key, _| matches!(key.as_str(), "containers" | "initContainers"));
            let containers = part.values_mut().filter_map(Value::as_array_mut).flatten();
            for container in containers.filter_map(Value::as_object_mut) {
                container.retain(|key, _| matches!(key.as_str(), "name" | "resources"));
            }
        }
        _ => {}
    }
    config
}

/// What an object holds of which nobody is known to own anything.
fn before(kind: &Kind, schema: &Schema, live: &Value, now: Timestamp) -> Vec<Entry> {
    let fields = tree::fields(schema, &Node::root(kind, schema), live).without(&NOBODYS);
    vec![updated(kind, BEFORE, "", now, fields)]
}

/// Takes fields away from other writers, or tells whose they are.
fn resolve(
    kind: &Kind,
    entries: &mut Vec<Entry>,
    mine: impl Fn(&Entry) -> bool,
    mut changes: Changes<'_>,
    force: bool,
) -> Result<(), Status> {
    let mut causes = Vec::new();
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|e| !mine(e)) {
        let taken = entry.fields.common(changes.of(&entry.api_version));
        if taken.is_empty() {
            continue;
        }
        if force {
            entry.fields = entry.fields.without(&taken);
            continue;
        }
        let (whom, paths) = (entry.whom(), taken.paths());
        causes.extend(paths.iter().map(|field| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {whom}"),
            field: field.clone(),
        }));
        conflicts.push((whom, paths));
    }
    entries.retain(|e| !e.fields.is_empty());
    if causes.is_empty() {
        return Ok(());
    }
    let mut status = Status::new(Reason::Conflict, told(causes.len(), conflicts));
    status.details = Some(Box::new(Details {
        group: kind.group.to_string(),
        kind: kind.plural.to_string(),
        causes,
        ..Details::default()
    }));
    Err(status)
}

/// The sentence about conflicts: one in a line, several as a list under each writer, as people see them in a terminal.
fn told(count: usize, mut conflicts: Vec<(String, Vec<String>)>) -> String {
    if let ([(whom, paths)], 1) = (conflicts.as_slice(), count) {
        return format!("Apply failed with 1 conflict: conflict with {whom}: {}", paths.join(""));
    }
    conflicts.sort();
    let lines = conflicts.iter().flat_map(|(whom, paths)| {
        let first = format!("conflicts with {whom}:");
        std::iter::once(first).chain(paths.iter().map(|path| format!("- {path}")))
    });
    format!("Apply failed with {count} conflicts: {}", lines.collect::<Vec<_>>().join("\n"))
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    meta::unset(&mut object, "managedFields");
    object
}

/// The entries of an object; `None` when nobody is known to own anything.
fn read(object: &Value) -> Option<Vec<Entry>> {
    entry::read(meta::at(object, "metadata.managedFields"))
}

#[cfg(test)]
mod tests;
