//! Whether defaults keep what the schema itself asks for.

use crate::fault::Fault;
use crate::path::Path;
use crate::schema::{Additional, Schema};

/// Tells which defaults have fields that no schema knows, or values that break its rules.
pub(super) fn check(schema: &Schema, path: &Path<'_>, faults: &mut Vec<Fault>) {
    walk(schema, path, &mut |schema, path| {
        let Some(default) = schema.default.as_deref() else { return };
        let at = path.field("default").to_string();
        let mut pruned = default.clone();
        let found = schema.prune_value(&mut pruned, false);
        if !found.unknown.is_empty() {
            faults.push(Fault::invalid(&at, default.clone(), "must not have unknown fields"));
        }
        faults.extend(found.faults.into_iter().map(|fault| {
            let inner = if fault.path.is_empty() { at.clone() } else { format!("{at}.{}", fault.path) };
            Fault { path: inner, ..fault }
        }));
        faults.extend(schema.check_at(&at, default, None));
    });
}

/// Tells which defaults break rules, which must be compiled.
pub(super) fn check_rules(schema: &Schema, path: &Path<'_>, faults: &mut Vec<Fault>) {
    walk(schema, path, &mut |schema, path| {
        if let Some(default) = schema.default.as_deref() {
            let at = path.field("default").to_string();
            faults.extend(schema.evaluate_at(&at, default, None, schema.embedded));
        }
    });
}

fn walk(schema: &Schema, path: &Path<'_>, each: &mut impl FnMut(&Schema, &Path<'_>)) {
    each(schema, path);
    let properties = path.field("properties");
    for (name, inner) in schema.properties.iter() {
        walk(inner, &properties.key(name), each);
    }
    if let Some(items) = &schema.items {
        walk(items, &path.field("items"), each);
    }
    if let Additional::Of(inner) = &schema.additional {
        walk(inner, &path.field("additionalProperties"), each);
    }
}
