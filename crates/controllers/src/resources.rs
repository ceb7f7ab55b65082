//! The resources that controllers follow and write.

use std::borrow::Cow;

use naru_client::Resource;

const fn resource(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed(version),
        kind: Cow::Borrowed(kind),
        plural: Cow::Borrowed(plural),
        namespaced,
    }
}

pub(crate) const PODS: Resource = resource("", "v1", "Pod", "pods", true);
pub(crate) const NODES: Resource = resource("", "v1", "Node", "nodes", false);
pub(crate) const NAMESPACES: Resource = resource("", "v1", "Namespace", "namespaces", false);
pub(crate) const SERVICES: Resource = resource("", "v1", "Service", "services", true);
pub(crate) const ENDPOINTS: Resource = resource("", "v1", "Endpoints", "endpoints", true);
pub(crate) const EVENTS: Resource = resource("", "v1", "Event", "events", true);
pub(crate) const CONFIG_MAPS: Resource = resource("", "v1", "ConfigMap", "configmaps", true);
pub(crate) const SECRETS: Resource = resource("", "v1", "Secret", "secrets", true);
pub(crate) const SERVICE_ACCOUNTS: Resource = resource("", "v1", "ServiceAccount", "serviceaccounts", true);
pub(crate) const REPLICATION_CONTROLLERS: Resource =
    resource("", "v1", "ReplicationController", "replicationcontrollers", true);
pub(crate) const CLAIMS: Resource = resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true);
pub(crate) const VOLUMES: Resource = resource("", "v1", "PersistentVolume", "persistentvolumes", false);
pub(crate) const DEPLOYMENTS: Resource = resource("apps", "v1", "Deployment", "deployments", true);
pub(crate) const REPLICA_SETS: Resource = resource("apps", "v1", "ReplicaSet", "replicasets", true);
pub(crate) const DAEMON_SETS: Resource = resource("apps", "v1", "DaemonSet", "daemonsets", true);
pub(crate) const STATEFUL_SETS: Resource = resource("apps", "v1", "StatefulSet", "statefulsets", true);
pub(crate) const REVISIONS: Resource = resource("apps", "v1", "ControllerRevision", "controllerrevisions", true);
pub(crate) const JOBS: Resource = resource("batch", "v1", "Job", "jobs", true);
pub(crate) const CRON_JOBS: Resource = resource("batch", "v1", "CronJob", "cronjobs", true);
pub(crate) const SLICES: Resource = resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true);
pub(crate) const BUDGETS: Resource = resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true);
pub(crate) const NETWORKS: Resource = resource("naru.io", "v1", "Network", "networks", false);
pub(crate) const LEASES: Resource = resource("coordination.k8s.io", "v1", "Lease", "leases", true);
pub(crate) const STORAGE_CLASSES: Resource = resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", false);
pub(crate) const CERTIFICATE_REQUESTS: Resource =
    resource("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", false);
pub(crate) const IP_ADDRESSES: Resource = resource("networking.k8s.io", "v1", "IPAddress", "ipaddresses", false);
pub(crate) const SERVICE_CIDRS: Resource = resource("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", false);
