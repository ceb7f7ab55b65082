//! Namespaces, services' addresses, the API server's own service, the default storage class, priority classes.

use serde_json::{Value, json};

use crate::admission::address;
use crate::config::Settings;

/// The namespaces that clients of Kubernetes expect.
pub(super) fn namespaces() -> Vec<Value> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": name } }))
        .to_vec()
}

/// The rest.
pub(super) fn all(settings: &Settings) -> Vec<Value> {
    vec![
        service(settings),
        json!({ "kind": "StorageClass", "apiVersion": "storage.k8s.io/v1",
            "metadata": { "name": "local",
                "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
            "provisioner": settings.provisioner, "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer" }),
        priority("system-cluster-critical", 2_000_000_000, "the cluster cannot do without"),
        priority("system-node-critical", 2_000_001_000, "a node cannot do without"),
    ]
}

/// Where services' addresses come from.
pub(super) fn ranges(settings: &Settings) -> Value {
    let network = &settings.service_network;
    let mut ranges = vec![network.v4.trunc().to_string()];
    ranges.extend(network.v6.map(|six| six.trunc().to_string()));
    json!({ "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": { "name": address::DEFAULT },
        "spec": { "cidrs": ranges } })
}

/// The API server's own service.
pub(super) fn service(settings: &Settings) -> Value {
    let target = settings.advertise.map_or(6443, |a| a.port());
    json!({ "kind": "Service", "apiVersion": "v1",
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": labels() },
        "spec": { "type": "ClusterIP", "clusterIP": settings.kubernetes_address().to_string(),
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": target }] } })
}

/// Where the API server's own service leads.
pub(super) fn endpoints(settings: &Settings) -> Vec<Value> {
    let Some(address) = settings.advertise else { return vec![] };
    let (ip, port) = (address.ip().to_string(), address.port());
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let ports = json!([{ "name": "https", "port": port, "protocol": "TCP" }]);
    vec![
        json!({ "kind": "Endpoints", "apiVersion": "v1",
            "metadata": { "name": "kubernetes", "namespace": "default",
                "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
            "subsets": [{ "addresses": [{ "ip": ip }], "ports": ports }] }),
        json!({ "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "name": "kubernetes", "namespace": "default",
                "labels": { "kubernetes.io/service-name": "kubernetes" } },
            "addressType": family, "ports": ports,
            "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }] }),
    ]
}

fn labels() -> Value {
    json!({ "component": "apiserver", "provider": "kubernetes" })
}

fn priority(name: &str, value: i64, what: &str) -> Value {
    json!({ "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": { "name": name },
        "value": value, "preemptionPolicy": "PreemptLowerPriority",
        "description": format!("For pods that {what}.") })
}
