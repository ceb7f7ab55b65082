//! Tables: what `kubectl get` prints of objects, made on the server so that every client prints the same.
//!
//! A kind's table is one list of columns and one function that makes the cells of a row from an object's JSON and the
//! present time. Kinds without a table of their own get name and age.

mod access;
mod age;
mod cell;
mod cluster;
mod event;
mod network;
mod pod;
mod storage;
mod workload;

pub use age::age;
pub use pod::{pod_ready, pod_restarts, pod_status};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::Kind;

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// The JSON type of cells: `string`, `integer`, `boolean`.
    pub kind: &'static str,
    /// The format: `name` for the object's name, else empty.
    pub format: &'static str,
    /// 0: always shown; 1: only in wide output.
    pub priority: u8,
}

impl Column {
    /// The column as the Table document describes it.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": "", "priority": self.priority,
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
    "Available",
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
];

/// The columns of a kind's table.
pub fn columns(kind: &Kind) -> Vec<Column> {
    let columns = of(kind).columns.iter();
    let columns = columns.map(|heading| {
        let (name, priority) = match heading.strip_prefix('+') {
            Some(name) => (name, 1),
            None => (*heading, 0),
        };
        Column {
            name: name.trim_end_matches('#'),
            kind: if NUMBERS.contains(&name) { "integer" } else { "string" },
            format: if name == "Name" { "name" } else { "" },
            priority,
        }
    });
    columns.collect()
}

/// The cells of one object's row.
pub fn row(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
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
        ("", "Event") => event::CORE,
        ("events.k8s.io", "Event") => event::NEWER,
        _ => cluster::PLAIN,
    }
}

#[cfg(test)]
mod tests;
