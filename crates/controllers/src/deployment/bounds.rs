//! How many pods may be too many or too few during a change.

use naru_api::naru::names;
use serde_json::Value;

use super::update::{Order, UpdateRule};
use crate::views::{Deployment, Rolling};

/// The bounds of one Deployment, in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How many pods are asked for.
    pub(super) replicas: i32,
    /// How many more there may be.
    pub(super) surge: i32,
    /// How many of them may be unavailable.
    pub(super) unavailable: i32,
    /// Pods that are on their way out still take a place.
    pub(super) counts_leaving: bool,
}

impl Bounds {
    pub(super) fn of(deployment: &Deployment, rule: Option<&UpdateRule>) -> Bounds {
        let replicas = deployment.spec.replicas.unwrap_or(1).max(0);
        if deployment.spec.strategy.kind == "Recreate" {
            return Bounds { replicas, surge: 0, unavailable: replicas, counts_leaving: true };
        }
        let quarter = Rolling { max_surge: "25%".into(), max_unavailable: "25%".into(), partition: 0 };
        let rolling = deployment.spec.strategy.rolling_update.as_ref().unwrap_or(&quarter);
        let surge = resolve(&rolling.max_surge, replicas, true);
        let stops_first = match rule.and_then(|rule| rule.order) {
            Some(order) => order == Order::StopFirst,
            None => surge == 0,
        };
        // Where two at once could meet, a container that stops still takes its place; Kubernetes' own do not.
        let service = deployment.spec.template["metadata"]["labels"].get(names::SERVICE).is_some();
        let counts_leaving = stops_first && (service || rule.is_some());
        if let Some(rule) = rule {
            let group = rule.group(replicas);
            let (surge, unavailable) = if stops_first { (0, group.min(replicas)) } else { (group, 0) };
            return Bounds { replicas, surge, unavailable, counts_leaving };
        }
        let mut unavailable = resolve(&rolling.max_unavailable, replicas, false).min(replicas);
        if surge == 0 && unavailable == 0 {
            // Validation refuses two zeros, but percentages may round to them, and then nothing could ever move.
            unavailable = 1;
        }
        Bounds { replicas, surge, unavailable, counts_leaving }
    }

    /// The most pods there may be.
    pub(super) fn most(&self) -> i32 {
        if self.replicas == 0 { 0 } else { self.replicas.saturating_add(self.surge) }
    }

    /// The fewest that must be available.
    pub(super) fn fewest(&self) -> i32 {
        (self.replicas - self.unavailable).max(0)
    }
}

/// A number, or a percentage of `total` rounded up or down; the default of 25% when absent.
pub(crate) fn resolve(value: &Value, total: i32, up: bool) -> i32 {
    let percent = match value {
        Value::Number(number) => return number.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0).max(0),
        Value::String(text) => match text.strip_suffix('%').map(str::parse::<i64>) {
            Some(Ok(percent)) => percent.max(0),
            _ => return text.parse().unwrap_or(0),
        },
        _ => 25,
    };
    let scaled = i64::from(total) * percent;
    i32::try_from((scaled + if up { 99 } else { 0 }) / 100).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bounds(rolling: Value, replicas: i32, rule: Option<&str>) -> (i32, i32, bool) {
        let deployment = json!({ "spec": { "replicas": replicas, "strategy": { "type": "RollingUpdate", "rollingUpdate": rolling } } });
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        let rule: Option<UpdateRule> = rule.map(|text| serde_json::from_str(text).unwrap());
        let bounds = Bounds::of(&deployment, rule.as_ref());
        (bounds.surge, bounds.unavailable, bounds.counts_leaving)
    }

    #[test]
    fn numbers_and_percentages_round_as_kubernetes_does() {
        for (rolling, replicas, expected) in [
            (json!({}), 10, (3, 2)),
            (json!({ "maxSurge": 0, "maxUnavailable": 0 }), 3, (0, 1)),
            (json!({ "maxSurge": "0%", "maxUnavailable": "10%" }), 3, (0, 1)),
            (json!({ "maxSurge": "100%", "maxUnavailable": 5 }), 3, (3, 3)),
            (json!({ "maxSurge": 2, "maxUnavailable": "50%" }), 5, (2, 2)),
        ] {
            let (surge, unavailable, _) = bounds(rolling.clone(), replicas, None);
            assert_eq!((surge, unavailable), expected, "{rolling} of {replicas}");
        }
    }

    #[test]
    fn a_compose_rule_overrides_them() {
        let rolling = json!({ "maxSurge": 3 });
        assert_eq!(bounds(rolling.clone(), 4, Some("{}")), (1, 0, false), "the strategy says the order");
        assert_eq!(bounds(json!({ "maxSurge": 0 }), 4, Some("{}")), (0, 1, true));
        assert_eq!(bounds(rolling.clone(), 4, Some(r#"{"order":"stop-first","parallelism":0}"#)), (0, 4, true));
        assert_eq!(bounds(rolling, 4, Some(r#"{"order":"start-first","parallelism":2}"#)), (2, 0, false));
    }
}
