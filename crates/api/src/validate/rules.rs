//! Rules of types and kinds.

mod access;
mod check;
mod config;
mod container;
mod network;
mod pod;
mod probe;
mod schedule;
mod service;
mod storage;
mod volume;
mod workload;

use super::error::FieldError;
use super::spot::Spot;
use crate::kind::Kind;

/// A rule of one type.
pub(super) type Rule = fn(&Spot<'_>, &mut Vec<FieldError>);

/// The rules of types, wherever they are met.
pub(super) const RULES: &[(&str, Rule)] = &[
    ("core.v1.PodSpec", pod::spec),
    ("core.v1.PodTemplateSpec", pod::template),
    ("core.v1.Container", container::container),
    ("core.v1.EphemeralContainer", container::container),
    ("core.v1.EnvVar", container::variable),
    ("core.v1.EnvFromSource", container::variables_from),
    ("core.v1.ContainerPort", container::port),
    ("core.v1.VolumeMount", container::mount),
    ("core.v1.ResourceRequirements", container::resources),
    ("core.v1.SecurityContext", container::security),
    ("core.v1.Probe", probe::probe),
    ("core.v1.LifecycleHandler", probe::hook),
    ("core.v1.HTTPGetAction", probe::http_get),
    ("core.v1.TCPSocketAction", probe::tcp_socket),
    ("core.v1.ExecAction", probe::exec),
    ("core.v1.Volume", volume::volume),
    ("core.v1.HostPathVolumeSource", volume::host_path),
    ("core.v1.SecretVolumeSource", volume::secret),
    ("core.v1.ConfigMapVolumeSource", volume::files),
    ("core.v1.DownwardAPIVolumeSource", volume::files),
    ("core.v1.ProjectedVolumeSource", volume::projected),
    ("core.v1.KeyToPath", volume::key_to_path),
    ("core.v1.Toleration", pod::toleration),
    ("core.v1.TopologySpreadConstraint", pod::spread),
    ("core.v1.HostAlias", pod::host_alias),
    ("core.v1.NodeSelectorRequirement", pod::node_requirement),
    ("core.v1.ServiceSpec", service::spec),
    ("core.v1.EndpointSubset", service::subset),
    ("core.v1.PersistentVolumeSpec", storage::volume),
    ("core.v1.PersistentVolumeClaimSpec", storage::claim),
    ("core.v1.LimitRangeItem", config::limit),
    ("meta.v1.LabelSelector", check::label_selector),
    ("apps.v1.DeploymentSpec", workload::deployment),
    ("apps.v1.ReplicaSetSpec", workload::replica_set),
    ("apps.v1.DaemonSetSpec", workload::daemon_set),
    ("apps.v1.StatefulSetSpec", workload::stateful_set),
    ("batch.v1.JobSpec", workload::job),
    ("batch.v1.CronJobSpec", workload::cron_job),
    ("policy.v1.PodDisruptionBudgetSpec", workload::disruption_budget),
    ("discovery.v1.EndpointSlice", service::slice),
    ("networking.v1.IngressSpec", network::ingress),
    ("networking.v1.IngressRule", network::ingress_rule),
    ("networking.v1.HTTPIngressPath", network::ingress_path),
    ("networking.v1.IngressBackend", network::ingress_backend),
    ("networking.v1.NetworkPolicyPeer", network::peer),
    ("networking.v1.IPBlock", network::block),
    ("networking.v1.NetworkPolicyPort", network::policy_port),
    ("io.naru.v1.NetworkSpec", network::own_network),
    ("rbac.v1.PolicyRule", access::policy_rule),
    ("rbac.v1.Subject", access::subject),
    ("coordination.v1.LeaseSpec", config::lease),
    ("authentication.v1.TokenRequestSpec", access::token_request),
    ("authorization.v1.SubjectAccessReviewSpec", access::review),
    ("authorization.v1.SelfSubjectAccessReviewSpec", access::self_review),
];

/// The rules of a kind as a whole.
pub(super) fn kind(kind: &Kind, root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => pod::pod(root, errors),
        ("", "Service") => service::service(root, errors),
        ("", "ConfigMap") => config::config_map(root, errors),
        ("", "Secret") => config::secret(root, errors),
        ("", "Event") => config::event(root, errors),
        ("", "ReplicationController") => workload::replication_controller(root, errors),
        ("batch", "CronJob") => workload::cron_job_name(root, errors),
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class(root, errors),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => access::role(kind, root, errors),
        _ => {}
    }
}

/// The fields of a PersistentVolume's spec that say where the data lies.
pub(super) fn volume_sources() -> &'static [String] {
    &storage::SOURCES
}
