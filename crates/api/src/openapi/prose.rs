//! The sentences about types and fields.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::schemars::SchemaGenerator;
use serde_json::{Map, Value};

use crate::kind::Kind;
use crate::view;

const OWN: &str = include_str!("../../facts/naru.v1.prose.txt");

/// What is said about the types of some kinds. Lives as long as one document is written.
pub(super) struct Prose {
    types: Map<String, Value>,
}

impl Prose {
    pub(super) fn of(kinds: &[&Kind]) -> Prose {
        let mut generator = SchemaGenerator::default();
        let mut seen = BTreeSet::new();
        for kind in kinds {
            if seen.insert((&kind.group, &kind.kind)) {
                view::describe(&kind.group, &kind.kind, &mut generator);
            }
        }
        // Kinds that users define have no view, but metadata like all others.
        drop(generator.subschema_for::<ObjectMeta>());
        Prose { types: generator.take_definitions(false) }
    }

    /// The sentence about a type.
    pub(super) fn about(&self, name: &str) -> Option<&str> {
        match name.strip_prefix("io.naru.v1.") {
            Some(own) => own_line(own),
            None => self.types.get(name)?.get("description")?.as_str(),
        }
    }

    /// The sentence about a field.
    pub(super) fn about_field(&self, name: &str, field: &str) -> Option<&str> {
        match name.strip_prefix("io.naru.v1.") {
            Some(own) => own_line(&format!("{own}.{field}")),
            None => self.types.get(name)?.get("properties")?.get(field)?.get("description")?.as_str(),
        }
    }
}

fn own_line(subject: &str) -> Option<&'static str> {
    OWN.lines().find_map(|line| line.strip_prefix(subject)?.strip_prefix(' '))
}
