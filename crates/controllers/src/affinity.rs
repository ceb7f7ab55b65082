//! Node selectors: which nodes an affinity admits.

use serde_json::Value;

use crate::views::Node;

/// Whether a node selector (`nodeSelectorTerms`) admits a node: any term, all its expressions.
pub(crate) fn admits(selector: &Value, node: &Node) -> bool {
    let terms = list(&selector["nodeSelectorTerms"]);
    terms.iter().any(|term| {
        let (labels, fields) = (list(&term["matchExpressions"]), list(&term["matchFields"]));
        let by_label =
            |expression: &Value| holds(expression, expression["key"].as_str().and_then(|key| node.metadata.label(key)));
        let by_field =
            |expression: &Value| expression["key"] == "metadata.name" && holds(expression, Some(&node.metadata.name));
        // A term that says nothing admits nothing.
        !(labels.is_empty() && fields.is_empty()) && labels.iter().all(by_label) && fields.iter().all(by_field)
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn holds(expression: &Value, value: Option<&str>) -> bool {
    let wanted = list(&expression["values"]);
    let listed = value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value));
    let compared = |test: fn(&i64, &i64) -> bool| {
        let bound = wanted.first().and_then(Value::as_str).and_then(|bound| bound.parse().ok());
        value.and_then(|value| value.parse().ok()).zip(bound).is_some_and(|(value, bound)| test(&value, &bound))
    };
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::view;

    #[test]
    fn expressions_hold_as_in_kubernetes() {
        let node: Node = view(json!({ "metadata": { "name": "n1", "labels": { "disk": "ssd", "cores": "8" } } }));
        for (field, key, operator, values, expected) in [
            ("matchExpressions", "disk", "In", json!(["ssd", "hdd"]), true),
            ("matchExpressions", "disk", "NotIn", json!(["ssd"]), false),
            ("matchExpressions", "gpu", "NotIn", json!(["x"]), true),
            ("matchExpressions", "gpu", "DoesNotExist", json!([]), true),
            ("matchExpressions", "disk", "Exists", json!([]), true),
            ("matchExpressions", "cores", "Gt", json!(["7"]), true),
            ("matchExpressions", "cores", "Lt", json!(["7"]), false),
            ("matchFields", "metadata.name", "In", json!(["n1"]), true),
            ("matchFields", "metadata.uid", "In", json!(["n1"]), false),
        ] {
            let term = json!({ field: [{ "key": key, "operator": operator, "values": values }] });
            assert_eq!(admits(&json!({ "nodeSelectorTerms": [term] }), &node), expected, "{key} {operator}");
        }
        assert!(!admits(&json!({ "nodeSelectorTerms": [{}] }), &node), "an empty term admits nothing");
    }
}
