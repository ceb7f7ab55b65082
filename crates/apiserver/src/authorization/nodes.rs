//! What a node may touch: its own Node and Lease, the pods bound to it, and what those pods refer to.
//!
//! Roles cannot say that, for it depends on where pods are. So whoever gets hold of a node's key gets what runs there
//! anyway, and neither another node's secrets nor a way to run anything elsewhere. The decision is pure: what it must
//! know of the cluster is asked through [`Facts`].

use memchr::memmem;
use naru_api::meta;
use naru_api::naru::names;
use naru_store::{Key, Snapshot};
use serde_json::Value;

use super::Attributes;
use crate::authentication::{
    forgotten::{BACK, UNCONFIRMED},
    member::{KEY_HASH, UNTIL},
};
use crate::encode::BY_NODE;
use crate::object;

/// Finalizer of a volume whose data lies on a node.
const DATA: &str = "naru.io/local-data";
/// Label of a volume whose data has to go: the node that erases it.
const ERASE_ON: &str = "naru.io/erase-on";

/// What the cluster knows of pods.
pub(crate) trait Facts {
    /// The node that a pod is bound to; `None` without such a pod.
    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String>;
    /// Whether a pod that is bound to `node` refers to the `Secret` or `ConfigMap` of this name.
    fn refers(&self, node: &str, kind: &str, namespace: &str, name: &str) -> bool;
    /// Whether a pod that is bound to `node`, and that the node did not make itself, runs this image.
    fn runs(&self, node: &str, image: &str) -> bool;
}

/// Judges a request by what its path says.
///
/// # Errors
/// Why a node may not do that.
pub(crate) fn judge(node: &str, asked: &Attributes<'_>, facts: &impl Facts) -> Result<(), String> {
    let Attributes { verb, group, resource, subresource, namespace, name, .. } = *asked;
    let reads = matches!(verb, "get" | "list" | "watch");
    let own_pod = || match facts.node_of_pod(namespace, name) {
        Some(at) if at == node => Ok(()),
        // Whether it exists at all is answered where it is looked for.
        None => Ok(()),
        Some(_) => Err(format!("pod {namespace}/{name} is not on node {node}")),
    };
    match (group, resource, subresource) {
        ("", kind @ ("secrets" | "configmaps"), _) => {
            let word = if kind == "secrets" { "Secret" } else { "ConfigMap" };
            if !reads {
                return Err(format!("a node does not write {kind}"));
            }
            if name.is_empty() || namespace.is_empty() {
                return Err(format!("a node reads {kind} one by one (fieldSelector metadata.name=NAME)"));
            }
            match facts.refers(node, word, namespace, name) {
                true => Ok(()),
                false => Err(format!("no pod on node {node} refers to {kind} {namespace}/{name}")),
            }
        }
        ("", "pods", _) if reads => Ok(()),
        ("", "pods", "") if verb == "create" => Ok(()), // judged by the object
        ("", "pods", "" | "status" | "eviction") if !name.is_empty() => own_pod(),
        ("", "pods", _) => Err("a node changes single pods that are bound to it".to_owned()),
        ("", "nodes", "proxy") if verb == "get" => Ok(()), // judged by what it asks for: `judge_proxy`
        ("", "nodes", "proxy") => Err("a node asks other nodes for images only".to_owned()),
        ("", "nodes", _) if reads => Ok(()),
        ("", "nodes", "" | "status") if name == node || (verb == "create" && name.is_empty()) => Ok(()),
        ("", "nodes", _) => Err(format!("node {node} changes only its own Node")),
        ("coordination.k8s.io", "leases", _) => {
            let own = namespace == "kube-node-lease" && (name == node || (verb == "create" && name.is_empty()));
            if own { Ok(()) } else { Err(format!("node {node} has only the lease kube-node-lease/{node}")) }
        }
        // Judged by the change: only that data has been erased.
        ("", "persistentvolumes", "") if matches!(verb, "patch" | "update") && !name.is_empty() => Ok(()),
        ("", "persistentvolumes" | "persistentvolumeclaims", _) if !reads => {
            Err("a node does not write volumes and claims".to_owned())
        }
        _ => Ok(()),
    }
}

/// Judges what a node asks another one for: images that its pods run, and nothing else. `rest` is the path there.
///
/// # Errors
/// Why a node may not have that.
pub(crate) fn judge_proxy(node: &str, rest: &str, image: Option<&str>, facts: &impl Facts) -> Result<(), String> {
    let blob = |rest: &str| rest.strip_prefix("images/blobs/").is_some_and(|digest| !digest.contains('/'));
    if rest != "images/offer" && !blob(rest) {
        return Err("a node asks other nodes for images only".to_owned());
    }
    let image = image.unwrap_or_default();
    match !image.is_empty() && facts.runs(node, image) {
        true => Ok(()),
        false => Err(format!("no pod on node {node} runs the image {image:?}")),
    }
}

/// Judges a new object.
///
/// # Errors
/// Why a node may not create it.
pub(crate) fn judge_create(node: &str, collection: &str, object: &Value) -> Result<(), String> {
    match collection {
        "nodes" if meta::name(object) == node => {
            labels(node, &Value::Null, object)?;
            same(&Value::Null, object, names::CLUSTER_NETWORK)?;
            same(&Value::Null, object, KEY_HASH)
        }
        "nodes" => Err(format!("node {node} is only itself")),
        "leases.coordination.k8s.io" if meta::name(object) == node => Ok(()),
        "leases.coordination.k8s.io" => Err(format!("node {node} has only the lease of its name")),
        "pods" => mirror(node, object),
        "events" => sender(node, object),
        // Who may have which certificate is judged where it is signed.
        "certificatesigningrequests.certificates.k8s.io" => Ok(()),
        other => Err(format!("a node creates no {other}")),
    }
}

/// Judges a changed object.
///
/// # Errors
/// Why a node may not change it so.
pub(crate) fn judge_change(node: &str, collection: &str, old: &Value, new: &Value) -> Result<(), String> {
    match collection {
        "nodes" if meta::name(old) == node => {
            if old["spec"] != new["spec"] {
                return Err(
                    "a node does not change its spec: address range, taints and cordon are the cluster's".into()
                );
            }
            for field in ["ownerReferences", "finalizers"] {
                if old["metadata"][field] != new["metadata"][field] {
                    return Err(format!("a node does not change its metadata.{field}"));
                }
            }
            // What holds for the network of all nodes is a server's word.
            same(old, new, names::CLUSTER_NETWORK)?;
            for own in [KEY_HASH, UNTIL, BACK, UNCONFIRMED] {
                same(old, new, own)?;
            }
            labels(node, old, new)
        }
        "nodes" => Err(format!("node {node} changes only its own Node")),
        "pods" if meta::text(old, "spec.nodeName") == node => {
            let differs = |field: &str| old[field] != new[field];
            let labels = old["metadata"]["labels"] != new["metadata"]["labels"];
            if differs("spec") || labels { Err("a node changes the status of a pod only".into()) } else { Ok(()) }
        }
        "pods" => Err(format!("pod {}/{} is not on node {node}", meta::namespace(old), meta::name(old))),
        "leases.coordination.k8s.io" if meta::name(old) == node => Ok(()),
        "persistentvolumes" => erased(node, old, new),
        "events" => sender(node, old).and_then(|()| sender(node, new)),
        other => Err(format!("a node changes no {other}")),
    }
}

/// Judges the request for a service account's token.
///
/// # Errors
/// When it is not bound to a pod on the node that runs under this account.
pub(crate) fn judge_token(node: &str, account: &str, bound: &Value, pod: Option<&Value>) -> Result<(), String> {
    if bound["kind"] != "Pod" || meta::text(bound, "uid").is_empty() {
        return Err("a node asks for tokens that are bound to one of its pods, by name and uid".into());
    }
    let Some(pod) = pod else { return Err("the pod that the token is to be bound to does not exist".into()) };
    let runs = meta::text(pod, "spec.nodeName") == node
        && meta::uid(pod) == meta::text(bound, "uid")
        && meta::text(pod, "spec.serviceAccountName") == account;
    let name = meta::name(pod);
    if runs { Ok(()) } else { Err(format!("pod {name} does not run on node {node} as service account {account}")) }
}

/// A mirror speaks for a pod that runs from a file of the node's; it brings nothing out of the API.
fn mirror(node: &str, pod: &Value) -> Result<(), String> {
    if meta::annotation(pod, "kubernetes.io/config.mirror").is_none() {
        return Err("a node creates mirrors of its own static pods only".into());
    }
    if meta::text(pod, "spec.nodeName") != node {
        return Err(format!("node {node} mirrors pods of its own only"));
    }
    let account = ["serviceAccountName", "serviceAccount"].iter().any(|f| !pod["spec"][*f].is_null());
    let text = pod["spec"].to_string();
    let borrows = ["\"secret", "\"configMap", "\"persistentVolumeClaim\"", "\"projected\"", "\"imagePullSecrets\""];
    if account || borrows.iter().any(|word| text.contains(word)) {
        return Err("a mirror refers to no secret, configmap, claim or service account".into());
    }
    Ok(())
}

/// A node says of a volume on its way out that it has erased its data there, and nothing else of any.
fn erased(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    if !meta::is_deleting(old) || meta::label(old, ERASE_ON) != Some(node) {
        return Err(format!("the data of volume {} is not node {node}'s to erase", meta::name(old)));
    }
    let rest = |object: &Value| {
        let mut object = object.clone();
        let left = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let left: Vec<Value> = left.into_iter().filter(|name| name != DATA).collect();
        meta::set(&mut object, "finalizers", left);
        ["managedFields", "resourceVersion"].iter().for_each(|field| drop(meta::unset(&mut object, field)));
        object
    };
    if rest(old) == rest(new) { Ok(()) } else { Err("a node only takes its own finalizer off a volume".into()) }
}

fn sender(node: &str, event: &Value) -> Result<(), String> {
    let host = [meta::text(event, "source.host"), meta::text(event, "deprecatedSource.host")];
    let instance = meta::text(event, "reportingInstance");
    let own = host.iter().chain([&instance]).all(|word| word.is_empty() || *word == node);
    if own { Ok(()) } else { Err(format!("node {node} tells events of its own only")) }
}

fn same(old: &Value, new: &Value, annotation: &str) -> Result<(), String> {
    match meta::annotation(old, annotation) == meta::annotation(new, annotation) {
        true => Ok(()),
        false => Err(format!("a node does not change its annotation {annotation}")),
    }
}

/// Labels by which workloads are kept apart are the administrator's; a node says what it is and where.
fn labels(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    let none = serde_json::Map::new();
    let (before, after) = (meta::labels(old).unwrap_or(&none), meta::labels(new).unwrap_or(&none));
    let keys = before.keys().chain(after.keys());
    for key in keys.filter(|key| before.get(*key) != after.get(*key)) {
        if key == "kubernetes.io/hostname" && after.get(key).is_none_or(|name| name != node) {
            return Err(format!("the label {key} of a node is its name"));
        }
        if !is_own_label(key) {
            return Err(format!("a node does not set the label {key}: `naru node label` does"));
        }
    }
    Ok(())
}

fn is_own_label(key: &str) -> bool {
    const OWN: [&str; 12] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "kubernetes.io/kernel-version",
    ];
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let of = |owner: &str| domain == owner || domain.strip_suffix(owner).is_some_and(|d| d.ends_with('.'));
    OWN.contains(&key) || !(of("kubernetes.io") || of("k8s.io") || of("naru.io"))
}

impl Facts for Snapshot {
    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String> {
        let entry = self.get(&Key::new("pods", namespace, name))?;
        Some(meta::text(&object::parse(&entry.served), "spec.nodeName").to_owned())
    }

    fn refers(&self, node: &str, kind: &str, namespace: &str, name: &str) -> bool {
        let finder = memmem::Finder::new(name.as_bytes());
        self.by_index(BY_NODE, node)
            .filter(|entry| entry.key.parts().1 == namespace)
            // Most pods do not even hold the word: they are not parsed.
            .filter(|entry| finder.find(&entry.served).is_some())
            .any(|entry| refers(&object::parse(&entry.served), kind, name))
    }

    fn runs(&self, node: &str, image: &str) -> bool {
        let finder = memmem::Finder::new(image.as_bytes());
        self.by_index(BY_NODE, node)
            .filter(|entry| finder.find(&entry.served).is_some())
            .any(|entry| runs(&object::parse(&entry.served), image))
    }
}

/// Whether a pod runs an image. What a node wrote itself gives it no right.
fn runs(pod: &Value, image: &str) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
    meta::annotation(pod, "kubernetes.io/config.mirror").is_none() && containers.any(|c| c["image"] == image)
}

/// Whether a pod refers to a `Secret` or `ConfigMap` of its namespace.
fn refers(pod: &Value, kind: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let is = |value: &Value| value.as_str() == Some(name);
    let secret = kind == "Secret";
    if secret && list(spec, "imagePullSecrets").iter().any(|reference| is(&reference["name"])) {
        return true;
    }
    let volume = |volume: &Value| {
        let sources = list(&volume["projected"], "sources");
        match secret {
            true => is(&volume["secret"]["secretName"]) || sources.iter().any(|source| is(&source["secret"]["name"])),
            false => is(&volume["configMap"]["name"]) || sources.iter().any(|source| is(&source["configMap"]["name"])),
        }
    };
    let (from, key) = if secret { ("secretRef", "secretKeyRef") } else { ("configMapRef", "configMapKeyRef") };
    let container = |container: &Value| {
        list(container, "envFrom").iter().any(|source| is(&source[from]["name"]))
            || list(container, "env").iter().any(|variable| is(&variable["valueFrom"][key]["name"]))
    };
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    list(spec, "volumes").iter().any(volume) || containers.iter().any(|l| list(spec, l).iter().any(container))
}

#[cfg(test)]
mod tests;
