//! Tables: what `kubectl get` prints of objects, made on the server so that every client prints the same.
//!
//! A kind's table is one list of columns and one function that makes the cells of a row from an object's JSON and the
//! present time. Kinds without a table of their own get name and age.

mod access;
mod age;
mod autoscaling;
mod cell;
mod cluster;
mod custom;
mod device;
mod event;
mod extension;
mod network;
mod pod;
mod storage;
mod workload;

pub use age::age;
pub use pod::{pod_ready, pod_restarts, pod_status};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::{Kind, Str};

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: Str,
    /// The JSON type of cells: `string`, `integer`, `boolean`; of kinds that users define also `number` and `date`.
    pub kind: Str,
    /// The format: `name` for the object's name, else empty or what a definition says.
    pub format: Str,
    /// What the column is, for people; may be empty.
    pub description: Str,
    /// 0: always shown; more: only in wide output.
    pub priority: i64,
}

impl Column {
    /// The column as the Table document describes it.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }
}

/// A kind's table.
struct Table {
    /// Headings; a leading `+` says: only in wide output.
    columns: &'static [&'static str],
    row: fn(&Value, Timestamp) -> Vec<Value>,
}

const fn table(columns: &'static [&'static str], row: fn(&Value, Timestamp) -> Vec<Value>) -> Table {
    Table { columns, row }
}

/// Columns whose cells are numbers.
const NUMBERS: &[&str] = &[
    "Up-to-date",
    "Available#",
    "Desired",
    "Current",
    "Ready#",
    "Data",
    "Secrets",
    "Active",
    "Value",
    "Revision",
    "Count",
    "Allowed Disruptions",
    "Members",
    "Webhooks",
    "Validations",
    "Mutations",
    "Drivers",
];

/// Columns whose cells are true or false.
const FLAGS: &[&str] = &["Attached", "AttachRequired", "PodInfoOnMount", "StorageCapacity", "RequiresRepublish"];

/// The type of a column's cells.
fn sort_of(heading: &str) -> &'static str {
    match heading {
        _ if NUMBERS.contains(&heading) => "integer",
        _ if FLAGS.contains(&heading) => "boolean",
        _ => "string",
    }
}

/// The columns of a kind's table.
pub fn columns(kind: &Kind) -> Vec<Column> {
    if let Some(version) = kind.custom() {
        return custom::columns(version);
    }
    let columns = of(kind).columns.iter();
    let columns = columns.map(|heading| {
        let (name, priority) = match heading.strip_prefix('+') {
            Some(name) => (name, 1),
            None => (*heading, 0),
        };
        Column {
            name: name.trim_end_matches('#').into(),
            kind: sort_of(name).into(),
            format: if name == "Name" { "name" } else { "" }.into(),
            description: "".into(),
            priority,
        }
    });
    columns.collect()
}

/// The cells of one object's row.
pub fn row(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(version) = kind.custom() {
        return custom::row(version, object, now);
    }
    (of(kind).row)(object, now)
}

fn of(kind: &Kind) -> Table {
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => pod::TABLE,
        ("", "PodTemplate") => workload::POD_TEMPLATE,
        ("", "ReplicationController") | ("apps", "ReplicaSet") => workload::REPLICA_SET,
        ("apps", "Deployment") => workload::DEPLOYMENT,
        ("apps", "DaemonSet") => workload::DAEMON_SET,
        ("apps", "StatefulSet") => workload::STATEFUL_SET,
        ("apps", "ControllerRevision") => workload::CONTROLLER_REVISION,
        ("batch", "Job") => workload::JOB,
        ("batch", "CronJob") => workload::CRON_JOB,
        ("policy", "PodDisruptionBudget") => workload::DISRUPTION_BUDGET,
        ("", "Service") => network::SERVICE,
        ("", "Endpoints") => network::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => network::ENDPOINT_SLICE,
        ("networking.k8s.io", "Ingress") => network::INGRESS,
        ("networking.k8s.io", "IngressClass") => network::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => network::NETWORK_POLICY,
        ("naru.io", "Network") => network::NETWORK,
        ("naru.io", "Project") => cluster::PROJECT,
        ("", "Node") => cluster::NODE,
        ("", "Namespace") => cluster::NAMESPACE,
        ("", "ConfigMap") => cluster::CONFIG_MAP,
        ("", "ResourceQuota") => cluster::RESOURCE_QUOTA,
        ("coordination.k8s.io", "Lease") => cluster::LEASE,
        ("scheduling.k8s.io", "PriorityClass") => cluster::PRIORITY_CLASS,
        ("", "Secret") => access::SECRET,
        ("", "ServiceAccount") => access::SERVICE_ACCOUNT,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => access::BINDING,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") | ("", "LimitRange") => access::CREATED,
        ("certificates.k8s.io", "CertificateSigningRequest") => access::SIGNING_REQUEST,
        ("", "PersistentVolume") => storage::VOLUME,
        ("", "PersistentVolumeClaim") => storage::CLAIM,
        ("storage.k8s.io", "StorageClass") => storage::CLASS,
        ("storage.k8s.io", "VolumeAttributesClass") => device::ATTRIBUTES_CLASS,
        ("storage.k8s.io", "CSIDriver") => device::CSI_DRIVER,
        ("storage.k8s.io", "CSINode") => device::CSI_NODE,
        ("storage.k8s.io", "CSIStorageCapacity") => device::CAPACITY,
        ("storage.k8s.io", "VolumeAttachment") => device::ATTACHMENT,
        ("resource.k8s.io", "ResourceClaim") => device::CLAIM,
        ("resource.k8s.io", "ResourceSlice") => device::SLICE,
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::AUTOSCALER,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            extension::WEBHOOKS
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => extension::VALIDATING_POLICY,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => extension::MUTATING_POLICY,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            extension::POLICY_BINDING
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => access::CREATED,
        ("apiregistration.k8s.io", "APIService") => extension::API_SERVICE,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => extension::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => extension::PRIORITY_LEVEL,
        ("networking.k8s.io", "IPAddress") => extension::ADDRESS,
        ("networking.k8s.io", "ServiceCIDR") => extension::SERVICE_CIDR,
        ("node.k8s.io", "RuntimeClass") => extension::RUNTIME_CLASS,
        ("", "ComponentStatus") => extension::COMPONENT,
        ("", "Event") => event::CORE,
        ("events.k8s.io", "Event") => event::NEWER,
        _ => cluster::PLAIN,
    }
}

#[cfg(test)]
mod tests;
