//! One entry of `managedFields`: a writer, the way it wrote, and its fields.

use serde_json::{Value, json};

use super::set::FieldSet;
use crate::meta;

/// How many writers of ordinary writes are told apart. Beyond it the oldest become one: Kubernetes' number.
const UPDATERS: usize = 10;
/// Whom the fields of such writers belong to.
const ANCIENT: &str = "ancient-changes";

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) applied: bool,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

// === impl Entry ===

impl Entry {
    /// Reads an entry; `None` when it is none.
    fn read(value: &Value) -> Option<Entry> {
        let fields = meta::at(value, "fieldsV1");
        let known = meta::text(value, "fieldsType") == "FieldsV1" && (fields.is_object() || fields.is_null());
        let applied = match meta::text(value, "operation") {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        known.then(|| Entry {
            manager: meta::text(value, "manager").to_owned(),
            applied,
            api_version: meta::text(value, "apiVersion").to_owned(),
            subresource: meta::text(value, "subresource").to_owned(),
            time: meta::text(value, "time").to_owned(),
            fields: FieldSet::read(fields),
        })
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation(), "apiVersion": self.api_version,
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.fields.write(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    fn operation(&self) -> &'static str {
        if self.applied { "Apply" } else { "Update" }
    }

    /// The writer as conflicts name it. One that applies is known by its name alone, whatever version it applied.
    pub(super) fn whom(&self) -> String {
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

/// Reads the entries of a list; `None` when there are none, or one is none.
pub(super) fn read(list: &Value) -> Option<Vec<Entry>> {
    let list = list.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(Entry::read).collect()
}

/// Writes entries as a list.
pub(super) fn write(entries: &[Entry]) -> Value {
    Value::Array(entries.iter().map(Entry::write).collect())
}

/// Brings entries into the one order in which they are shown, and makes one of the oldest when there are too many.
pub(super) fn tidy(entries: &mut Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    cap(entries);
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (e.operation(), e.time.clone(), e.manager.clone(), e.api_version.clone());
        key(a).cmp(&key(b)).then_with(|| a.subresource.cmp(&b.subresource))
    });
}

/// Merges the oldest entries of ordinary writes, those of each version into one.
fn cap(entries: &mut Vec<Entry>) {
    let mut left = entries.iter().filter(|entry| !entry.applied).count();
    if left <= UPDATERS {
        return;
    }
    let (mut updaters, others): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|e| !e.applied);
    updaters.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    let mut kept: Vec<Entry> = Vec::with_capacity(UPDATERS);
    for entry in updaters {
        let oldest = kept.iter_mut().find(|old| old.api_version == entry.api_version).filter(|_| left > UPDATERS);
        match oldest {
            Some(bucket) => {
                bucket.manager = ANCIENT.to_owned();
                bucket.subresource.clear();
                // It is as new as the newest of what it holds.
                bucket.time = entry.time;
                bucket.fields.add(entry.fields);
                left -= 1;
            }
            None => kept.push(entry),
        }
    }
    *entries = others;
    entries.append(&mut kept);
}
