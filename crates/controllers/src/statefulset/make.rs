//! A numbered pod and its claims.

use std::collections::BTreeSet;

use naru_api::naru::names;
use serde_json::{Value, json};

use crate::history::HASH;
use crate::ownership::controller_of;
use crate::plan::Write;
use crate::pods;
use crate::resources::{CLAIMS, PODS, STATEFUL_SETS};
use crate::views::{Pod, StatefulSet};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A pod's number, from its name.
pub(super) fn number(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    pod.metadata.name.strip_prefix(&set.metadata.name)?.strip_prefix('-')?.parse().ok()
}

/// The writes that make one pod of a template: the claims that it lacks, and itself.
pub(super) fn pod(
    set: &StatefulSet,
    template: &Value,
    hash: &str,
    number: i32,
    claims: &BTreeSet<String>,
) -> Vec<Write> {
    let meta = &set.metadata;
    let name = format!("{}-{number}", meta.name);
    let mut pod = pods::from_template(template, &meta.namespace, &name, &controller_of(&STATEFUL_SETS, meta));
    let labels = &mut pod["metadata"]["labels"];
    labels[POD_NAME] = name.as_str().into();
    labels[POD_INDEX] = number.to_string().into();
    labels[HASH] = hash.into();
    if labels.get(names::SERVICE).is_some() {
        pods::set_ordinal(&mut pod, u32::try_from(number).unwrap_or(0) + 1);
    }
    let spec = &mut pod["spec"];
    spec["hostname"] = name.as_str().into();
    if !set.spec.service_name.is_empty() {
        spec["subdomain"] = set.spec.service_name.as_str().into();
    }
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let mut writes = Vec::new();
    for claim in &set.spec.volume_claim_templates {
        let volume = claim["metadata"]["name"].as_str().unwrap_or_default();
        let claim_name = format!("{volume}-{name}");
        // The set's own volume stands in for one of the same name in the template.
        volumes.retain(|known| known["name"] != volume);
        volumes.push(json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim_name } }));
        if !claims.contains(&claim_name) {
            writes.push(Write::create(CLAIMS, self::claim(set, claim, &claim_name)));
        }
    }
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    writes.push(Write::create(PODS, pod));
    writes
}

/// A claim outlives its pod and its set: it has no owner.
fn claim(set: &StatefulSet, template: &Value, name: &str) -> Value {
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    for (label, value) in set.spec.selector["matchLabels"].as_object().into_iter().flatten() {
        labels.insert(label.clone(), value.clone());
    }
    let mut metadata = json!({ "name": name, "namespace": set.metadata.namespace, "labels": labels });
    if let Some(annotations) = template["metadata"].get("annotations") {
        metadata["annotations"] = annotations.clone();
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"] })
}
