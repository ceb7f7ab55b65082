//! The update rule of a Compose service (`deploy.update_config`), which a Deployment carries as an annotation.
//!
//! Kubernetes bounds how many pods are too many or too few; Compose says how many change at once, in which order, with
//! which pause, and what happens when the new ones fail. Both are honoured; where they differ, the annotation rules.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::views::Meta;

/// How a Compose service is updated, as the annotations [`names::UPDATE`] and [`names::ROLLBACK`] say it in JSON.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpdateRule {
    /// Whether the old container stops before the new one starts, if the rule says so; else the strategy does.
    pub(crate) order: Option<Order>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Stop the old, then start the new.
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
            order: None,
            parallelism: 1,
            delay: Duration::ZERO,
            monitor: Duration::from_secs(5),
            max_failure_ratio: 0.0,
            failure_action: FailureAction::default(),
        }
    }
}

impl UpdateRule {
    /// The rule that an annotation holds, if any. One that cannot be read is reported and taken for the default one.
    pub(crate) fn of(meta: &Meta, annotation: &str) -> Option<UpdateRule> {
        let text = meta.annotation(annotation)?;
        Some(serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(object = %meta.name, annotation, %error, "an update rule cannot be read");
            UpdateRule::default()
        }))
    }

    /// How many of `replicas` change at once.
    pub(crate) fn group(&self, replicas: i32) -> i32 {
        match i32::try_from(self.parallelism) {
            Ok(0) | Err(_) => replicas.max(1),
            Ok(parallelism) => parallelism,
        }
    }
}

/// Milliseconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use naru_api::naru::names;

    use super::*;

    fn rule(text: &str) -> Option<UpdateRule> {
        let mut meta = Meta::default();
        meta.annotations.insert(names::UPDATE.into(), text.into());
        UpdateRule::of(&meta, names::UPDATE)
    }

    #[test]
    fn rules_are_read_with_composes_defaults() {
        assert_eq!(UpdateRule::of(&Meta::default(), names::UPDATE), None);
        assert_eq!(rule("{}"), Some(UpdateRule::default()));
        let read = rule(
            r#"{"order":"start-first","parallelism":0,"delay":90000,"monitor":2500,"maxFailureRatio":0.25,"failureAction":"rollback"}"#,
        );
        let expected = UpdateRule {
            order: Some(Order::StartFirst),
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
}
