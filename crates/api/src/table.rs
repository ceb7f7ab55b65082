//! Tables.

use jiff::Timestamp;
use serde_json::Value;

use crate::kind::Kind;

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// The JSON type of cells: `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: &'static str,
    /// The format: `name` for the object's name, else empty.
    pub format: &'static str,
    /// 0: always shown; 1: only in wide output.
    pub priority: u8,
}

/// The columns of a kind's table.
pub fn columns(_kind: &Kind) -> Vec<Column> {
    Vec::new()
}

/// The cells of one object's row.
pub fn row(_kind: &Kind, _object: &Value, _now: Timestamp) -> Vec<Value> {
    Vec::new()
}
