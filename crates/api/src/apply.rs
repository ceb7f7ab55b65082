//! Server-side apply: a client says the fields it wants, and the server remembers who wants what.
//!
//! An object's `metadata.managedFields` names the fields of every writer. Applying sets the fields of the given
//! configuration, takes away those that the same writer set before and no longer names (unless somebody else owns them),
//! and refuses to change what another writer owns unless forced. Ownership is kept from the first apply on: an object that
//! is never applied carries no such list, which would often be larger than the object. What was there before the first
//! apply belongs to the writer [`BEFORE`], as in Kubernetes.

mod set;
mod tree;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::{Kind, Subresource};
use crate::meta;
use crate::schema::Schema;
use crate::status::{Cause, Details, Reason, Status};
use set::FieldSet;
use tree::Node;

pub use tree::overlay;

/// Who owns what an object held before it was applied for the first time.
pub const BEFORE: &str = "before-first-apply";

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

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    applied: bool,
    api_version: String,
    subresource: String,
    time: String,
    fields: FieldSet,
}

/// Applies `config`, which is decoded but not defaulted, to `live` (or to nothing). The answer is not defaulted or
/// validated yet. Conflicts with other writers are refused unless `force` takes their fields over.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    if !meta::at(config, "metadata.managedFields").is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let schema = kind.schema();
    let node = Node::root(kind, &schema);
    let config = relevant(kind, config, writer.subresource);
    let wanted = tree::fields(&schema, &node, &config).without(&ignored());
    let base = live.cloned().unwrap_or_else(|| json!({}));
    let mut entries = match live {
        None => Vec::new(),
        Some(live) => read(live).unwrap_or_else(|| before(kind, &schema, live, writer.now)),
    };
    let mut result = base.clone();
    tree::merge(&schema, &node, &mut result, &config);
    let mine = |e: &Entry| e.applied && e.manager == writer.manager && e.subresource == writer.subresource;
    let (changed, _) = tree::diff(&schema, &node, &base, &result);
    let changed = changed.without(&ignored());
    resolve(kind, &mut entries, mine, &changed, force)?;
    let last = entries.iter().find(|e| mine(e)).cloned();
    entries.retain(|e| !mine(e));
    if let Some(last) = &last {
        let mut keep = wanted.clone();
        entries.iter().for_each(|e| keep.add(&e.fields));
        tree::remove(&schema, &node, &mut result, &last.fields.without(&wanted), &keep);
    }
    let present = tree::fields(&schema, &node, &result);
    for entry in &mut entries {
        entry.fields = entry.fields.existing(&present);
    }
    let same = last.as_ref().is_some_and(|l| l.fields == wanted);
    let time = match last {
        Some(last) if same && without_managers(&result) == without_managers(&base) => last.time,
        _ => meta::time(writer.now),
    };
    entries.push(Entry {
        manager: writer.manager.to_owned(),
        applied: true,
        api_version: kind.api_version(),
        subresource: writer.subresource.to_owned(),
        time,
        fields: wanted,
    });
    write(&mut result, entries);
    Ok(result)
}

/// Notes that an ordinary write turned `old` into `new`: its writer owns what it changed. Does nothing while the object was
/// never applied.
pub fn track(kind: &Kind, old: &Value, new: &mut Value, writer: Writer<'_>) {
    let Some(mut entries) = read(old) else { return };
    let schema = kind.schema();
    let node = Node::root(kind, &schema);
    let (changed, removed) = tree::diff(&schema, &node, old, new);
    let (changed, removed) = (changed.without(&ignored()), removed.without(&ignored()));
    if changed.is_empty() && removed.is_empty() {
        return;
    }
    let mine = |e: &Entry| !e.applied && e.manager == writer.manager && e.subresource == writer.subresource;
    for entry in entries.iter_mut() {
        entry.fields = entry.fields.without(&removed);
        if !mine(entry) {
            entry.fields = entry.fields.without(&changed);
        }
    }
    if !changed.is_empty() {
        let mut fields = changed;
        if let Some(at) = entries.iter().position(mine) {
            fields.add(&entries.remove(at).fields);
        }
        entries.push(Entry {
            manager: writer.manager.to_owned(),
            applied: false,
            api_version: kind.api_version(),
            subresource: writer.subresource.to_owned(),
            time: meta::time(writer.now),
            fields,
        });
    }
    write(new, entries);
}

/// The part of a configuration that may be set through a path.
fn relevant(kind: &Kind, config: &Value, subresource: &str) -> Value {
    let mut config = config.clone();
    let Some(map) = config.as_object_mut() else { return config };
    if subresource == Subresource::Status.path() {
        map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
        }
    } else if kind.has(Subresource::Status) {
        map.remove("status");
    }
    config
}

/// Fields that nobody owns.
fn ignored() -> FieldSet {
    let mut all = FieldSet::default();
    all.insert(&["f:apiVersion"]);
    all.insert(&["f:kind"]);
    for field in [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        all.insert(&["f:metadata", &format!("f:{field}")]);
    }
    all.insert(&["f:metadata"]);
    all
}

fn before(kind: &Kind, schema: &Schema, live: &Value, now: Timestamp) -> Vec<Entry> {
    vec![Entry {
        manager: BEFORE.to_owned(),
        applied: false,
        api_version: kind.api_version(),
        subresource: String::new(),
        time: meta::time(now),
        fields: tree::fields(schema, &Node::root(kind, schema), live).without(&ignored()),
    }]
}

/// Takes fields away from other writers, or tells whose they are.
fn resolve(
    kind: &Kind,
    entries: &mut Vec<Entry>,
    mine: impl Fn(&Entry) -> bool,
    changed: &FieldSet,
    force: bool,
) -> Result<(), Status> {
    let mut causes = Vec::new();
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|e| !mine(e)) {
        let taken = entry.fields.common(changed);
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

impl Entry {
    /// The writer as conflicts name it. One that applies is known by its name alone, whatever version it applied.
    fn whom(&self) -> String {
        let mut whom = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            whom.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applied {
            whom.push_str(&format!(" using {}", self.api_version));
        }
        whom
    }
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    meta::unset(&mut object, "managedFields");
    object
}

/// The entries of an object; `None` when it was never applied.
fn read(object: &Value) -> Option<Vec<Entry>> {
    let list = meta::at(object, "metadata.managedFields").as_array().filter(|l| !l.is_empty())?;
    let entry = |v: &Value| Entry {
        manager: meta::text(v, "manager").to_owned(),
        applied: meta::text(v, "operation") == "Apply",
        api_version: meta::text(v, "apiVersion").to_owned(),
        subresource: meta::text(v, "subresource").to_owned(),
        time: meta::text(v, "time").to_owned(),
        fields: FieldSet::read(meta::at(v, "fieldsV1")),
    };
    Some(list.iter().map(entry).collect())
}

fn write(object: &mut Value, entries: Vec<Entry>) {
    let entries = entries.into_iter().filter(|e| !e.fields.is_empty());
    let list: Vec<Value> = entries
        .map(|e| {
            let mut entry = json!({
                "manager": e.manager, "operation": if e.applied { "Apply" } else { "Update" },
                "apiVersion": e.api_version, "time": e.time, "fieldsType": "FieldsV1", "fieldsV1": e.fields.write(),
            });
            if !e.subresource.is_empty() {
                entry["subresource"] = e.subresource.into();
            }
            entry
        })
        .collect();
    if list.is_empty() {
        meta::unset(object, "managedFields");
    } else {
        meta::set(object, "managedFields", list);
    }
}

#[cfg(test)]
mod tests;
