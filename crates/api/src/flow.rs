//! The flow schemas and priority levels that every cluster has: those that must be as they are, and those that are
//! suggested. Names, precedences and shares are those of a Kubernetes 1.36 API server, which dashboards and operators know.

use serde_json::{Value, json};

/// The annotation by which an object says whether it follows what is suggested.
pub const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const ANYBODY: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const NODES: [&str; 1] = ["system:nodes"];

/// Every priority level, the mandatory first.
pub fn levels() -> Vec<Value> {
    let reject = limited(5, 0, json!({ "type": "Reject" }));
    let queue = |shares: u32, lendable: u32, queues: u32, hand: u32| {
        let queuing = json!({ "queues": queues, "handSize": hand, "queueLengthLimit": 50 });
        limited(shares, lendable, json!({ "type": "Queue", "queuing": queuing }))
    };
    let exempt = json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } });
    [
        ("exempt", exempt),
        ("catch-all", reject),
        ("system", queue(30, 33, 64, 6)),
        ("node-high", queue(40, 25, 64, 6)),
        ("leader-election", queue(10, 0, 16, 4)),
        ("workload-high", queue(40, 50, 128, 6)),
        ("workload-low", queue(100, 90, 128, 6)),
        ("global-default", queue(20, 50, 128, 6)),
    ]
    .map(|(name, spec)| object("PriorityLevelConfiguration", name, spec))
    .to_vec()
}

/// Every flow schema, the mandatory first.
pub fn schemas() -> Vec<Value> {
    let all = |subjects: &[Value]| json!({ "subjects": subjects, "resourceRules": [everything()], "nonResourceRules": [anywhere()] });
    let controller = user("system:kube-controller-manager");
    let scheduler = user("system:kube-scheduler");
    let system_account = account("kube-system", "*");
    let of_nodes = json!({ "subjects": groups(&NODES), "resourceRules": [
        resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], "coordination.k8s.io", &["leases"], false),
    ] });
    let lease = resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false);
    let endpoints = resources(&["get", "create", "update"], "", &["endpoints"], false);
    let probes = json!({ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] });
    let (user, namespace, nothing) = ("ByUser", "ByNamespace", "");
    [
        ("exempt", "exempt", 1, nothing, all(&groups(&["system:masters"]))),
        ("catch-all", "catch-all", 10_000, user, all(&groups(&ANYBODY))),
        ("probes", "exempt", 2, nothing, json!({ "subjects": groups(&ANYBODY), "nonResourceRules": [probes] })),
        (
            "system-leader-election",
            "leader-election",
            100,
            user,
            json!({ "subjects": [controller, scheduler, system_account], "resourceRules": [lease] }),
        ),
        (
            "endpoint-controller",
            "workload-high",
            150,
            user,
            json!({ "subjects": [controller, account("kube-system", "endpoint-controller"),
                account("kube-system", "endpointslicemirroring-controller")], "resourceRules": [endpoints] }),
        ),
        (
            "workload-leader-election",
            "leader-election",
            200,
            user,
            json!({ "subjects": [system_account], "resourceRules": [lease] }),
        ),
        ("system-node-high", "node-high", 400, user, of_nodes),
        ("system-nodes", "system", 500, user, all(&groups(&NODES))),
        ("kube-controller-manager", "workload-high", 800, namespace, all(std::slice::from_ref(&controller))),
        ("kube-scheduler", "workload-high", 800, namespace, all(std::slice::from_ref(&scheduler))),
        ("kube-system-service-accounts", "workload-high", 900, namespace, all(std::slice::from_ref(&system_account))),
        ("service-accounts", "workload-low", 9_000, user, all(&groups(&["system:serviceaccounts"]))),
        ("global-default", "global-default", 9_900, user, all(&groups(&ANYBODY))),
    ]
    .map(|(name, level, precedence, by, rules)| {
        let mut spec = json!({ "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence,
            "rules": [rules] });
        if !by.is_empty() {
            spec["distinguisherMethod"] = json!({ "type": by });
        }
        object("FlowSchema", name, spec)
    })
    .to_vec()
}

/// Whether an object of this name must be as it is.
pub fn is_mandatory(name: &str) -> bool {
    matches!(name, "exempt" | "catch-all")
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
        "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } }, "spec": spec })
}

fn limited(shares: u32, lendable: u32, response: Value) -> Value {
    json!({ "type": "Limited", "limited": { "nominalConcurrencyShares": shares, "lendablePercent": lendable,
        "limitResponse": response } })
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "kind": "Group", "group": { "name": name } })).collect()
}

fn user(name: &str) -> Value {
    json!({ "kind": "User", "user": { "name": name } })
}

fn account(namespace: &str, name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": name } })
}

fn everything() -> Value {
    json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"] })
}

fn anywhere() -> Value {
    json!({ "verbs": ["*"], "nonResourceURLs": ["*"] })
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Registry, admit, meta, validate};

    #[test]
    fn what_every_cluster_has_is_whole_and_valid() {
        let registry = Registry::builtin();
        for object in levels().into_iter().chain(schemas()) {
            let kind = registry.by_api_version(meta::api_version(&object), meta::kind(&object)).expect("a kind");
            let mut defaulted = object.clone();
            admit::default(kind, &mut defaulted);
            // Nothing is left to defaults: what is written is compared with this.
            assert_eq!(defaulted["spec"], object["spec"]);
            assert_eq!(validate::create(kind, &defaulted), vec![]);
        }
        let names: Vec<String> = levels().iter().map(|level| meta::name(level).to_owned()).collect();
        for schema in schemas() {
            let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().expect("a name").to_owned();
            assert!(names.contains(&level), "{level}");
        }
    }
}
