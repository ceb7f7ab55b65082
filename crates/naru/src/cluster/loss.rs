//! What would be lost, or away for a while, with a node.

use std::collections::{BTreeMap, BTreeSet};

use naru_api::meta;
use naru_api::naru::names;
use serde_json::Value;

use super::{drain, node};

/// So many pods are named.
const SHOWN: usize = 5;

/// What of the pods and volumes hangs on a node, in words; `None` when nothing does.
pub(super) fn of(name: &str, pods: &[Value], volumes: &[Value]) -> Option<String> {
    let counted = |pod: &&Value| !node::is_finished(pod) && !meta::is_deleting(pod) && !drain::stays(pod);
    let here = |pod: &&Value| meta::text(pod, "spec.nodeName") == name;
    let on: Vec<&Value> =
        pods.iter().filter(here).filter(|pod| !node::is_finished(pod) && !drain::stays(pod)).collect();
    let data = data(name, volumes);
    if on.is_empty() && data.is_empty() {
        return None;
    }
    let mut said = Vec::new();
    if !on.is_empty() {
        let names: Vec<String> = on.iter().map(|pod| format!("{}/{}", meta::namespace(pod), meta::name(pod))).collect();
        let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
        said.push(format!("still runs {shown}{more}"));
    }
    // Of whom another serves elsewhere, nobody notices the loss.
    let mut elsewhere: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter().filter(counted).filter(|pod| !here(pod)) {
        let ready = node::condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
        *elsewhere.entry(workload(pod)).or_default() += usize::from(ready);
    }
    let alone: BTreeSet<String> = on
        .iter()
        .map(|pod| workload(pod))
        .filter(|workload| elsewhere.get(workload).copied().unwrap_or(0) == 0)
        .collect();
    if !alone.is_empty() {
        let list = alone.into_iter().collect::<Vec<_>>().join(", ");
        said.push(format!("{list} runs nowhere else and would be away until it is replaced"));
    }
    if !data.is_empty() {
        said.push(format!("the data of {} is on it and nowhere else", data.join(", ")));
    }
    Some(said.join("; "))
}

/// What a pod is one of, as people know it: a Compose service, a Deployment, or the pod itself.
fn workload(pod: &Value) -> String {
    let namespace = meta::namespace(pod);
    if let Some(service) = meta::label(pod, names::SERVICE) {
        return format!("{}/{service}", meta::label(pod, names::PROJECT).unwrap_or(namespace));
    }
    let owner = meta::controller_ref(pod).map(|owner| {
        let hash = meta::label(pod, names::POD_TEMPLATE_HASH).map(|hash| format!("-{hash}")).unwrap_or_default();
        owner.name.strip_suffix(&hash).unwrap_or(owner.name).to_owned()
    });
    format!("{namespace}/{}", owner.unwrap_or_else(|| meta::name(pod).to_owned()))
}

/// The claims whose data lies on a node.
fn data(name: &str, volumes: &[Value]) -> Vec<String> {
    let on = volumes.iter().filter(|volume| super::status::is_on(volume, name));
    let claims = on.filter(|volume| volume["status"]["phase"] != "Released" && !meta::is_deleting(volume));
    claims
        .map(|volume| format!("{}/{}", meta::text(volume, "spec.claimRef.namespace"), super::status::claim_of(volume)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: &str, at: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "labels": {"pod-template-hash": "5f"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{owner}-5f"), "uid": owner, "controller": true}]},
            "spec": {"nodeName": at}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    #[test]
    fn what_runs_nowhere_else_is_named() {
        let pods = [pod("web-1", "web", "w1"), pod("web-2", "web", "w2"), pod("db-1", "db", "w1")];
        let said = of("w1", &pods, &[]).expect("something is there");
        assert_eq!(
            said,
            "still runs shop/web-1, shop/db-1; shop/db runs nowhere else and would be away until it is replaced"
        );
        assert_eq!(of("w2", &pods, &[]).expect("something"), "still runs shop/web-2");
        assert_eq!(of("w3", &pods, &[]), None);
        let mut compose = pod("shop-db-1", "x", "w1");
        compose["metadata"]["labels"] = json!({"naru.io/service": "db", "naru.io/project": "shop"});
        assert!(of("w1", &[compose], &[]).expect("something").contains("; shop/db runs nowhere else"));
    }

    #[test]
    fn data_that_is_only_there_is_named() {
        let volume = json!({"metadata": {"name": "pv-1"}, "spec": {"claimRef": {"name": "data", "namespace": "shop"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["w1"]}]}]}}}});
        assert_eq!(of("w1", &[], &[volume]).expect("data"), "the data of shop/data is on it and nowhere else");
    }
}
