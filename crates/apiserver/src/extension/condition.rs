//! Conditions in the status of a definition.

use naru_api::meta;
use serde_json::{Value, json};

/// A condition as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition<'a> {
    pub(super) kind: &'a str,
    pub(super) holds: bool,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

// === impl Condition ===

impl Condition<'_> {
    /// Puts it into the definition's status. Its time is that of its last change.
    pub(super) fn set(&self, definition: &mut Value, now: &str) {
        let holds = if self.holds { "True" } else { "False" };
        let present = find(definition, self.kind);
        let since = present.filter(|c| c["status"] == holds).and_then(|c| c["lastTransitionTime"].as_str());
        let mut next = json!({
            "type": self.kind, "status": holds, "reason": self.reason, "message": self.message,
            "lastTransitionTime": since.unwrap_or(now),
        });
        let generation = meta::generation(definition);
        if generation > 0 {
            next["observedGeneration"] = generation.into();
        }
        if !definition["status"].is_object() {
            definition["status"] = json!({});
        }
        if !definition["status"]["conditions"].is_array() {
            definition["status"]["conditions"] = json!([]);
        }
        let Some(all) = definition["status"]["conditions"].as_array_mut() else { return };
        match all.iter_mut().find(|c| c["type"] == self.kind) {
            Some(present) => *present = next,
            None => all.push(next),
        }
    }
}

/// A condition of a definition.
pub(super) fn find<'d>(definition: &'d Value, kind: &str) -> Option<&'d Value> {
    definition["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// Whether a condition of a definition holds.
pub(super) fn holds(definition: &Value, kind: &str) -> bool {
    find(definition, kind).is_some_and(|c| c["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_time_is_that_of_its_last_change() {
        let mut definition = json!({"metadata": {"generation": 2}});
        let mut condition = Condition { kind: "Terminating", holds: true, reason: "A", message: "a" };
        condition.set(&mut definition, "1");
        (condition.reason, condition.message) = ("B", "b");
        condition.set(&mut definition, "2");
        let expected = json!({"type": "Terminating", "status": "True", "reason": "B", "message": "b",
            "lastTransitionTime": "1", "observedGeneration": 2});
        assert_eq!(definition["status"]["conditions"], json!([expected]));
        assert!(holds(&definition, "Terminating") && !holds(&definition, "Established"));
        condition.holds = false;
        condition.set(&mut definition, "3");
        assert_eq!(find(&definition, "Terminating").expect("there")["lastTransitionTime"], "3");
    }
}
