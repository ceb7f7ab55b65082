//! Slim views: the fields of each kind that some controller reads, and no more.
//!
//! Reading these and not the full types keeps a pod at a few hundred bytes and parses it in microseconds. Whatever is
//! written goes out as JSON that names only the fields meant, so nothing that a view leaves out is ever lost.

mod address;
mod cluster;
mod meta;
mod network;
mod pod;
mod storage;
mod workload;

pub use address::{IpAddress, IpAddressSpec, ParentRef, ServiceCidr, ServiceCidrSpec, ServiceCidrStatus};
pub use cluster::{
    ConfigMap, Lease, LeaseSpec, Namespace, NamespaceSpec, NamespaceStatus, Network, NetworkSpec, NetworkStatus, Node,
    NodeAddress, NodeSpec, NodeStatus, ServiceAccount, Taint,
};
pub use meta::{Condition, Meta, Owner};
pub use network::{
    AddressSet, Endpoint, EndpointConditions, EndpointSlice, Endpoints, EndpointsAddress, EndpointsPort, Ingress,
    LoadBalancer, Service, ServicePort, ServiceSpec, ServiceStatus, SlicePort, TargetRef,
};
pub use pod::{
    Claim, Container, ContainerPort, ContainerStatus, Gate, Phase, Pod, PodIp, PodSpec, PodStatus, State, Terminated,
    Toleration, Volume, Waiting,
};
pub use storage::{
    ClaimRef, PersistentVolume, PersistentVolumeClaim, StorageClass, VolumeClaimSpec, VolumePhase, VolumeSpec,
};
pub use workload::{
    BudgetSpec, BudgetStatus, ControllerRevision, CronJob, CronJobSpec, DaemonSet, DaemonSetSpec, Deployment,
    DeploymentSpec, DeploymentStatus, Job, JobSpec, JobStatus, PodDisruptionBudget, ReplicaSet, ReplicaSetSpec,
    ReplicaSetStatus, Rolling, StatefulSet, StatefulSetSpec, Strategy, UpdateStrategy,
};

use naru_client::BoxError;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// Reads a ReplicationController as a ReplicaSet: its selector is a plain map of labels.
///
/// # Errors
/// When it is not one.
pub fn read_replication_controller(json: &[u8]) -> Result<ReplicaSet, BoxError> {
    let mut set: ReplicaSet = read(json)?;
    if !set.spec.selector.is_null() {
        set.spec.selector = serde_json::json!({ "matchLabels": set.spec.selector.take() });
    }
    Ok(set)
}

/// Reads a view from an object's JSON.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, BoxError> {
    Ok(serde_json::from_slice(json)?)
}

/// Reads a list into exactly the memory that it takes: grown step by step it has room for twice as many, and views of
/// a hundred thousand pods are kept.
fn exact<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let mut list = Vec::deserialize(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}
