//! Services and where they lead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Meta;

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: ServiceSpec,
    /// What is seen.
    pub status: ServiceStatus,
}

/// What is seen of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Where it is reached from outside.
    pub load_balancer: LoadBalancer,
}

/// Where a Service is reached from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// The addresses.
    pub ingress: Vec<Ingress>,
}

/// An address of a balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// The address; empty for one that has a name only.
    pub ip: String,
}

/// A Service's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP` (also when empty), `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its address; `None` when headless.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// Its addresses, one of each family; `None` when headless.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// The balancer that is to serve it, when it is not the nodes.
    pub load_balancer_class: Option<String>,
    /// The families of its addresses.
    pub ip_families: Vec<String>,
    /// Which pods it leads to; none: its endpoints are managed by hand.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Pods that are not ready count as ready.
    pub publish_not_ready_addresses: bool,
}

/// A Service's port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name; may be empty when it is the only one.
    pub name: String,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
    /// Number.
    pub port: u16,
    /// The pods' port: a number, or a name that each pod resolves; the same number when absent.
    pub target_port: Value,
    /// A hint for proxies.
    pub app_protocol: Option<String>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Metadata.
    pub metadata: Meta,
    /// `IPv4` or `IPv6`.
    pub address_type: String,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The ports that all its endpoints have.
    pub ports: Vec<SlicePort>,
}

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Its address.
    pub addresses: Vec<String>,
    /// Whether it answers.
    pub conditions: EndpointConditions,
    /// Its host name under the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The pod behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// Whether an endpoint answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Serving and not on its way out (or published whatever its state).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Able to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// On its way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// A reference to the pod behind an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Pod`
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// A slice's port.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// The service port's name.
    pub name: String,
    /// Protocol.
    pub protocol: String,
    /// Number on the pods; any when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A hint for proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// The older form of the same.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// Metadata.
    pub metadata: Meta,
    /// Addresses that share ports.
    pub subsets: Vec<AddressSet>,
}

/// Addresses that share ports.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AddressSet {
    /// Ready ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<EndpointsAddress>,
    /// The others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<EndpointsAddress>,
    /// Ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointsPort>,
}

/// An address of [`Endpoints`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsAddress {
    /// The address.
    pub ip: String,
    /// Its host name under the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The pod behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// A port of [`Endpoints`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsPort {
    /// The service port's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Number on the pods.
    pub port: u16,
    /// Protocol.
    pub protocol: String,
    /// A hint for proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}
