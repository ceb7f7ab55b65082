//! Walks of objects along the schema: which fields there are, what differs, merging and removing.
//!
//! Objects of built-in kinds follow the table of types; those of kinds that users define follow their own schema, below
//! metadata of a type of the table; what neither speaks of is shared field by field, and its lists as a whole.

mod overlay;

use std::sync::Arc;

use naru_crd::{Schema as OwnSchema, Sharing};
use serde_json::{Map, Value};

use super::set::FieldSet;
use crate::kind::{Kind, Str};
use crate::schema::{Field, ListKind, Schema, Shape, TypeId};

pub use overlay::overlay;

/// How writers share a value.
pub(super) enum Node<'t> {
    /// As a whole.
    Whole,
    /// Field by field.
    Object(TypeId),
    /// Key by key, each value of a shape.
    Map(&'t Shape),
    /// Item by item, by these keys.
    List(&'t Shape, &'t [Str]),
    /// Value by value.
    Set,
    /// Field by field, as a schema of its own says; `true` for objects with metadata.
    Own(&'t OwnSchema, bool),
    /// Item by item, by these keys, each as a schema of its own says.
    OwnList(&'t OwnSchema, Arc<[String]>),
    /// As it looks: objects field by field, all else as a whole.
    Free,
}

impl<'t> Node<'t> {
    /// `schema` is the kind's.
    pub(super) fn root(kind: &'t Kind, schema: &'t Schema) -> Node<'t> {
        match kind.custom() {
            Some(version) => Node::Own(&version.schema, true),
            None => Node::Object(schema.root_id()),
        }
    }

    fn of_own(own: &'t OwnSchema) -> Node<'t> {
        match (own.sharing(), own.items.as_deref()) {
            (Sharing::Fields, _) => Node::Own(own, own.embedded),
            (Sharing::Set, _) => Node::Set,
            (Sharing::Items(keys), Some(items)) => Node::OwnList(items, keys),
            (Sharing::Items(_), None) | (Sharing::Whole, _) => Node::Whole,
        }
    }

    /// A field of an object with a schema of its own.
    fn of_own_field(schema: &'t Schema, own: &'t OwnSchema, whole: bool, key: &str) -> Node<'t> {
        match key {
            "metadata" if whole => {
                schema.root().field(key).map_or(Node::Free, |metadata| Node::of_field(schema, metadata))
            }
            "apiVersion" | "kind" if whole => Node::Whole,
            key => own.field(key).map_or(Node::Free, Node::of_own),
        }
    }

    fn of_field(schema: &'t Schema, field: &'t Field) -> Node<'t> {
        match (&field.shape, &field.list) {
            (_, ListKind::Atomic) => Node::Whole,
            (Shape::List(inner), ListKind::Map(keys)) => Node::List(inner, keys),
            (Shape::List(_), ListKind::Set) => Node::Set,
            (shape, _) => Node::of_shape(schema, shape),
        }
    }

    fn of_shape(schema: &'t Schema, shape: &'t Shape) -> Node<'t> {
        match shape {
            Shape::Object(id) if *id != TypeId::OPEN => {
                let of = schema.types().get(*id);
                if of.atomic || of.any || of.open { Node::Whole } else { Node::Object(*id) }
            }
            Shape::Map(inner) => Node::Map(inner),
            _ => Node::Whole,
        }
    }

    /// How the values below one step are shared.
    fn below(&self, schema: &'t Schema, key: &str) -> Node<'t> {
        match self {
            Node::Object(id) => match schema.types().get(*id).field(key) {
                Some(field) => Node::of_field(schema, field),
                None => Node::Whole,
            },
            Node::Map(inner) => Node::of_shape(schema, inner),
            Node::Own(own, whole) => Node::of_own_field(schema, own, *whole, key),
            Node::Free => Node::Free,
            _ => Node::Whole,
        }
    }

    fn item(&self, schema: &'t Schema) -> Node<'t> {
        match self {
            Node::List(inner, _) => Node::of_shape(schema, inner),
            Node::OwnList(inner, _) => Node::of_own(inner),
            _ => Node::Whole,
        }
    }

    /// The step to an item; `None` when the item has none of its keys.
    fn step(&self, schema: &Schema, item: &Value) -> Option<String> {
        match self {
            Node::Set => Some(format!("v:{item}")),
            Node::List(Shape::Object(id), keys) => {
                let of = schema.types().get(*id);
                let default = |key: &str| of.field(key)?.default.as_deref();
                key_step(item, keys.iter().map(AsRef::as_ref), default)
            }
            Node::OwnList(own, keys) => {
                let default = |key: &str| own.field(key)?.default.as_deref();
                key_step(item, keys.iter().map(String::as_str), default)
            }
            _ => None,
        }
    }

    /// Whether an object has this field also when nobody gives it: a structure, empty, or the list that it cannot do
    /// without.
    fn always_has(&self, schema: &Schema, key: &str) -> bool {
        let Node::Object(id) = self else { return false };
        let field = schema.types().get(*id).field(key);
        field.is_some_and(|field| field.fill || field.required && matches!(field.shape, Shape::List(_)))
    }

    /// Whether its values are shared field by field.
    fn is_object(&self) -> bool {
        matches!(self, Node::Object(_) | Node::Map(_) | Node::Own(..) | Node::Free)
    }

    /// Whether its values are shared item by item.
    fn is_list(&self) -> bool {
        matches!(self, Node::List(..) | Node::OwnList(..) | Node::Set)
    }

    /// The steps to all items, when each has one of its own.
    fn steps(&self, schema: &Schema, list: &[Value]) -> Option<Vec<String>> {
        let steps: Option<Vec<String>> = list.iter().map(|item| self.step(schema, item)).collect();
        steps.filter(|s| {
            let mut sorted: Vec<&String> = s.iter().collect();
            sorted.sort_unstable();
            sorted.windows(2).all(|w| w[0] != w[1])
        })
    }
}

/// The step to an item by its keys; one that it lacks has its default.
fn key_step<'k, 'v>(
    item: &'v Value,
    keys: impl Iterator<Item = &'k str>,
    default: impl Fn(&str) -> Option<&'v Value>,
) -> Option<String> {
    let found = keys.filter_map(|key| Some((key.to_owned(), item.get(key).or_else(|| default(key))?.clone())));
    let found: Map<String, Value> = found.collect();
    (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
}

fn field_step(key: &str) -> String {
    format!("f:{key}")
}

/// The fields that a value has.
pub(super) fn fields(schema: &Schema, node: &Node<'_>, value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    match value {
        Value::Object(map) if node.is_object() => {
            for (key, value) in map {
                out.put(field_step(key), fields(schema, &node.below(schema, key), value));
            }
        }
        Value::Array(list) if node.is_list() => match node.steps(schema, list) {
            Some(steps) => {
                for (step, item) in steps.into_iter().zip(list) {
                    let mut below = match node {
                        Node::Set => FieldSet::default(),
                        _ => fields(schema, &node.item(schema), item),
                    };
                    below.own = true;
                    out.put(step, below);
                }
            }
            None => out.own = true,
        },
        _ => out.own = true,
    }
    if out.below.is_empty() {
        out.own = true;
    }
    out
}

/// The fields that a value brings where nothing was before. Unlike [`fields`], what holds others belongs to it as well:
/// it was not there either. `there` says that it was all the same, empty: so is what every object of a built-in type has.
pub(super) fn added(schema: &Schema, node: &Node<'_>, value: &Value, there: bool) -> FieldSet {
    let mut out = FieldSet { own: !there, ..FieldSet::default() };
    match value {
        Value::Object(map) if node.is_object() => {
            for (key, value) in map {
                let there = there && node.always_has(schema, key);
                out.put(field_step(key), added(schema, &node.below(schema, key), value, there));
            }
        }
        Value::Array(list) if node.is_list() && !list.is_empty() => match node.steps(schema, list) {
            Some(steps) => {
                for (step, item) in steps.into_iter().zip(list) {
                    out.put(step, added_item(schema, node, item));
                }
            }
            None => out.own = true,
        },
        _ => out.own = true,
    }
    out
}

fn added_item(schema: &Schema, node: &Node<'_>, item: &Value) -> FieldSet {
    match node {
        Node::Set => FieldSet::leaf(),
        _ => added(schema, &node.item(schema), item, false),
    }
}

/// The fields that `new` has otherwise than `old`, and those that it lacks.
pub(super) fn diff(schema: &Schema, node: &Node<'_>, old: &Value, new: &Value) -> (FieldSet, FieldSet) {
    let (mut changed, mut removed) = (FieldSet::default(), FieldSet::default());
    match (old, new) {
        (Value::Object(before), Value::Object(after)) if node.is_object() => {
            for (key, old) in before {
                match after.get(key) {
                    // Most of an object stays: no step is made for it.
                    Some(new) if new == old => {}
                    Some(new) => {
                        let (c, r) = diff(schema, &node.below(schema, key), old, new);
                        changed.put(field_step(key), c);
                        removed.put(field_step(key), r);
                    }
                    None => removed.put(field_step(key), added(schema, &node.below(schema, key), old, false)),
                }
            }
            for (key, new) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                let there = node.always_has(schema, key);
                changed.put(field_step(key), added(schema, &node.below(schema, key), new, there));
            }
            return (changed, removed);
        }
        (Value::Array(before), Value::Array(after)) if node.is_list() => {
            if let (Some(then), Some(now)) = (node.steps(schema, before), node.steps(schema, after)) {
                for (step, old) in then.iter().zip(before) {
                    match now.iter().position(|s| s == step).and_then(|at| after.get(at)) {
                        Some(new) if new == old => {}
                        Some(new) => {
                            let (c, r) = diff(schema, &node.item(schema), old, new);
                            changed.put(step.clone(), c);
                            removed.put(step.clone(), r);
                        }
                        None => removed.put(step.clone(), added_item(schema, node, old)),
                    }
                }
                for (step, new) in now.into_iter().zip(after).filter(|(step, _)| !then.contains(step)) {
                    changed.put(step, added_item(schema, node, new));
                }
                return (changed, removed);
            }
        }
        _ => {}
    }
    if old != new {
        changed.own = true;
    }
    (changed, removed)
}

/// Sets every field of `config` in `live`.
pub(super) fn merge(schema: &Schema, node: &Node<'_>, live: &mut Value, config: &Value) {
    match (&mut *live, config) {
        (Value::Object(old), Value::Object(new)) if node.is_object() => {
            for (key, value) in new {
                match old.get_mut(key) {
                    Some(present) => merge(schema, &node.below(schema, key), present, value),
                    None => drop(old.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if node.is_list() => {
            let (Some(then), Some(now)) = (node.steps(schema, old), node.steps(schema, new)) else {
                *live = config.clone();
                return;
            };
            for (step, item) in now.iter().zip(new) {
                match then.iter().position(|s| s == step) {
                    Some(i) => merge(schema, &node.item(schema), &mut old[i], item),
                    None => old.push(item.clone()),
                }
            }
        }
        _ => *live = config.clone(),
    }
}

/// Takes the fields of `gone` away, except those of `keep` and what they stand on.
pub(super) fn remove(schema: &Schema, node: &Node<'_>, value: &mut Value, gone: &FieldSet, keep: &FieldSet) {
    match value {
        Value::Object(map) if node.is_object() => {
            for (step, below) in &gone.below {
                let Some(key) = step.strip_prefix("f:") else { continue };
                let Some(inner) = map.get_mut(key) else { continue };
                let kept = keep.below.get(step);
                let empty = remove_below(schema, &node.below(schema, key), inner, below, kept);
                if empty {
                    map.remove(key);
                }
            }
        }
        Value::Array(list) if node.is_list() => {
            let Some(steps) = node.steps(schema, list) else { return };
            let mut doomed = Vec::new();
            for (i, step) in steps.iter().enumerate() {
                let Some(below) = gone.below.get(step.as_str()) else { continue };
                match keep.below.get(step.as_str()) {
                    None if below.own => doomed.push(i),
                    kept => {
                        let nothing = FieldSet::default();
                        remove(schema, &node.item(schema), &mut list[i], below, kept.unwrap_or(&nothing));
                    }
                }
            }
            for i in doomed.into_iter().rev() {
                list.remove(i);
            }
        }
        _ => {}
    }
}

/// Removes inside one value; answers whether the value itself should go.
fn remove_below(schema: &Schema, node: &Node<'_>, value: &mut Value, gone: &FieldSet, keep: Option<&FieldSet>) -> bool {
    let nothing = FieldSet::default();
    if matches!(node, Node::Whole) || gone.below.is_empty() {
        return gone.own && keep.is_none();
    }
    remove(schema, node, value, gone, keep.unwrap_or(&nothing));
    let empty = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    empty && keep.is_none()
}
