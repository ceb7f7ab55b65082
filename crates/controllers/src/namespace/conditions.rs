//! What keeps a namespace that ends, in the conditions and words that users of Kubernetes know.
//!
//! All five are always there once one is: whoever waits reads from `NamespaceDeletionContentFailure` that the namespace
//! was looked at. What is discovered and how versions are written cannot fail here, since the kinds come from the server
//! itself; those two conditions say so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use naru_client::{ObjectRef, PatchKind};
use serde_json::json;

use super::end::View;
use crate::plan::Write;
use crate::resources::NAMESPACES;
use crate::views::Condition;

/// Each condition's type, and its reason and message while all is well.
const WELL: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (CONTENT_FAILURE, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    (CONTENT_REMAINING, "ContentRemoved", "All content successfully removed"),
    (FINALIZERS_REMAINING, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];
const CONTENT_FAILURE: &str = "NamespaceDeletionContentFailure";
const CONTENT_REMAINING: &str = "NamespaceContentRemaining";
const FINALIZERS_REMAINING: &str = "NamespaceFinalizersRemaining";

/// The write that says what keeps the namespace, unless it is said already. `failure` is why something could not be
/// deleted.
pub(super) fn told(view: &View, failure: Option<&str>, now: Timestamp) -> Option<Write> {
    let known = &view.namespace.status.conditions;
    let wanted = wanted(view, failure);
    let same = |(kind, status, reason, message): &(&str, &str, &str, String)| {
        Condition::find(known, kind)
            .is_some_and(|had| had.status == *status && had.reason == *reason && had.message == *message)
    };
    if wanted.iter().all(same) {
        return None;
    }
    let conditions: Vec<_> = wanted
        .into_iter()
        .map(|(kind, status, reason, message)| {
            let had = Condition::find(known, kind).filter(|had| had.status == status);
            Condition {
                kind: kind.into(),
                status: status.into(),
                reason: reason.into(),
                message,
                last_transition_time: had.and_then(|had| had.last_transition_time).or(Some(now)),
                ..Condition::default()
            }
        })
        .collect();
    let meta = &view.namespace.metadata;
    Some(Write::Patch {
        resource: NAMESPACES,
        key: ObjectRef::cluster(&meta.name),
        subresource: Some("status"),
        // By type: conditions of others stay.
        kind: PatchKind::Strategic,
        patch: json!({ "metadata": { "uid": meta.uid }, "status": { "conditions": conditions } }),
    })
}

/// Every condition's type, status, reason and message.
fn wanted(view: &View, failure: Option<&str>) -> Vec<(&'static str, &'static str, &'static str, String)> {
    let mut resources: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for held in &view.contents {
        // Kinds without a group have a dot at their end, as Kubernetes writes them here.
        *resources.entry(format!("{}.{}", held.resource.plural, held.resource.group)).or_default() += 1;
        held.finalizers.iter().for_each(|name| *finalizers.entry(name).or_default() += 1);
    }
    let resources = listed(&resources, "has {} resource instances");
    let finalizers = listed(&finalizers, "in {} resource instances");
    WELL.into_iter()
        .map(|(kind, reason, message)| match kind {
            CONTENT_FAILURE if failure.is_some() => {
                let why = failure.unwrap_or_default();
                (
                    kind,
                    "True",
                    "ContentDeletionFailed",
                    format!("Failed to delete all resource types, 1 remaining: {why}"),
                )
            }
            CONTENT_REMAINING if !resources.is_empty() => {
                (kind, "True", "SomeResourcesRemain", format!("Some resources are remaining: {resources}"))
            }
            FINALIZERS_REMAINING if !finalizers.is_empty() => {
                let message = format!("Some content in the namespace has finalizers remaining: {finalizers}");
                (kind, "True", "SomeFinalizersRemain", message)
            }
            _ => (kind, "False", reason, message.to_owned()),
        })
        .collect()
}

/// Names with their numbers.
fn listed<K: AsRef<str>>(counts: &BTreeMap<K, usize>, words: &str) -> String {
    let each =
        counts.iter().map(|(name, count)| format!("{} {}", name.as_ref(), words.replace("{}", &count.to_string())));
    each.collect::<Vec<_>>().join(", ")
}
