//! Pods: service account and its token, tolerations of lost nodes, priority.

use memchr::memmem;
use naru_api::{Kind, Status, meta};
use naru_store::{Key, Prefix, Snapshot};
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::namespace::ROOT_CA;
use crate::config::Settings;
use crate::object;
use crate::state::Core;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Somewhat above an hour: clients that compare with exactly one hour see that it must be renewed.
const TOKEN_SECONDS: u32 = 3607;
/// Letters of random suffixes: no vowels, so that no words come out.
pub(crate) const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Completes a new pod.
///
/// # Errors
/// 403 when its service account or priority class does not exist.
pub(crate) fn admit(core: &Core, snapshot: &Snapshot, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    if !pod["spec"].is_object() {
        return Ok(()); // validation says what is wrong
    }
    // A mirror of a node's static pod speaks for what runs already: nothing is added to it.
    let mirror = meta::annotation(pod, "kubernetes.io/config.mirror").is_some();
    if !mirror {
        account(snapshot, kind, pod)?;
    }
    priority(snapshot, kind, pod)?;
    tolerate_node_loss(&core.settings, pod);
    Ok(())
}

/// A random suffix of `length` letters.
pub(crate) fn suffix(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).filter_map(|_| SUFFIX_LETTERS.choose(&mut random)).map(|b| char::from(*b)).collect()
}

fn account(snapshot: &Snapshot, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    let namespace = meta::namespace(pod).to_owned();
    let spec = &mut pod["spec"];
    let named = [&spec["serviceAccountName"], &spec["serviceAccount"]]
        .into_iter()
        .find_map(|v| v.as_str().filter(|n| !n.is_empty()))
        .unwrap_or("default")
        .to_owned();
    spec["serviceAccountName"] = named.as_str().into();
    spec["serviceAccount"] = named.as_str().into();
    let Some(account) = snapshot.get(&Key::new("serviceaccounts", &namespace, &named)) else {
        let why = format!("error looking up service account {namespace}/{named}: serviceaccount {named:?} not found");
        return Err(Status::forbidden(kind, meta::name(pod), &why));
    };
    let account = object::parse(&account.served);
    if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && account["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty())
    {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let mount = spec["automountServiceAccountToken"].as_bool().or(account["automountServiceAccountToken"].as_bool());
    if mount.unwrap_or(true) {
        mount_token(spec);
    }
    Ok(())
}

/// Mounts the account's token, the cluster's CA and the namespace's name where libraries look for them, in every
/// container that has nothing there itself.
fn mount_token(spec: &mut Value) {
    let projected = |v: &&Value| v["name"].as_str().is_some_and(|n| n.starts_with("kube-api-access-"));
    let present = spec["volumes"].as_array().into_iter().flatten().find(projected);
    let present = present.and_then(|v| v["name"].as_str()).map(str::to_owned);
    let name = present.clone().unwrap_or_else(|| format!("kube-api-access-{}", suffix(5)));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|c| c.is_object()) {
            let mounts = &mut container["volumeMounts"];
            if mounts.as_array().into_iter().flatten().any(|m| m["mountPath"] == TOKEN_PATH) {
                continue;
            }
            needed = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH});
            match mounts.as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => *mounts = json!([mount]),
            }
        }
    }
    if !needed || present.is_some() {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    match spec["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => spec["volumes"] = json!([volume]),
    }
}

fn tolerate_node_loss(settings: &Settings, pod: &mut Value) {
    let spec = &mut pod["spec"];
    if spec["tolerations"].is_null() {
        spec["tolerations"] = json!([]);
    }
    let Some(tolerations) = spec["tolerations"].as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |t: &Value| {
            let effect = t["effect"].as_str().unwrap_or_default();
            let named = t["key"].as_str().unwrap_or_default();
            (named == key || (named.is_empty() && t["operator"] == "Exists"))
                && (effect.is_empty() || effect == "NoExecute")
        };
        if !tolerations.iter().any(covers) {
            let seconds = settings.node_loss_toleration.as_secs();
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
        }
    }
}

fn priority(snapshot: &Snapshot, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    let name = pod["spec"]["priorityClassName"].as_str().filter(|n| !n.is_empty());
    let class = match name {
        Some(name) => {
            let Some(entry) = snapshot.get(&Key::new("priorityclasses.scheduling.k8s.io", "", name)) else {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(Status::forbidden(kind, meta::name(pod), &why));
            };
            Some(object::parse(&entry.served))
        }
        None => snapshot
            .range(&Prefix::collection("priorityclasses.scheduling.k8s.io"))
            // Hardly ever is there one: this is asked for every pod, so none is parsed in vain.
            .filter(|e| memmem::find(&e.served, b"\"globalDefault\":true").is_some())
            .map(|e| object::parse(&e.served))
            .filter(|c| c["globalDefault"] == true)
            .min_by_key(|c| c["value"].as_i64()),
    };
    let (value, policy) = class.as_ref().map_or((json!(0), json!("PreemptLowerPriority")), |class| {
        let policy = &class["preemptionPolicy"];
        let policy = if policy.is_string() { policy.clone() } else { json!("PreemptLowerPriority") };
        (class["value"].clone(), policy)
    });
    let given = &pod["spec"]["priority"];
    if !given.is_null() && *given != value {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(Status::forbidden(kind, meta::name(pod), &why));
    }
    if let Some(class) = &class {
        pod["spec"]["priorityClassName"] = meta::name(class).into();
    }
    pod["spec"]["priority"] = value;
    if pod["spec"]["preemptionPolicy"].is_null() {
        pod["spec"]["preemptionPolicy"] = policy;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_mounted_where_nothing_else_is() {
        let mut spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": TOKEN_PATH}]}],
        });
        mount_token(&mut spec);
        let volume = spec["volumes"][0]["name"].as_str().expect("a volume").to_owned();
        assert!(volume.starts_with("kube-api-access-"));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
        assert_eq!(spec["initContainers"][0]["volumeMounts"][0]["mountPath"], TOKEN_PATH);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        let once = spec.clone();
        mount_token(&mut spec);
        assert_eq!(spec, once, "a second time changes nothing");
        let mut plain = json!({"containers": [{"name": "a"}]});
        mount_token(&mut plain);
        assert!(plain.get("initContainers").is_none(), "looking makes no fields");
    }

    #[test]
    fn pods_wait_for_a_lost_node_only_as_long_as_they_say() {
        let settings = Settings::default();
        let mut pod = json!({"spec": {"tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]}});
        tolerate_node_loss(&settings, &mut pod);
        let list = pod["spec"]["tolerations"].as_array().expect("a list");
        assert_eq!(list.len(), 2);
        assert_eq!((&list[0]["tolerationSeconds"], &list[1]["tolerationSeconds"]), (&json!(60), &json!(5)));
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        tolerate_node_loss(&settings, &mut all);
        assert_eq!(all["spec"]["tolerations"].as_array().map(Vec::len), Some(1));
    }
}
