//! What the server adds to objects before they are checked and stored.
//!
//! [`default`] writes down what an absent field means, so that every reader sees it; [`prepare_create`],
//! [`prepare_update`] and [`prepare_status`] decide what of the written object counts (a client cannot set a status
//! through the object, nor raise a generation). What needs a clock or chance comes from the caller: [`stamp`],
//! [`generate_name`].

mod autoscaling;
mod batch;
mod cluster;
mod device;
mod edit;
mod flow;
mod pod;
mod prepare;
mod registration;
mod schema;
mod service;
mod stamp;
mod workload;

pub use pod::default_tolerations;
pub use prepare::{prepare_create, prepare_status, prepare_update};
pub use stamp::{date, generate_name, stamp};

use serde_json::Value;

use crate::kind::Kind;

/// Fills in defaults: first those of the schema, then those that depend on other fields. Doing it twice changes nothing.
pub fn default(kind: &Kind, object: &mut Value) {
    if let Some(version) = kind.custom() {
        version.schema.fill(object);
        return;
    }
    schema::defaults(&kind.schema(), object);
    if kind.is_definition() {
        naru_crd::fill(object);
        return;
    }
    let Some(object) = object.as_object_mut() else { return };
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => pod::pod(object),
        ("", "PodTemplate") => edit::child(object, "template", pod::template),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("", "Service") => service::service(object),
        ("", "Endpoints") => service::endpoints(object),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(object),
        ("", "Namespace") => cluster::namespace(object),
        ("", "Node") => cluster::node(object),
        ("", "Secret") => cluster::secret(object),
        ("", "LimitRange") => cluster::limit_range(object),
        ("", "PersistentVolume") => cluster::persistent_volume(object),
        ("", "PersistentVolumeClaim") => cluster::claim(object),
        ("storage.k8s.io", "StorageClass") => cluster::storage_class(object),
        ("storage.k8s.io", "CSIDriver") => cluster::csi_driver(object),
        ("networking.k8s.io", "NetworkPolicy") => service::network_policy(object),
        ("networking.k8s.io", "IngressClass") => service::ingress_class(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => cluster::role_binding(object),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority_class(object),
        ("certificates.k8s.io", "CertificateSigningRequest") => cluster::signing_request(object),
        ("authentication.k8s.io", "TokenRequest") => cluster::token_request(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("autoscaling", "HorizontalPodAutoscaler") if kind.version == "v2" => autoscaling::autoscaler(object),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => registration::validating(object),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => registration::mutating(object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => registration::policy(object),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => registration::policy(object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            registration::policy_binding(object)
        }
        ("apiregistration.k8s.io", "APIService") => registration::api_service(object),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::schema(object),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => flow::priority_level(object),
        ("resource.k8s.io", "ResourceClaim") => device::claim(object),
        ("resource.k8s.io", "ResourceClaimTemplate") => edit::child(object, "spec", device::claim),
        ("batch", "Job") => batch::job(object),
        ("batch", "CronJob") => batch::cron_job(object),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
