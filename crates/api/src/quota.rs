//! What objects count for in a ResourceQuota, and in which quotas. Pure.
//!
//! The names under which things are counted, and what of a pod counts, are those of Kubernetes
//! (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use crate::meta;
use crate::quantity::Quantity;
use crate::view::qos_class;

/// Amounts by the name under which a quota counts them.
pub type Amounts = BTreeMap<String, Quantity>;

/// What must be named for every container once a quota counts it.
const NAMED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that are counted under their own name too, as from before everything could be counted.
const PLAIN: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];
const CLASS: &str = ".storageclass.storage.k8s.io/";

/// What an object of `collection` (`pods`, `deployments.apps`) counts for.
pub fn usage(collection: &str, object: &Value, now: Timestamp) -> Amounts {
    let mut amounts = Amounts::new();
    let one = Quantity::from_units(1);
    amounts.insert(format!("count/{collection}"), one);
    // What has ended, and what nobody can end any more, takes nothing but its name.
    if collection == "pods" && has_ended(object, now) {
        return amounts;
    }
    if PLAIN.contains(&collection) {
        amounts.insert(collection.to_owned(), one);
    }
    match collection {
        "pods" => {
            let pod = |of: &str| pod(&object["spec"], of);
            compute(&pod("requests"), &pod("limits"), &mut amounts);
        }
        "services" => service(&object["spec"], &mut amounts),
        "persistentvolumeclaims" => claim(object, &mut amounts),
        _ => {}
    }
    amounts
}

/// The collection whose objects count under a name: what has to be looked at to know how much is used.
pub fn collection_of(name: &str) -> &str {
    if let Some(counted) = name.strip_prefix("count/") {
        return counted;
    }
    match name {
        "services.loadbalancers" | "services.nodeports" => "services",
        "requests.storage" => "persistentvolumeclaims",
        name if name.contains(CLASS) => "persistentvolumeclaims",
        name if PLAIN.contains(&name) => name,
        _ => "pods",
    }
}

/// Whether a quota is about an object: all its scopes hold for it.
pub fn covers(quota: &Value, collection: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let mut plain = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut chosen = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    plain.all(|scope| holds(scope, "Exists", &Value::Null, collection, object))
        && chosen.all(|term| {
            let text = |field: &str| term[field].as_str().unwrap_or_default();
            holds(text("scopeName"), text("operator"), &term["values"], collection, object)
        })
}

/// What a quota limits that a pod's containers do not name: `cpu for: a,b`, each with its containers.
pub fn unnamed(hard: &Amounts, pod: &Value) -> Vec<String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let of = |of: &str| amounts(&container["resources"][of]);
            let mut named = Amounts::new();
            compute(&of("requests"), &of("limits"), &mut named);
            let wanted = NAMED.iter().filter(|name| hard.contains_key(**name) && !named.contains_key(**name));
            for name in wanted {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    let told = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    missing.into_iter().map(told).collect()
}

/// A map of amounts as an object holds it. What is no quantity is left out.
pub fn amounts(map: &Value) -> Amounts {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let known = sum.entry(name.clone()).or_default();
        *known = known.plus(*amount);
    }
}

fn has_ended(pod: &Value, now: Timestamp) -> bool {
    if matches!(meta::text(pod, "status.phase"), "Succeeded" | "Failed") {
        return true;
    }
    let (at, grace) = (&pod["metadata"]["deletionTimestamp"], &pod["metadata"]["deletionGracePeriodSeconds"]);
    let at = at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    at.zip(grace.as_i64()).and_then(|(at, grace)| at.checked_add(grace.seconds()).ok()).is_some_and(|gone| now > gone)
}

/// What a pod asks for (`requests` or `limits`): its containers together, or what starts before them if that is more.
pub fn pod(spec: &Value, of: &str) -> Amounts {
    let list = |list: &str| spec[list].as_array().into_iter().flatten().collect::<Vec<_>>();
    let own = |container: &Value| amounts(&container["resources"][of]);
    let mut together = Amounts::new();
    list("containers").into_iter().for_each(|container| add(&mut together, &own(container)));
    let (mut beside, mut before) = (Amounts::new(), Amounts::new());
    for container in list("initContainers") {
        if container["restartPolicy"] == "Always" {
            add(&mut together, &own(container));
            add(&mut beside, &own(container));
            raise(&mut before, &beside);
        } else {
            let mut while_it_runs = beside.clone();
            add(&mut while_it_runs, &own(container));
            raise(&mut before, &while_it_runs);
        }
    }
    raise(&mut together, &before);
    // What is said for the pod as a whole counts instead.
    together.extend(amounts(&spec["resources"][of]));
    let overhead = amounts(&spec["overhead"]);
    let overhead = overhead.into_iter().filter(|(name, _)| of == "requests" || together.contains_key(name)).collect();
    add(&mut together, &overhead);
    together
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let known = most.entry(name.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

/// The names under which requests and limits are counted.
fn compute(requests: &Amounts, limits: &Amounts, amounts: &mut Amounts) {
    for (name, amount) in requests {
        amounts.insert(format!("requests.{name}"), *amount);
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            amounts.insert(name.clone(), *amount);
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            amounts.insert(format!("limits.{name}"), *amount);
        }
    }
}

fn service(spec: &Value, amounts: &mut Amounts) {
    let ports = spec["ports"].as_array().into_iter().flatten();
    let kind = spec["type"].as_str().unwrap_or_default();
    let balanced = kind == "LoadBalancer";
    let taken = match spec["allocateLoadBalancerNodePorts"] == false && balanced {
        true => ports.filter(|port| port["nodePort"].as_u64().is_some_and(|number| number != 0)).count(),
        false if balanced || kind == "NodePort" => ports.count(),
        false => 0,
    };
    amounts.insert("services.nodeports".to_owned(), Quantity::from_units(taken as i64));
    amounts.insert("services.loadbalancers".to_owned(), Quantity::from_units(balanced.into()));
}

fn claim(claim: &Value, amounts: &mut Amounts) {
    let asked = quantity(&claim["spec"]["resources"]["requests"]["storage"]);
    let class = claim["spec"]["storageClassName"]
        .as_str()
        .or(meta::annotation(claim, "volume.beta.kubernetes.io/storage-class"))
        .filter(|class| !class.is_empty());
    if let Some(class) = class {
        amounts.insert(format!("{class}{CLASS}persistentvolumeclaims"), Quantity::from_units(1));
    }
    if let Some(asked) = asked {
        amounts.insert("requests.storage".to_owned(), asked);
        if let Some(class) = class {
            amounts.insert(format!("{class}{CLASS}requests.storage"), asked);
        }
    }
}

fn holds(scope: &str, operator: &str, values: &Value, collection: &str, object: &Value) -> bool {
    let spec = &object["spec"];
    let named = |field: &str| spec[field].as_str().unwrap_or_default();
    let among = |word: &str| {
        let listed = values.as_array().into_iter().flatten().any(|value| value == word);
        match operator {
            "In" => listed,
            "NotIn" => !listed,
            "DoesNotExist" => word.is_empty(),
            _ => !word.is_empty(),
        }
    };
    match (collection, scope) {
        ("pods", "Terminating") => spec["activeDeadlineSeconds"].is_number(),
        ("pods", "NotTerminating") => !spec["activeDeadlineSeconds"].is_number(),
        ("pods", "BestEffort") => qos_class(object) == "BestEffort",
        ("pods", "NotBestEffort") => qos_class(object) != "BestEffort",
        ("pods", "PriorityClass") => among(named("priorityClassName")),
        ("pods", "CrossNamespacePodAffinity") => crosses_namespaces(&spec["affinity"]),
        ("persistentvolumeclaims", "VolumeAttributesClass") => among(named("volumeAttributesClassName")),
        _ => false,
    }
}

/// Whether a pod wants to be near or far from pods of other namespaces.
fn crosses_namespaces(affinity: &Value) -> bool {
    let terms = ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|side| {
        let list = |list: &str| affinity[side][list].as_array().into_iter().flatten();
        let required = list("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution").map(|term| &term["podAffinityTerm"]);
        required.chain(preferred)
    });
    terms.into_iter().any(|term| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty()) || term["namespaceSelector"].is_object()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn told(amounts: &Amounts) -> Vec<String> {
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    #[test]
    fn a_pod_counts_for_what_it_asks() {
        let resources =
            |cpu: &str| json!({"requests": {"cpu": cpu, "example.org/card": 1}, "limits": {"memory": "1Gi"}});
        let mut pod = json!({"spec": {
            "containers": [{"resources": resources("100m")}, {"resources": resources("200m")}],
            "initContainers": [
                {"resources": resources("1"), "restartPolicy": "Always"},
                {"resources": resources("500m")},
            ],
            "overhead": {"cpu": "10m"},
        }});
        assert_eq!(
            told(&usage("pods", &pod, now())),
            [
                "count/pods=1",
                "cpu=1510m",
                "limits.memory=3Gi",
                "pods=1",
                "requests.cpu=1510m",
                "requests.example.org/card=3",
            ]
        );
        pod["status"]["phase"] = "Succeeded".into();
        assert_eq!(told(&usage("pods", &pod, now())), ["count/pods=1"]);
        let stuck =
            json!({"metadata": {"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30}});
        assert_eq!(told(&usage("pods", &stuck, now())), ["count/pods=1"]);
    }

    #[test]
    fn services_and_claims_count_for_more_than_one_thing() {
        let service = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        assert_eq!(
            told(&usage("services", &service, now())),
            ["count/services=1", "services=1", "services.loadbalancers=1", "services.nodeports=2"]
        );
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        let counted = usage("persistentvolumeclaims", &claim, now());
        assert_eq!(counted["gold.storageclass.storage.k8s.io/requests.storage"].to_string(), "1Gi");
        for name in counted.keys() {
            assert_eq!(collection_of(name), "persistentvolumeclaims", "{name}");
        }
        assert_eq!(collection_of("count/deployments.apps"), "deployments.apps");
        assert_eq!(collection_of("requests.example.org/card"), "pods");
    }

    #[test]
    fn scopes_choose() {
        let plain = json!({"spec": {"containers": [{}]}});
        let short =
            json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}], "activeDeadlineSeconds": 5}});
        let with = |scope: &str| json!({"spec": {"scopes": [scope]}});
        for (scope, of_plain, of_short) in [
            ("Terminating", false, true),
            ("NotTerminating", true, false),
            ("BestEffort", true, false),
            ("NotBestEffort", false, true),
            ("CrossNamespacePodAffinity", false, false),
        ] {
            assert_eq!(covers(&with(scope), "pods", &plain), of_plain, "{scope}");
            assert_eq!(covers(&with(scope), "pods", &short), of_short, "{scope}");
            assert!(!covers(&with(scope), "services", &plain));
        }
        let high = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}});
        assert!(!covers(&high, "pods", &plain));
        assert!(covers(&high, "pods", &json!({"spec": {"priorityClassName": "high"}})));
        assert!(covers(&json!({"spec": {}}), "secrets", &json!({})));
    }

    #[test]
    fn what_is_limited_must_be_named() {
        let hard = amounts(&json!({"cpu": "1", "limits.memory": "1Gi", "pods": "3"}));
        let pod = json!({"spec": {"containers": [
            {"name": "b", "resources": {"requests": {"cpu": "1"}}},
            {"name": "a", "resources": {"limits": {"memory": "1Gi"}}},
        ]}});
        assert_eq!(unnamed(&hard, &pod), ["cpu for: a", "limits.memory for: b"]);
    }
}
