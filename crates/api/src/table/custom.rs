//! Tables of kinds that users define: the name, and the columns that their definition asks for, or the age.

use jiff::Timestamp;
use naru_crd::{Cell, Version};
use serde_json::Value;

use super::Column;
use super::age::age;
use super::cell::{created, name};
use crate::kind::Str;

pub(super) fn columns(version: &Version) -> Vec<Column> {
    let mut columns = vec![column("Name", "string", "name", "What the object is called in its namespace.")];
    if version.columns.is_empty() {
        columns.push(column("Age", "date", "", "When the object was made."));
    }
    let owned = |text: &String| Str::Owned(text.clone());
    columns.extend(version.columns.iter().map(|asked| Column {
        name: owned(&asked.name),
        kind: owned(&asked.kind),
        format: owned(&asked.format),
        description: owned(&asked.description),
        priority: asked.priority,
    }));
    columns
}

fn column(name: &'static str, kind: &'static str, format: &'static str, description: &'static str) -> Column {
    Column { name: name.into(), kind: kind.into(), format: format.into(), description: description.into(), priority: 0 }
}

pub(super) fn row(version: &Version, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![name(object)];
    if version.columns.is_empty() {
        cells.push(created(object, now));
    }
    cells.extend(version.columns.iter().map(|column| match column.cell(object) {
        Cell::Value(value) => value,
        Cell::Since(then) => age(then, now).into(),
    }));
    cells
}
