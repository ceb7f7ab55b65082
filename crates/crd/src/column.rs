//! Printer columns: what tables show of objects.

use jiff::Timestamp;
use serde_json::Value;

use crate::fault::Fault;
use crate::jsonpath::JsonPath;
use crate::path::Path;

const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// The type of cells: `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: String,
    /// The format; may be empty.
    pub format: String,
    /// What the column is, for people; where its definition does not say it, from where cells come.
    pub description: String,
    /// 0: always shown; more: only in wide output.
    pub priority: i64,
    path: JsonPath,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A value; null where the object has none.
    Value(Value),
    /// A point in time, which is shown as how long ago it was.
    Since(Timestamp),
}

// === impl Column ===

impl Column {
    /// Reads a column; none for one whose path is none.
    pub(crate) fn read(raw: &Value) -> Option<Column> {
        let text = |key: &str| raw[key].as_str().unwrap_or_default().to_owned();
        let path = raw["jsonPath"].as_str()?;
        let description = match text("description") {
            empty if empty.is_empty() => format!("Custom resource definition column (in JSONPath format): {path}"),
            given => given,
        };
        Some(Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: raw["priority"].as_i64().unwrap_or(0),
            path: JsonPath::parse(path).ok()?,
        })
    }

    /// The cell of an object.
    pub fn cell(&self, object: &Value) -> Cell {
        let Some(value) = self.path.first(object).filter(|value| !value.is_null()) else {
            return Cell::Value(Value::Null);
        };
        let shown = match (self.kind.as_str(), value) {
            ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => whole.into(),
                // Cut off, as clients would.
                (None, Some(float)) => (float as i64).into(),
                _ => Value::Null,
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => match text.parse() {
                Ok(time) => return Cell::Since(time),
                Err(_) => "<invalid>".into(),
            },
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", other) => other.to_string().into(),
            _ => Value::Null,
        };
        Cell::Value(shown)
    }
}

/// Tells what is wrong with a column.
pub(crate) fn check(raw: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let text = |key: &str| raw[key].as_str().unwrap_or_default();
    if text("name").is_empty() {
        faults.push(Fault::required(path.field("name"), ""));
    }
    let (kind, at) = (text("type"), path.field("type"));
    let why = format!("must be one of {}", TYPES.join(","));
    if kind.is_empty() {
        faults.push(Fault::required(at, why));
    } else if !TYPES.contains(&kind) {
        faults.push(Fault::invalid(at, kind, why));
    }
    let format = text("format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        let why = format!("must be one of {}", FORMATS.join(","));
        faults.push(Fault::invalid(path.field("format"), format, why));
    }
    let (source, at) = (text("jsonPath"), path.field("jsonPath"));
    if source.is_empty() {
        faults.push(Fault::required(at, ""));
    } else if !source.starts_with('.') {
        faults.push(Fault::invalid(at, source, "must be a simple json path starting with ."));
    } else if let Err(why) = JsonPath::parse(source) {
        faults.push(Fault::invalid(at, source, why));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_have_the_type_of_their_column() {
        let object = json!({"spec": {"replicas": 3, "ratio": 0.5, "on": true, "name": "web", "list": [1]},
            "metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let cell = |kind: &str, path: &str| {
            Column::read(&json!({"name": "C", "type": kind, "jsonPath": path})).unwrap().cell(&object)
        };
        for (kind, path, expected) in [
            ("integer", ".spec.replicas", json!(3)),
            ("string", ".spec.replicas", json!("3")),
            ("number", ".spec.ratio", json!(0.5)),
            ("boolean", ".spec.on", json!(true)),
            ("string", ".spec.name", json!("web")),
            ("string", ".spec.list", json!("[1]")),
            ("integer", ".spec.name", json!(null)),
            ("string", ".spec.gone", json!(null)),
            ("date", ".spec.name", json!("<invalid>")),
            ("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
        ] {
            assert_eq!(cell(kind, path), Cell::Value(expected), "{kind} {path}");
        }
        let since = cell("date", ".metadata.creationTimestamp");
        assert_eq!(since, Cell::Since("2026-01-02T03:04:05Z".parse().unwrap()));
    }

    #[test]
    fn a_column_without_words_says_where_its_cells_come_from() {
        let mut raw = json!({"name": "C", "type": "string", "jsonPath": ".spec.name"});
        let said = Column::read(&raw).unwrap().description;
        assert_eq!(said, "Custom resource definition column (in JSONPath format): .spec.name");
        raw["description"] = json!("The name.");
        assert_eq!(Column::read(&raw).unwrap().description, "The name.");
    }
}
