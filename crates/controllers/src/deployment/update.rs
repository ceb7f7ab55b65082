//! The update rule of a Compose service (`deploy.update_config`), which a Deployment carries as an annotation.
//!
//! Kubernetes bounds how many pods are too many or too few; Compose says how many change at once, in which order, with
//! which pause, and what happens when the new ones fail. Both are honoured; where they differ, the annotation rules.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::views::Meta;

/// Annotation: the rule as JSON, such as
/// `{"order":"stop-first","parallelism":1,"delay":"10s","monitor":"5s","max_failure_ratio":0.1,"failure_action":"rollback"}`.
pub(crate) const UPDATE: &str = "naru.io/update";

/// How a Compose service is updated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct UpdateRule {
    /// Whether the old container stops before the new one starts.
    pub(crate) order: Order,
    /// How many change at once; 0 for all.
    pub(crate) parallelism: u32,
    /// How long to pause between two groups.
    #[serde(deserialize_with = "duration")]
    pub(crate) delay: Duration,
    /// For how long after its start a container's failure counts against the update.
    #[serde(deserialize_with = "duration")]
    pub(crate) monitor: Duration,
    /// Which share of failures to bear.
    pub(crate) max_failure_ratio: f64,
    /// What to do beyond it.
    pub(crate) failure_action: FailureAction,
}

/// Which comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Stop the old, then start the new.
    #[default]
    StopFirst,
    /// Start the new, then stop the old.
    StartFirst,
}

/// What to do about a failed update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FailureAction {
    /// Stop where it is.
    #[default]
    Pause,
    /// Go back to the template before.
    Rollback,
    /// Go on regardless.
    Continue,
}

impl Default for UpdateRule {
    /// Compose's defaults.
    fn default() -> Self {
        UpdateRule {
            order: Order::default(),
            parallelism: 1,
            delay: Duration::ZERO,
            monitor: Duration::from_secs(5),
            max_failure_ratio: 0.0,
            failure_action: FailureAction::default(),
        }
    }
}

impl UpdateRule {
    /// The rule that an object carries, if any. One that cannot be read is reported and taken for the default one.
    pub(crate) fn of(meta: &Meta) -> Option<UpdateRule> {
        let text = meta.annotation(UPDATE)?;
        Some(serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(object = %meta.name, annotation = UPDATE, %error, "an update rule cannot be read");
            UpdateRule::default()
        }))
    }

    /// Whether the old container must be gone before the new one starts.
    pub(crate) fn stops_first(&self) -> bool {
        self.order == Order::StopFirst
    }

    /// How many of `replicas` change at once.
    pub(crate) fn group(&self, replicas: i32) -> i32 {
        match i32::try_from(self.parallelism) {
            Ok(0) | Err(_) => replicas.max(1),
            Ok(parallelism) => parallelism,
        }
    }
}

/// Seconds as a number, or text such as `1m30s`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Seconds(f64),
        Text(String),
    }
    let refuse = |text: &str| serde::de::Error::custom(format!("{text:?} is no duration such as 1m30s"));
    match Either::deserialize(deserializer)? {
        Either::Seconds(seconds) => Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom),
        Either::Text(text) => parse_duration(&text).ok_or_else(|| refuse(&text)),
    }
}

/// Reads `1h30m`, `1m30.5s`, `500ms`, `20us`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Some(total);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Option<UpdateRule> {
        let mut meta = Meta::default();
        meta.annotations.insert(UPDATE.into(), text.into());
        UpdateRule::of(&meta)
    }

    #[test]
    fn rules_are_read_with_composes_defaults() {
        assert_eq!(UpdateRule::of(&Meta::default()), None);
        assert_eq!(rule("{}"), Some(UpdateRule::default()));
        let read = rule(
            r#"{"order":"start-first","parallelism":0,"delay":"1m30s","monitor":2.5,"max_failure_ratio":0.25,"failure_action":"rollback"}"#,
        );
        let expected = UpdateRule {
            order: Order::StartFirst,
            parallelism: 0,
            delay: Duration::from_secs(90),
            monitor: Duration::from_millis(2500),
            max_failure_ratio: 0.25,
            failure_action: FailureAction::Rollback,
        };
        assert_eq!(read, Some(expected.clone()));
        assert_eq!((expected.group(7), UpdateRule::default().group(7)), (7, 1));
        assert_eq!(rule("not json"), Some(UpdateRule::default()), "the cautious rule stands in for an unreadable one");
    }

    #[test]
    fn durations_are_read_as_compose_writes_them() {
        for (text, millis) in [("0", 0), ("10s", 10_000), ("1h2m", 3_720_000), ("1.5s", 1500), ("500ms", 500)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1d", "1m 2s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
