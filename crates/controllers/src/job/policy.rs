//! What becomes of which failure (`podFailurePolicy`), and when some indexes are enough (`successPolicy`).
//!
//! Source of behaviour: Kubernetes, "Jobs": rules are asked in order, the first that matches decides; a failure that no
//! rule matches counts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::index;
use crate::views::{ContainerStatus, Job, Phase, Pod};

/// What a failure does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed for good.
    FailIndex,
    /// The whole Job has failed; the text says why.
    FailJob(String),
}

/// Judges a failed pod.
pub(super) fn judge(job: &Job, pod: &Pod) -> Verdict {
    let rules = job.spec.pod_failure_policy.as_ref().and_then(|policy| policy["rules"].as_array());
    for (at, rule) in rules.into_iter().flatten().enumerate() {
        let Some(why) = matched(rule, pod) else { continue };
        let action = rule["action"].as_str().unwrap_or_default();
        return match action {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{why} matching FailJob rule at index {at}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// What of a pod a rule matches, in words.
fn matched(rule: &Value, pod: &Pod) -> Option<String> {
    let meta = &pod.metadata;
    if let Some(wanted) = rule.get("onExitCodes").filter(|wanted| !wanted.is_null()) {
        // Only containers that really ended have codes that mean something.
        if pod.status.phase != Phase::Failed {
            return None;
        }
        let status = &pod.status;
        let mut ended = status.container_statuses.iter().chain(&status.init_container_statuses);
        let (name, code) = ended.find_map(|container| exits(wanted, container))?;
        return Some(format!("Container {name} for pod {}/{} failed with exit code {code}", meta.namespace, meta.name));
    }
    let patterns = rule["onPodConditions"].as_array()?;
    let found = patterns.iter().find_map(|pattern| {
        let status = pattern["status"].as_str().unwrap_or("True");
        let mut conditions = pod.status.conditions.iter();
        conditions.find(|condition| pattern["type"] == condition.kind.as_str() && condition.status == status)
    })?;
    Some(format!("Pod {}/{} has condition {}", meta.namespace, meta.name, found.kind))
}

fn exits<'a>(wanted: &Value, container: &'a ContainerStatus) -> Option<(&'a str, i32)> {
    let only = wanted["containerName"].as_str().filter(|name| !name.is_empty());
    let code = container.state.terminated.as_ref()?.exit_code;
    let listed = wanted["values"].as_array()?.iter().any(|value| value.as_i64() == Some(code.into()));
    let fits = if wanted["operator"] == "NotIn" { !listed } else { listed };
    (code != 0 && fits && only.is_none_or(|name| name == container.name)).then_some((&container.name, code))
}

/// Which rule says that the indexes that succeeded are enough.
pub(super) fn enough(job: &Job, succeeded: &BTreeSet<i32>) -> Option<usize> {
    let count = job.spec.completions.unwrap_or(0);
    let rules = job.spec.success_policy.as_ref()?["rules"].as_array()?;
    rules.iter().position(|rule| {
        let listed = rule["succeededIndexes"].as_str().map(|text| index::read(text, count));
        let matching = match &listed {
            Some(listed) => succeeded.intersection(listed).count(),
            None => succeeded.len(),
        };
        match (rule["succeededCount"].as_u64(), &listed) {
            (Some(least), _) => matching as u64 >= least,
            (None, Some(listed)) => !listed.is_empty() && matching == listed.len(),
            (None, None) => false,
        }
    })
}
