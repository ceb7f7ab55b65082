//! Pod Security: namespaces say by their labels which standard pods must keep, and which breach is only told.
//!
//! `enforce` refuses pods; `warn` tells the writer, also of workloads whose template breaks it; `audit` writes it down.

mod checks;

use naru_api::{FieldError, Status, meta};
use naru_store::{Key, Prefix, Snapshot};
use serde_json::{Map, Value};

use super::chain::{Operation, Review};
use crate::object;
use checks::{Pod, Violation, violations};

const LABEL: &str = "pod-security.kubernetes.io/";
/// How many pods of a namespace are looked at when its standard changes.
const LOOKED_AT: usize = 3000;

/// A standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A standard as it was on some version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standard {
    level: Level,
    version: String,
}

// === impl Level ===

impl Level {
    const ALL: [(Level, &'static str); 3] =
        [(Level::Privileged, "privileged"), (Level::Baseline, "baseline"), (Level::Restricted, "restricted")];

    fn as_str(self) -> &'static str {
        Level::ALL.iter().find(|known| known.0 == self).map_or("", |known| known.1)
    }

    fn parse(word: &str) -> Option<Level> {
        Level::ALL.iter().find(|known| known.1 == word).map(|known| known.0)
    }
}

// === impl Standard ===

impl Standard {
    /// The standard that a namespace's labels name for one of the three modes. A word that means nothing asks for the
    /// strictest, as nobody can know what was meant; validation lets none in.
    fn of(labels: &Map<String, Value>, mode: &str) -> Standard {
        let text = |key: &str| labels.get(key).and_then(Value::as_str);
        let level = text(&format!("{LABEL}{mode}"))
            .map_or(Level::Privileged, |word| Level::parse(word).unwrap_or(Level::Restricted));
        let version = text(&format!("{LABEL}{mode}-version")).unwrap_or("latest").to_owned();
        Standard { level, version }
    }

    /// What breaks it, as one sentence.
    fn broken(&self, pod: &Pod<'_>) -> Option<String> {
        let found = violations(pod, self.level);
        let told: Vec<String> = found.iter().map(|(what, detail): &Violation| format!("{what} ({detail})")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn name(&self) -> String {
        format!("{}:{}", self.level.as_str(), self.version)
    }
}

/// Judges pods, what makes pods, and namespaces that say how pods are judged.
///
/// # Errors
/// 403 for a pod that breaks the standard of its namespace; 422 for a namespace that names none.
pub(super) fn judge(review: &Review<'_>, object: &Value) -> Result<(), Status> {
    let stores = matches!(review.operation, Operation::Create | Operation::Update);
    if !stores || !matches!(review.subresource, "" | "ephemeralcontainers") {
        return Ok(());
    }
    let at = match &*review.route.collection {
        "namespaces" => return namespace(review, object),
        "pods" => "",
        "replicationcontrollers"
        | "replicasets.apps"
        | "deployments.apps"
        | "daemonsets.apps"
        | "statefulsets.apps"
        | "jobs.batch" => "/spec/template",
        "cronjobs.batch" => "/spec/jobTemplate/spec/template",
        "podtemplates" => "/template",
        _ => return Ok(()),
    };
    let Some(entry) = review.snapshot.get(&Key::new("namespaces", "", review.namespace)) else { return Ok(()) };
    let Some(labels) = object::labels(&entry.served) else { return Ok(()) };
    if !labels.keys().any(|key| key.starts_with(LABEL)) {
        return Ok(());
    }
    let Some(of) = object.pointer(at) else { return Ok(()) };
    // What of a pod can change after it was made (labels, images, deadlines) breaks no standard.
    let same = |old: &Value| at.is_empty() && review.subresource.is_empty() && same_but_images(old, object);
    if review.old.is_some_and(same) {
        return Ok(());
    }
    let pod = Pod { metadata: &of["metadata"], spec: &of["spec"] };
    if at.is_empty() {
        let enforced = Standard::of(&labels, "enforce");
        if let Some(told) = enforced.broken(&pod) {
            let why = format!("violates PodSecurity {:?}: {told}", enforced.name());
            return Err(Status::forbidden(&review.route.kind, review.name, &why));
        }
        if let Some(notes) = review.notes {
            notes.annotate(format!("{LABEL}enforce-policy"), enforced.name());
        }
    }
    let (warned, audited) = (Standard::of(&labels, "warn"), Standard::of(&labels, "audit"));
    if let Some(told) = warned.broken(&pod) {
        review.warn(format!("would violate PodSecurity {:?}: {told}", warned.name()));
    }
    if let (Some(notes), Some(told)) = (review.notes, audited.broken(&pod)) {
        notes.annotate(
            format!("{LABEL}audit-violations"),
            format!("would violate PodSecurity {:?}: {told}", audited.name()),
        );
    }
    Ok(())
}

/// Whether two pods differ at most in what may change and means nothing here.
fn same_but_images(old: &Value, new: &Value) -> bool {
    let bare = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"] {
            spec[field] = Value::Null;
        }
        spec
    };
    let armour = |pod: &Value| -> Vec<(String, Value)> {
        let all = meta::annotations(pod).into_iter().flatten();
        let of = all.filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"));
        of.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    bare(old) == bare(new) && armour(old) == armour(new)
}

/// Judges the labels of a namespace, and says which pods break what it newly enforces.
fn namespace(review: &Review<'_>, namespace: &Value) -> Result<(), Status> {
    let empty = Map::new();
    let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_else(|| empty.clone());
    let (new, old) = (labels(namespace), review.old.map(labels).unwrap_or_default());
    let faults = faults(&new, &old);
    if !faults.is_empty() {
        return Err(Status::invalid(review.route.working_kind(), review.name, faults));
    }
    let (before, after) = (Standard::of(&old, "enforce"), Standard::of(&new, "enforce"));
    if review.operation == Operation::Update && after.level > before.level {
        for (told, names) in breaking(review.snapshot, review.name, &after) {
            let more = if names.len() > 1 { format!(" (and {} other pods)", names.len() - 1) } else { String::new() };
            if review.notes.is_some() {
                review.warn(format!(
                    "existing pods in namespace {:?} violate the new PodSecurity enforce level {:?}: {}{more}: {told}",
                    review.name,
                    after.name(),
                    names.first().map_or("", String::as_str)
                ));
            }
        }
    }
    Ok(())
}

/// The pods of a namespace that break a standard, by what they break.
fn breaking(snapshot: &Snapshot, namespace: &str, standard: &Standard) -> Vec<(String, Vec<String>)> {
    let mut found: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    let prefix = Prefix::namespace("pods", namespace);
    for entry in snapshot.range(&prefix).take(LOOKED_AT) {
        let pod = object::parse(&entry.served);
        if let Some(told) = standard.broken(&Pod { metadata: &pod["metadata"], spec: &pod["spec"] }) {
            found.entry(told).or_default().push(entry.key.name().to_owned());
        }
    }
    found.into_iter().collect()
}

/// Labels that name no standard; those that were there before are left.
fn faults(new: &Map<String, Value>, old: &Map<String, Value>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        for (key, version) in [(format!("{LABEL}{mode}"), false), (format!("{LABEL}{mode}-version"), true)] {
            let Some(value) = new.get(&key).filter(|value| old.get(&key) != Some(value)) else { continue };
            let text = value.as_str().unwrap_or_default();
            let minor = text.strip_prefix("v1.").is_some_and(|minor| minor.parse::<u16>().is_ok());
            let why = match version {
                true if text == "latest" || minor => continue,
                true => "must be \"latest\" or \"v1.x\"",
                false if Level::parse(text).is_some() => continue,
                false => "must be one of privileged, baseline, restricted",
            };
            faults.push(FieldError::invalid(format!("metadata.labels[{key}]"), value, why));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn labels_that_mean_nothing_are_refused_where_they_are_new() {
        let wrong = map(
            json!({"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "2"}),
        );
        let paths: Vec<String> = faults(&wrong, &Map::new()).into_iter().map(|fault| fault.path).collect();
        assert_eq!(
            paths,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]",
                "metadata.labels[pod-security.kubernetes.io/warn-version]"
            ]
        );
        assert!(faults(&wrong, &wrong).is_empty());
        let fine = map(
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.36"}),
        );
        assert!(faults(&fine, &Map::new()).is_empty());
        assert_eq!(Standard::of(&fine, "enforce").name(), "baseline:v1.36");
        assert_eq!(Standard::of(&fine, "warn").level, Level::Privileged);
    }

    #[test]
    fn another_image_is_no_other_pod() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}]}});
        let mut other = pod.clone();
        other["spec"]["containers"][0]["image"] = "x:2".into();
        assert!(same_but_images(&pod, &other));
        other["spec"]["hostPID"] = true.into();
        assert!(!same_but_images(&pod, &other));
    }
}
