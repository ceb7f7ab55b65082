//! Nodes, namespaces and small things.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Condition, Meta};

/// A Namespace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Meta,
    /// Its own finalizers.
    pub spec: NamespaceSpec,
    /// What is seen.
    pub status: NamespaceStatus,
}

/// A namespace's own finalizers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// Whoever must be done before it may go.
    pub finalizers: Vec<String>,
}

/// What is seen of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: String,
    /// What holds up its end.
    pub conditions: Vec<Condition>,
}

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Meta,
    /// Taints and kin.
    pub spec: NodeSpec,
    /// What is seen.
    pub status: NodeStatus,
}

/// A node's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// What keeps pods away.
    pub taints: Vec<Taint>,
    /// No new pods.
    pub unschedulable: bool,
    /// The addresses of its pods; empty until it has been given some.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// The same of every family.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Option<Vec<String>>,
}

/// A taint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// Since when (`NoExecute`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Timestamp>,
}

/// What is seen of a node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Where it is reached.
    pub addresses: Vec<NodeAddress>,
}

/// An address of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
}

/// A Network, as far as its status goes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Metadata.
    pub metadata: Meta,
    /// Whose it is.
    pub spec: NetworkSpec,
    /// What is seen.
    pub status: NetworkStatus,
}

/// A Network's specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// The namespace of the project that made it; empty for one that belongs to nobody.
    pub namespace: String,
}

/// What is seen of a Network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkStatus {
    /// The generation that the rest speaks of.
    pub observed_generation: i64,
    /// Pods on it.
    pub members: i64,
}

/// A Lease.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Metadata.
    pub metadata: Meta,
    /// Who holds it.
    pub spec: LeaseSpec,
}

/// A lease's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// When it was last renewed.
    pub renew_time: Option<Timestamp>,
    /// How long it lasts.
    pub lease_duration_seconds: Option<i64>,
}

/// A ServiceAccount.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// Metadata.
    pub metadata: Meta,
}

/// A ConfigMap. Only the copies of the authority's certificate are followed with their data.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// Metadata.
    pub metadata: Meta,
    /// Data.
    pub data: BTreeMap<String, Box<str>>,
}
