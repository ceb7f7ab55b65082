//! Taking away what no schema knows.
//!
//! Unknown fields would be kept for ever without anybody having agreed to them, so they go when an object is written, and
//! their paths are told to whoever wrote them. Metadata is the server's at the root; inside embedded objects it is
//! checked here, by the same table ([`metadata`]).

use std::fmt::Write;

use serde_json::Value;

use crate::fault::Fault;
use crate::metadata;
use crate::schema::{Additional, Schema};

/// How many paths are told; an object full of mistakes is told in part.
const LIMIT: usize = 64;

/// What pruning found.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The paths of fields that were taken away.
    pub unknown: Vec<String>,
    /// Metadata of embedded objects that is none.
    pub faults: Vec<Fault>,
}

impl Schema {
    /// Takes away all fields of an object that the schema does not know. `apiVersion`, `kind` and `metadata` stay.
    pub fn prune(&self, object: &mut Value) -> Pruned {
        self.prune_value(object, true)
    }

    /// As [`Schema::prune`]; `root` says that the value is an object whose metadata is the server's.
    pub(crate) fn prune_value(&self, value: &mut Value, root: bool) -> Pruned {
        let mut walk = Walk { path: String::new(), found: Pruned::default() };
        walk.value(Some(self), value, root);
        walk.found
    }
}

struct Walk {
    path: String,
    found: Pruned,
}

impl Walk {
    fn value(&mut self, schema: Option<&Schema>, value: &mut Value, root: bool) {
        match value {
            Value::Object(map) => {
                let embedded = schema.is_some_and(|s| s.embedded);
                let keeps = schema.is_some_and(|s| s.preserves_unknown);
                let mut gone = Vec::new();
                for (name, inner) in map.iter_mut() {
                    if (root || embedded) && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                        continue;
                    }
                    let back = self.enter(name);
                    match schema.map(|s| (s.properties.get(name), &s.additional)) {
                        Some((Some(known), _)) => self.value(Some(known), inner, false),
                        Some((None, Additional::Of(known))) => self.value(Some(known), inner, false),
                        _ if keeps => {}
                        Some((None, Additional::Any)) => self.value(None, inner, false),
                        _ => {
                            self.unknown();
                            gone.push(name.clone());
                        }
                    }
                    self.path.truncate(back);
                }
                for name in gone {
                    map.remove(&name);
                }
                if embedded && !root {
                    let found = &mut self.found;
                    metadata::coerce(map, &self.path, &mut found.unknown, &mut found.faults);
                }
            }
            Value::Array(items) => {
                // Items that a schema says nothing of are kept where unknown fields are.
                let inner = schema.and_then(|s| s.items.as_deref());
                if inner.is_none() && schema.is_some_and(|s| s.preserves_unknown) {
                    return;
                }
                for (index, item) in items.iter_mut().enumerate() {
                    let back = self.path.len();
                    // Writing to a string does not fail.
                    let _ = write!(self.path, "[{index}]");
                    self.value(inner, item, false);
                    self.path.truncate(back);
                }
            }
            _ => {}
        }
    }

    /// Steps into a field; answers where to step back to.
    fn enter(&mut self, name: &str) -> usize {
        let back = self.path.len();
        if back > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        back
    }

    fn unknown(&mut self) {
        if self.found.unknown.len() < LIMIT {
            self.found.unknown.push(self.path.clone());
        }
    }
}

#[cfg(test)]
mod tests;
