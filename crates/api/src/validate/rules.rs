//! Rules of types and kinds.

mod access;
mod autoscaling;
mod certificate;
mod check;
mod config;
mod container;
mod csi;
mod device;
mod extension;
mod flow;
mod network;
mod pod;
mod policy;
mod probe;
mod schedule;
mod service;
mod storage;
mod volume;
mod webhook;
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
    ("authorization.v1.FieldSelectorAttributes", access::selector),
    ("authorization.v1.LabelSelectorAttributes", access::selector),
    ("certificates.v1.CertificateSigningRequestSpec", certificate::spec),
    ("autoscaling.v2.HorizontalPodAutoscalerSpec", autoscaling::autoscaler),
    ("autoscaling.v2.CrossVersionObjectReference", autoscaling::reference),
    ("autoscaling.v2.MetricSpec", autoscaling::metric),
    ("autoscaling.v2.MetricIdentifier", autoscaling::identifier),
    ("autoscaling.v2.MetricTarget", autoscaling::target),
    ("autoscaling.v2.HPAScalingRules", autoscaling::scaling),
    ("admissionregistration.v1.ValidatingWebhook", webhook::webhook),
    ("admissionregistration.v1.MutatingWebhook", webhook::webhook),
    ("admissionregistration.v1.RuleWithOperations", webhook::rule),
    ("admissionregistration.v1.NamedRuleWithOperations", webhook::named_rule),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", policy::validating),
    ("admissionregistration.v1.MutatingAdmissionPolicySpec", policy::mutating),
    ("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", policy::validating_binding),
    ("admissionregistration.v1.MutatingAdmissionPolicyBindingSpec", policy::mutating_binding),
    ("admissionregistration.v1.ParamKind", policy::param_kind),
    ("admissionregistration.v1.ParamRef", policy::param_ref),
    ("admissionregistration.v1.Variable", policy::variable),
    ("admissionregistration.v1.Validation", policy::validation),
    ("admissionregistration.v1.Mutation", policy::mutation),
    ("flowcontrol.v1.PolicyRulesWithSubjects", flow::rules),
    ("flowcontrol.v1.Subject", flow::subject),
    ("flowcontrol.v1.ResourcePolicyRule", flow::resources),
    ("flowcontrol.v1.NonResourcePolicyRule", flow::paths),
    ("networking.v1.IngressClassSpec", network::ingress_class),
    ("networking.v1.ParentReference", extension::parent),
    ("networking.v1.ServiceCIDRSpec", extension::service_cidr),
    ("node.v1.Scheduling", extension::scheduling),
    ("resource.v1.DeviceClaim", device::claim),
    ("resource.v1.DeviceRequest", device::request),
    ("resource.v1.ExactDeviceRequest", device::wanted),
    ("resource.v1.DeviceSubRequest", device::wanted),
    ("resource.v1.DeviceClassSpec", device::class),
    ("resource.v1.ResourceSliceSpec", device::slice),
    ("resource.v1.Device", device::device),
    ("resource.v1.DeviceTaint", device::taint),
    ("resource.v1.DeviceToleration", device::toleration),
    ("storage.v1.CSIDriverSpec", csi::driver),
    ("storage.v1.CSINodeSpec", csi::node),
    ("storage.v1.CSINodeDriver", csi::node_driver),
    ("storage.v1.VolumeAttachmentSpec", csi::attachment),
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
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            webhook::configuration(root, errors);
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => policy::annotations(root, errors),
        ("apiregistration.k8s.io", "APIService") => extension::api_service(root, errors),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::schema(root, errors),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => flow::level(root, errors),
        ("networking.k8s.io", "IPAddress") => extension::ip_address(root, errors),
        ("node.k8s.io", "RuntimeClass") => extension::runtime_class(root, errors),
        ("storage.k8s.io", "StorageClass") => csi::storage_class(root, errors),
        ("storage.k8s.io", "VolumeAttributesClass") => csi::attributes_class(root, errors),
        ("storage.k8s.io", "CSIStorageCapacity") => csi::capacity(root, errors),
        _ => {}
    }
}

pub(super) use certificate::{Through, changes as certificate_changes, status as certificate_status};
pub(super) use config::{newer_event, newer_event_change};

/// The rules of a state that is written apart.
pub(super) fn status(kind: &Kind, root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("autoscaling", "HorizontalPodAutoscaler") => {
            check::not_negative(&root.field("status"), &["currentReplicas", "desiredReplicas"], errors);
        }
        ("apiregistration.k8s.io", "APIService") => extension::api_service_status(root, errors),
        ("flowcontrol.apiserver.k8s.io", _) => flow::conditions(root, errors),
        ("resource.k8s.io", "ResourceClaim") => device::reserved(root, errors),
        _ => {}
    }
}

/// The fields of a PersistentVolume's spec that say where the data lies.
pub(super) fn volume_sources() -> &'static [String] {
    &storage::SOURCES
}
