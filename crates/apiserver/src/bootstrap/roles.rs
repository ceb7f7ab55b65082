//! The roles and bindings that clients of Kubernetes expect, under their names.
//!
//! `admin`, `edit` and `view` hold no rules of their own: they collect those of others by label, of which
//! `system:aggregate-to-…` are the first.

use serde_json::{Value, json};

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// All roles and bindings.
pub(super) fn all() -> Vec<Value> {
    let mut all = vec![
        role("cluster-admin", json!([rule(&["*"], &["*"], &["*"]), { "nonResourceURLs": ["*"], "verbs": ["*"] }])),
        aggregated("admin", &[]),
        aggregated("edit", &["admin"]),
        aggregated("view", &["edit", "admin"]),
        collected("admin", admin()),
        collected("edit", edit()),
        collected("view", view()),
        role(
            "system:basic-user",
            json!([
                rule(&["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"], &["create"]),
                rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"])
            ]),
        ),
        role(
            "system:discovery",
            json!([{ "verbs": ["get"], "nonResourceURLs":
            ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"] }]),
        ),
        role(
            "system:public-info-viewer",
            json!([{ "verbs": ["get"], "nonResourceURLs":
            ["/healthz", "/livez", "/readyz", "/version", "/version/"] }]),
        ),
        role(
            "system:monitoring",
            json!([{ "verbs": ["get"], "nonResourceURLs":
            ["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*"] }]),
        ),
        role(
            "system:auth-delegator",
            json!([
                rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"])
            ]),
        ),
        role(
            "system:service-account-issuer-discovery",
            json!([{ "verbs": ["get"], "nonResourceURLs":
            ["/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"] }]),
        ),
        role("system:node", node()),
        role(
            "system:node-bootstrapper",
            json!([
                rule(&["certificates.k8s.io"], &["certificatesigningrequests"], &["create"]),
                { "verbs": ["get"], "nonResourceURLs": ["/naru/v1/cluster"] }
            ]),
        ),
    ];
    all.extend(certificates());
    for (name, subjects) in [
        ("cluster-admin", &["system:masters"][..]),
        ("system:basic-user", &["system:authenticated"]),
        ("system:discovery", &["system:authenticated"]),
        ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
        ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        ("system:monitoring", &["system:monitoring"]),
        ("system:node", &["system:nodes"]),
        ("system:node-bootstrapper", &[crate::authentication::bootstrap::WORKERS]),
    ] {
        all.push(binding(name, subjects));
    }
    all
}

/// The rights to certificates: to get one as a node, and to decide about requests to a signer. Nobody holds them unless
/// bound to them.
fn certificates() -> Vec<Value> {
    let group = "certificates.k8s.io";
    let requested = ["nodeclient", "selfnodeclient"].map(|what| {
        let rights = rule(&[group], &[&format!("certificatesigningrequests/{what}")], &["create"]);
        role(&format!("system:{group}:certificatesigningrequests:{what}"), json!([rights]))
    });
    let signers = ["legacy-unknown", "kubelet-serving", "kube-apiserver-client", "kube-apiserver-client-kubelet"];
    let approved = signers.map(|signer| {
        let mut rights = rule(&[group], &["signers"], &["approve"]);
        rights["resourceNames"] = json!([format!("kubernetes.io/{signer}")]);
        role(&format!("system:{group}:{signer}-approver"), json!([rights]))
    });
    requested.into_iter().chain(approved).collect()
}

/// The role by which further servers read how to recognise this one.
pub(super) fn introduction() -> Value {
    let mut maps = rule(&[""], &["configmaps"], &READ);
    maps["resourceNames"] = json!(["extension-apiserver-authentication"]);
    let mut metadata = metadata("extension-apiserver-authentication-reader");
    metadata["namespace"] = "kube-system".into();
    json!({ "kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata, "rules": [maps] })
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" } })
}

fn role(name: &str, rules: Value) -> Value {
    json!({ "kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata(name), "rules": rules })
}

/// A role that collects others by the label `aggregate-to-<name>`, and is itself collected into `into`.
fn aggregated(name: &str, into: &[&str]) -> Value {
    let mut role = role(name, json!([]));
    for into in into {
        role["metadata"]["labels"][aggregate_to(into)] = "true".into();
    }
    role["aggregationRule"] = json!({ "clusterRoleSelectors": [{ "matchLabels": { aggregate_to(name): "true" } }] });
    role
}

/// The rules that `into` has from the beginning.
fn collected(into: &str, rules: Value) -> Value {
    let mut role = role(&format!("system:aggregate-to-{into}"), rules);
    role["metadata"]["labels"][aggregate_to(into)] = "true".into();
    role
}

fn aggregate_to(name: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{name}")
}

fn binding(role: &str, groups: &[&str]) -> Value {
    let subjects: Vec<Value> =
        groups.iter().map(|g| json!({ "kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": g })).collect();
    json!({ "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata(role),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": subjects })
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

const APPS: [&str; 9] = [
    "daemonsets",
    "deployments",
    "deployments/scale",
    "replicasets",
    "replicasets/scale",
    "statefulsets",
    "statefulsets/scale",
    "controllerrevisions",
    "deployments/rollback",
];

fn view() -> Value {
    json!([
        rule(
            &[""],
            &[
                "configmaps",
                "endpoints",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "pods/log",
                "pods/status",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "replicationcontrollers/status",
                "serviceaccounts",
                "services",
                "services/status",
                "events",
                "limitranges",
                "namespaces",
                "namespaces/status",
                "resourcequotas",
                "resourcequotas/status",
                "bindings"
            ],
            &READ
        ),
        rule(&["apps"], &APPS, &READ),
        rule(
            &["apps"],
            &["daemonsets/status", "deployments/status", "replicasets/status", "statefulsets/status"],
            &READ
        ),
        rule(&["batch"], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"], &READ),
        rule(&["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], &READ),
        rule(&["discovery.k8s.io"], &["endpointslices"], &READ),
        rule(&["events.k8s.io"], &["events"], &READ),
        rule(&["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"], &READ),
        rule(&["policy"], &["poddisruptionbudgets", "poddisruptionbudgets/status"], &READ),
        rule(&["resource.k8s.io"], &["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"], &READ),
        rule(&["naru.io"], &["projects", "projects/status"], &READ),
    ])
}

fn edit() -> Value {
    json!([
        rule(
            &[""],
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
            &READ
        ),
        rule(&[""], &["serviceaccounts"], &["impersonate"]),
        rule(&[""], &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], &WRITE),
        rule(&[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
        rule(
            &[""],
            &[
                "configmaps",
                "endpoints",
                "events",
                "persistentvolumeclaims",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy"
            ],
            &WRITE
        ),
        rule(&["apps"], &APPS, &WRITE),
        rule(&["batch"], &["cronjobs", "jobs"], &WRITE),
        rule(&["autoscaling"], &["horizontalpodautoscalers"], &WRITE),
        rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], &WRITE),
        rule(&["policy"], &["poddisruptionbudgets"], &WRITE),
        rule(&["resource.k8s.io"], &["resourceclaims", "resourceclaimtemplates"], &WRITE),
        rule(&["naru.io"], &["projects"], &WRITE),
        rule(&["naru.io"], &["projects/apply"], &["create"]),
    ])
}

fn admin() -> Value {
    json!([
        rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]),
        rule(&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], &[READ.as_slice(), WRITE.as_slice()].concat()),
    ])
}

/// What a node's agent needs. Which node's objects it may touch is a matter of admission, not of roles.
fn node() -> Value {
    json!([
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(&["authorization.k8s.io"], &["localsubjectaccessreviews", "subjectaccessreviews"], &["create"]),
        rule(&[""], &["services", "endpoints", "namespaces"], &READ),
        rule(&["discovery.k8s.io"], &["endpointslices"], &READ),
        rule(&["networking.k8s.io"], &["networkpolicies"], &READ),
        rule(&["naru.io"], &["networks"], &READ),
        rule(&[""], &["nodes"], &["create", "get", "list", "watch", "update", "patch"]),
        rule(&[""], &["nodes/status"], &["patch", "update"]),
        // Images of its pods from other nodes, and nothing else: judged beyond the role.
        rule(&[""], &["nodes/proxy"], &["get"]),
        rule(&[""], &["events"], &["create", "patch", "update"]),
        rule(&["events.k8s.io"], &["events"], &["create", "patch", "update"]),
        rule(&[""], &["pods"], &["create", "delete", "get", "list", "watch"]),
        rule(&[""], &["pods/status"], &["patch", "update"]),
        rule(&[""], &["pods/eviction"], &["create"]),
        rule(&[""], &["configmaps", "secrets"], &READ),
        rule(&[""], &["persistentvolumeclaims", "persistentvolumes"], &["get", "list", "watch", "update", "patch"]),
        rule(&[""], &["persistentvolumeclaims/status", "persistentvolumes/status"], &["patch", "update"]),
        rule(&["certificates.k8s.io"], &["certificatesigningrequests"], &["create", "get", "list", "watch"]),
        rule(&["coordination.k8s.io"], &["leases"], &["create", "delete", "get", "patch", "update"]),
        rule(&[""], &["serviceaccounts/token"], &["create"]),
        rule(&[""], &["serviceaccounts"], &["get"]),
        rule(&["storage.k8s.io"], &["storageclasses"], &READ),
        rule(&[""], &["nodes"], &["delete"]),
        { "verbs": ["get"], "nonResourceURLs": ["/naru/v1/cluster", "/naru/v1/tunnel", "/naru/v1/dataplanes"] },
    ])
}
