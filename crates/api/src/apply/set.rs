//! Sets of fields, in the form that objects carry them.
//!
//! A set is a tree whose steps are written as in `fieldsV1`: `f:name` for a field, `k:{"name":"a"}` for an object of a list
//! by its keys, `v:"x"` for a value of a set. A step that ends belongs to the set; one with further steps belongs to it
//! only when it says so (`.`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path, as `fieldsV1` writes it.
pub(super) type Step = Cow<'static, str>;

/// A set of fields below one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    /// Whether the place itself belongs to the set.
    pub(super) own: bool,
    pub(super) below: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// A place without anything below.
    pub(super) fn leaf() -> FieldSet {
        FieldSet { own: true, below: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }

    /// Adds one place.
    pub(super) fn insert(&mut self, steps: &[&'static str]) {
        match steps {
            [] => self.own = true,
            [first, rest @ ..] => self.below.entry(Cow::Borrowed(*first)).or_default().insert(rest),
        }
    }

    /// Adds what lies below one step.
    pub(super) fn put(&mut self, step: impl Into<Step>, below: FieldSet) {
        if !below.is_empty() {
            self.below.entry(step.into()).or_default().add(below);
        }
    }

    /// Adds every place of another set.
    pub(super) fn add(&mut self, other: FieldSet) {
        if self.below.is_empty() {
            self.below = other.below;
        } else {
            for (step, below) in other.below {
                self.below.entry(step).or_default().add(below);
            }
        }
        self.own |= other.own;
    }

    /// Takes every place of another set away.
    pub(super) fn take_out(&mut self, other: &FieldSet) {
        self.own &= !other.own;
        for (step, theirs) in &other.below {
            let Some(below) = self.below.get_mut(step) else { continue };
            below.take_out(theirs);
            if below.is_empty() {
                self.below.remove(step);
            }
        }
    }

    /// The places that another set lacks.
    pub(super) fn without(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet { own: self.own && !other.own, below: BTreeMap::new() };
        for (step, below) in &self.below {
            let rest = match other.below.get(step) {
                Some(theirs) => below.without(theirs),
                None => below.clone(),
            };
            if !rest.is_empty() {
                out.below.insert(step.clone(), rest);
            }
        }
        out
    }

    /// The places that both sets have.
    pub(super) fn common(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet { own: self.own && other.own, below: BTreeMap::new() };
        for (step, below) in &self.below {
            if let Some(theirs) = other.below.get(step) {
                let both = below.common(theirs);
                if !both.is_empty() {
                    out.below.insert(step.clone(), both);
                }
            }
        }
        out
    }

    /// The places that still exist: those in `present`, or above something in it.
    pub(super) fn existing(&self, present: &FieldSet) -> FieldSet {
        let mut out = FieldSet { own: self.own, below: BTreeMap::new() };
        for (step, below) in &self.below {
            if let Some(theirs) = present.below.get(step) {
                let rest = below.existing(theirs);
                if !rest.is_empty() {
                    out.below.insert(step.clone(), rest);
                }
            }
        }
        out
    }

    /// The places as people read them: `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        if self.own {
            out.push(path.clone());
        }
        for (step, below) in &self.below {
            let back = path.len();
            path.push_str(&readable(step));
            below.collect(path, out);
            path.truncate(back);
        }
    }

    /// Reads `fieldsV1`.
    pub(super) fn read(value: &Value) -> FieldSet {
        let Some(map) = value.as_object() else { return FieldSet::default() };
        let mut out = FieldSet::default();
        for (step, below) in map {
            if step == "." {
                out.own = true;
                continue;
            }
            let leaf = below.as_object().is_none_or(Map::is_empty);
            out.below.insert(step.clone().into(), if leaf { FieldSet::leaf() } else { FieldSet::read(below) });
        }
        out
    }

    /// Writes `fieldsV1`.
    pub(super) fn write(&self) -> Value {
        let mut map = Map::new();
        if self.own && !self.below.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, below) in &self.below {
            map.insert(step.clone().into_owned(), below.write());
        }
        Value::Object(map)
    }
}

fn readable(step: &str) -> String {
    match step.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        _ => format!("[{step}]"),
    }
}
