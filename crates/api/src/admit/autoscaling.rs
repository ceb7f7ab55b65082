//! Defaults of autoscalers.

use serde_json::{Value, json};

use super::edit::{Object, child, is_unset, make, set};
use crate::convert::is_note;

/// A HorizontalPodAutoscaler (`autoscaling/v2`): at least one pod, by four fifths of the processor.
pub(super) fn autoscaler(object: &mut Object) {
    forget_notes(object);
    make(object, "spec", |spec| {
        set(spec, "minReplicas", 1);
        if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.insert(
                "metrics".to_owned(),
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
        child(spec, "behavior", |behavior| {
            let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
            let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
            make(behavior, "scaleUp", |rules| {
                set(rules, "stabilizationWindowSeconds", 0);
                complete(rules, json!([pods, percent.clone()]));
            });
            // How long it waits before it shrinks is a setting of the whole cluster.
            make(behavior, "scaleDown", |rules| complete(rules, json!([percent])));
        });
    });
}

fn complete(rules: &mut Object, policies: Value) {
    set(rules, "selectPolicy", "Max");
    if is_unset(rules, "policies") {
        rules.insert("policies".to_owned(), policies);
    }
}

/// What the older version keeps in annotations stands in the object itself.
fn forget_notes(object: &mut Object) {
    child(object, "metadata", |metadata| {
        child(metadata, "annotations", |annotations| annotations.retain(|name, _| !is_note(name)));
    });
}
