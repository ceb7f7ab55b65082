//! Which pods may be moved: those that lose nothing by it.

use naru_api::naru::names;
use serde_json::Value;

use super::REBALANCE;
use crate::views::Pod;

/// How autoscalers are told that a pod must not be moved; it means the same here.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
/// Volumes that are the same, or made anew, on every node.
const ANYWHERE: [&str; 6] = ["configMap", "secret", "projected", "downwardAPI", "image", "nfs"];

/// Why a pod that serves is not moved; `None` for one that may be. `replicas`: how many its owner has.
pub(crate) fn stays(pod: &Pod, object: &Value, replicas: usize) -> Option<String> {
    let meta = &pod.metadata;
    match meta.annotation(REBALANCE).or(meta.annotation(SAFE_TO_EVICT)) {
        Some("true") => return None,
        Some("false") => return Some("its annotation says so".to_owned()),
        _ => {}
    }
    // An image may bring volumes along, which nobody here can see: what has only one container is not risked for.
    if meta.labels.contains_key(names::SERVICE) && replicas < 2 {
        return Some(format!("the only container of a Compose service ({REBALANCE}: \"true\" lets it be moved)"));
    }
    if meta.annotation(names::VOLUMES_FROM_IMAGE).is_some() {
        return Some("it has volumes of its own on its node".to_owned());
    }
    let volumes = object["spec"]["volumes"].as_array().into_iter().flatten();
    for volume in volumes {
        let in_memory = volume["emptyDir"]["medium"] == "Memory";
        let anywhere = ANYWHERE.iter().any(|kind| !volume[*kind].is_null());
        if !in_memory && !anywhere {
            return Some(format!("its volume {} is on its node", volume["name"].as_str().unwrap_or_default()));
        }
    }
    None
}
