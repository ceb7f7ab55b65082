//! The owners of an object's fields, and what ordinary writes make of them.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::Value;

use super::code;
use super::entry::{self, Entry};
use super::set::FieldSet;
use super::tree::{self, Node};
use super::{Versions, Writer};
use crate::kind::{Kind, Subresource};
use crate::meta;

/// Who owns which fields of an object: what clients see as `metadata.managedFields`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    pub(super) entries: Vec<Entry>,
}

/// Fields that nobody owns.
pub(super) static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut all = FieldSet::default();
    for steps in [
        &["f:apiVersion"][..],
        &["f:kind"],
        &["f:metadata"],
        &["f:metadata", "f:name"],
        &["f:metadata", "f:namespace"],
        &["f:metadata", "f:uid"],
        &["f:metadata", "f:resourceVersion"],
        &["f:metadata", "f:creationTimestamp"],
        &["f:metadata", "f:generation"],
        &["f:metadata", "f:selfLink"],
        &["f:metadata", "f:managedFields"],
        &["f:metadata", "f:deletionTimestamp"],
        &["f:metadata", "f:deletionGracePeriodSeconds"],
    ] {
        all.insert(steps);
    }
    all
});

// === impl Owners ===

impl Owners {
    /// Reads `managedFields`; `None` when there are none, or they are not what they should be.
    pub fn from_json(list: &Value) -> Option<Owners> {
        Some(Owners { entries: entry::read(list)? })
    }

    /// `managedFields` as clients see them.
    pub fn to_json(&self) -> Value {
        entry::write(&self.entries)
    }

    /// Reads the form in which owners are kept; nobody when it is none.
    pub fn from_code(code: &str) -> Owners {
        Owners { entries: code::read(code).unwrap_or_default() }
    }

    /// The form in which owners are kept: a fraction of what is shown, and text that JSON takes as it is.
    pub fn to_code(&self) -> String {
        code::write(&self.entries)
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The owner of a new object: who made it owns what it was made with, but a status that is written apart.
    pub fn of_new(kind: &Kind, object: &Value, writer: Writer<'_>) -> Owners {
        let schema = kind.schema();
        // What every object has is there before anybody writes; of kinds that users define nothing is.
        let there = kind.custom().is_none();
        let mut fields = tree::added(&schema, &Node::root(kind, &schema), object, there);
        fields.own = false;
        fields.take_out(&NOBODYS);
        if kind.has(Subresource::Status) {
            fields.below.remove("f:status");
        }
        if kind.is("", "Namespace") {
            // Whatever its maker says, the server begins its finalizers.
            fields.below.remove("f:spec");
        }
        let mut owners = Owners { entries: vec![updater(kind, writer, fields)] };
        owners.tidy();
        owners
    }

    /// Notes that an ordinary write turned `old` into `new`, both in the form of `kind`: its writer owns what it changed,
    /// and nobody what is gone. Does nothing where nobody owns anything: then somebody wanted it so.
    pub fn track(&mut self, kind: &Kind, old: &Value, new: &Value, writer: Writer<'_>, versions: &Versions<'_>) {
        if self.is_empty() {
            return;
        }
        let (changed, removed) = changes(kind, old, new);
        if changed.is_empty() && removed.is_empty() {
            return;
        }
        let version = kind.api_version();
        let mine = |e: &Entry| {
            !e.applied && e.manager == writer.manager && e.subresource == writer.subresource && e.api_version == version
        };
        let mut elsewhere: Vec<(String, Option<(FieldSet, FieldSet)>)> = Vec::new();
        self.entries.retain_mut(|entry| {
            let (changed, removed) = if entry.api_version == version {
                (&changed, &removed)
            } else {
                let at = elsewhere.iter().position(|(known, _)| *known == entry.api_version).unwrap_or_else(|| {
                    let then = versions(old, &entry.api_version);
                    let both = then.zip(versions(new, &entry.api_version));
                    let changes = both.map(|((kind, old), (_, new))| changes(&kind, &old, &new));
                    elsewhere.push((entry.api_version.clone(), changes));
                    elsewhere.len() - 1
                });
                // A version that is no longer there has no fields either.
                let Some((changed, removed)) = &elsewhere[at].1 else { return false };
                (changed, removed)
            };
            entry.fields.take_out(removed);
            if !mine(entry) {
                entry.fields.take_out(changed);
            }
            !entry.fields.is_empty()
        });
        if !changed.is_empty() {
            match self.entries.iter_mut().find(|entry| mine(entry)) {
                Some(entry) => {
                    entry.fields.add(changed);
                    entry.time = meta::time(writer.now);
                }
                None => self.entries.push(updater(kind, writer, changed)),
            }
        }
        self.tidy();
    }

    pub(super) fn tidy(&mut self) {
        entry::tidy(&mut self.entries);
    }
}

/// What is otherwise in `new`, and what is gone, of all that somebody can own.
pub(super) fn changes(kind: &Kind, old: &Value, new: &Value) -> (FieldSet, FieldSet) {
    let schema = kind.schema();
    let (mut changed, mut removed) = tree::diff(&schema, &Node::root(kind, &schema), old, new);
    changed.take_out(&NOBODYS);
    removed.take_out(&NOBODYS);
    (changed, removed)
}

/// The entry of an ordinary write.
fn updater(kind: &Kind, writer: Writer<'_>, fields: FieldSet) -> Entry {
    let Writer { manager, subresource, now } = writer;
    updated(kind, manager, subresource, now, fields)
}

pub(super) fn updated(kind: &Kind, manager: &str, subresource: &str, now: Timestamp, fields: FieldSet) -> Entry {
    Entry {
        manager: manager.to_owned(),
        applied: false,
        api_version: kind.api_version(),
        subresource: subresource.to_owned(),
        time: meta::time(now),
        fields,
    }
}
