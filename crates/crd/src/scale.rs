//! What stands where an object's number of replicas is.
//!
//! Clients of the `scale` subresource read numbers of 32 bits, whatever the schema allows.

use serde_json::Value;

use crate::definition::Scale;
use crate::fault::Fault;
use crate::jsonpath::JsonPath;

impl Scale {
    /// Tells what cannot be told as a scale: of what is wanted (unless only the status was written), and of what was seen.
    pub(crate) fn judge(&self, object: &Value, wanted: bool, faults: &mut Vec<Fault>) {
        if wanted {
            faults.extend(replicas(&self.wanted, object));
        }
        faults.extend(replicas(&self.observed, object));
        let Some(path) = &self.selector else { return };
        if let Some(value) = path.first(object).filter(|value| !value.is_string()) {
            faults.push(other(path, "".into(), value, "string"));
        }
    }
}

fn replicas(path: &JsonPath, object: &Value) -> Option<Fault> {
    let value = path.first(object)?;
    let Some(number) = value.as_i64() else { return Some(other(path, 0.into(), value, "int64")) };
    let why = match number {
        ..0 => "should be a non-negative integer".to_owned(),
        _ if number > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
        _ => return None,
    };
    Some(Fault::invalid(path.dotted(), number, why))
}

/// The value is of another type; `shown` is what it counts as.
fn other(path: &JsonPath, shown: Value, value: &Value, expected: &str) -> Fault {
    let found = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) if value.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let words = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let path = path.dotted();
    let why = format!("{path} accessor error: {words} is of the type {found}, expected {expected}");
    Fault::invalid(path, shown, why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_of_replicas_fit_into_a_scale() {
        let scale = Scale {
            wanted: JsonPath::fields(".spec.replicas"),
            observed: JsonPath::fields(".status.replicas"),
            selector: Some(JsonPath::fields(".status.selector")),
        };
        let told = |object: Value, wanted: bool| {
            let mut faults = Vec::new();
            scale.judge(&object, wanted, &mut faults);
            faults.iter().map(Fault::to_string).collect::<Vec<_>>()
        };
        assert!(told(json!({}), true).is_empty());
        assert!(told(json!({"spec": {"replicas": 3}, "status": {"replicas": 0, "selector": "a=b"}}), true).is_empty());
        let wrong = json!({"spec": {"replicas": -1}, "status": {"replicas": 3_000_000_000i64, "selector": 1}});
        let expected = [
            ".spec.replicas: Invalid value: -1: should be a non-negative integer",
            ".status.replicas: Invalid value: 3000000000: should be less than or equal to 2147483647",
            ".status.selector: Invalid value: \"\": .status.selector accessor error: 1 is of the type int64, expected string",
        ];
        assert_eq!(told(wrong.clone(), true), expected);
        assert_eq!(told(wrong, false), expected[1..]);
        assert_eq!(
            told(json!({"spec": {"replicas": "many"}}), true),
            [
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: many is of the type string, expected int64"
            ]
        );
    }
}
