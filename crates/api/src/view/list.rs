//! The views of all served kinds.

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v2 as autoscaling, batch::v1 as batch,
    certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    events::v1 as events, flowcontrol::v1 as flow, networking::v1 as networking, node::v1 as node,
    policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as registration;
use k8s_openapi::schemars::SchemaGenerator;
use serde_json::Value;

use super::{View, ViewError};
use crate::naru::{Network, Project};

/// The version of a view: `v1` unless it says otherwise.
macro_rules! version {
    () => {
        "v1"
    };
    ($version:literal) => {
        $version
    };
}

macro_rules! view {
    ($type:path: $group:literal $kind:literal $plural:literal $namespaced:literal $($version:literal)?) => {
        impl View for $type {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = version!($($version)?);
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;

            fn from_json(bytes: &[u8]) -> Result<Self, ViewError> {
                serde_json::from_slice(bytes).map_err(|source| ViewError {
                    kind: $kind,
                    group: $group,
                    version: version!($($version)?),
                    source,
                })
            }

            fn to_value(&self) -> Value {
                // Serialising to memory fails only for maps with keys that are no strings, which no view has.
                let value = serde_json::to_value(self).unwrap_or_default();
                super::with_kind(value, $group, version!($($version)?), $kind)
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

macro_rules! views {
    ($($type:path: $group:literal $kind:literal $plural:literal $namespaced:literal $($version:literal)?;)*) => {
        $(view!($type: $group $kind $plural $namespaced $($version)?);)*

        /// Group, version, kind, plural and whether namespaced, of every view of Kubernetes.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str, &str, &str, bool)] = &[
            $(($group, version!($($version)?), $kind, $plural, $namespaced)),*
        ];

        /// Parses an object of a kind by its names.
        #[cfg(test)]
        pub(super) fn parses(group: &str, kind: &str, bytes: &[u8]) -> Result<(), ViewError> {
            match (group, kind) {
                $(($group, $kind) => <$type as View>::from_json(bytes).map(drop),)*
                _ => Ok(()),
            }
        }

        /// Adds the descriptions of a kind and all types below it to `generator`.
        pub(crate) fn describe(group: &str, kind: &str, generator: &mut SchemaGenerator) {
            match (group, kind) {
                $(($group, $kind) => drop(generator.subschema_for::<$type>()),)*
                _ => {}
            }
        }
    };
}

views! {
    core::Namespace: "" "Namespace" "namespaces" false;
    core::Pod: "" "Pod" "pods" true;
    core::Service: "" "Service" "services" true;
    core::Endpoints: "" "Endpoints" "endpoints" true;
    core::ConfigMap: "" "ConfigMap" "configmaps" true;
    core::Secret: "" "Secret" "secrets" true;
    core::ServiceAccount: "" "ServiceAccount" "serviceaccounts" true;
    core::PersistentVolume: "" "PersistentVolume" "persistentvolumes" false;
    core::PersistentVolumeClaim: "" "PersistentVolumeClaim" "persistentvolumeclaims" true;
    core::Event: "" "Event" "events" true;
    core::Node: "" "Node" "nodes" false;
    core::ReplicationController: "" "ReplicationController" "replicationcontrollers" true;
    core::LimitRange: "" "LimitRange" "limitranges" true;
    core::ResourceQuota: "" "ResourceQuota" "resourcequotas" true;
    core::PodTemplate: "" "PodTemplate" "podtemplates" true;
    apps::Deployment: "apps" "Deployment" "deployments" true;
    apps::ReplicaSet: "apps" "ReplicaSet" "replicasets" true;
    apps::DaemonSet: "apps" "DaemonSet" "daemonsets" true;
    apps::StatefulSet: "apps" "StatefulSet" "statefulsets" true;
    apps::ControllerRevision: "apps" "ControllerRevision" "controllerrevisions" true;
    batch::Job: "batch" "Job" "jobs" true;
    batch::CronJob: "batch" "CronJob" "cronjobs" true;
    discovery::EndpointSlice: "discovery.k8s.io" "EndpointSlice" "endpointslices" true;
    rbac::Role: "rbac.authorization.k8s.io" "Role" "roles" true;
    rbac::RoleBinding: "rbac.authorization.k8s.io" "RoleBinding" "rolebindings" true;
    rbac::ClusterRole: "rbac.authorization.k8s.io" "ClusterRole" "clusterroles" false;
    rbac::ClusterRoleBinding: "rbac.authorization.k8s.io" "ClusterRoleBinding" "clusterrolebindings" false;
    storage::StorageClass: "storage.k8s.io" "StorageClass" "storageclasses" false;
    coordination::Lease: "coordination.k8s.io" "Lease" "leases" true;
    networking::NetworkPolicy: "networking.k8s.io" "NetworkPolicy" "networkpolicies" true;
    networking::Ingress: "networking.k8s.io" "Ingress" "ingresses" true;
    networking::IngressClass: "networking.k8s.io" "IngressClass" "ingressclasses" false;
    events::Event: "events.k8s.io" "Event" "events" true;
    authentication::TokenReview: "authentication.k8s.io" "TokenReview" "tokenreviews" false;
    authentication::SelfSubjectReview: "authentication.k8s.io" "SelfSubjectReview" "selfsubjectreviews" false;
    authorization::SubjectAccessReview: "authorization.k8s.io" "SubjectAccessReview" "subjectaccessreviews" false;
    authorization::SelfSubjectAccessReview:
        "authorization.k8s.io" "SelfSubjectAccessReview" "selfsubjectaccessreviews" false;
    authorization::SelfSubjectRulesReview:
        "authorization.k8s.io" "SelfSubjectRulesReview" "selfsubjectrulesreviews" false;
    authorization::LocalSubjectAccessReview:
        "authorization.k8s.io" "LocalSubjectAccessReview" "localsubjectaccessreviews" true;
    policy::PodDisruptionBudget: "policy" "PodDisruptionBudget" "poddisruptionbudgets" true;
    scheduling::PriorityClass: "scheduling.k8s.io" "PriorityClass" "priorityclasses" false;
    certificates::CertificateSigningRequest:
        "certificates.k8s.io" "CertificateSigningRequest" "certificatesigningrequests" false;
    core::Binding: "" "Binding" "bindings" true;
    core::ComponentStatus: "" "ComponentStatus" "componentstatuses" false;
    autoscaling::HorizontalPodAutoscaler:
        "autoscaling" "HorizontalPodAutoscaler" "horizontalpodautoscalers" true "v2";
    networking::IPAddress: "networking.k8s.io" "IPAddress" "ipaddresses" false;
    networking::ServiceCIDR: "networking.k8s.io" "ServiceCIDR" "servicecidrs" false;
    node::RuntimeClass: "node.k8s.io" "RuntimeClass" "runtimeclasses" false;
    storage::VolumeAttributesClass: "storage.k8s.io" "VolumeAttributesClass" "volumeattributesclasses" false;
    storage::CSIDriver: "storage.k8s.io" "CSIDriver" "csidrivers" false;
    storage::CSINode: "storage.k8s.io" "CSINode" "csinodes" false;
    storage::CSIStorageCapacity: "storage.k8s.io" "CSIStorageCapacity" "csistoragecapacities" true;
    storage::VolumeAttachment: "storage.k8s.io" "VolumeAttachment" "volumeattachments" false;
    resource::DeviceClass: "resource.k8s.io" "DeviceClass" "deviceclasses" false;
    resource::ResourceClaim: "resource.k8s.io" "ResourceClaim" "resourceclaims" true;
    resource::ResourceClaimTemplate: "resource.k8s.io" "ResourceClaimTemplate" "resourceclaimtemplates" true;
    resource::ResourceSlice: "resource.k8s.io" "ResourceSlice" "resourceslices" false;
    flow::FlowSchema: "flowcontrol.apiserver.k8s.io" "FlowSchema" "flowschemas" false;
    flow::PriorityLevelConfiguration:
        "flowcontrol.apiserver.k8s.io" "PriorityLevelConfiguration" "prioritylevelconfigurations" false;
    admission::ValidatingWebhookConfiguration:
        "admissionregistration.k8s.io" "ValidatingWebhookConfiguration" "validatingwebhookconfigurations" false;
    admission::MutatingWebhookConfiguration:
        "admissionregistration.k8s.io" "MutatingWebhookConfiguration" "mutatingwebhookconfigurations" false;
    admission::ValidatingAdmissionPolicy:
        "admissionregistration.k8s.io" "ValidatingAdmissionPolicy" "validatingadmissionpolicies" false;
    admission::ValidatingAdmissionPolicyBinding:
        "admissionregistration.k8s.io" "ValidatingAdmissionPolicyBinding" "validatingadmissionpolicybindings" false;
    admission::MutatingAdmissionPolicy:
        "admissionregistration.k8s.io" "MutatingAdmissionPolicy" "mutatingadmissionpolicies" false;
    admission::MutatingAdmissionPolicyBinding:
        "admissionregistration.k8s.io" "MutatingAdmissionPolicyBinding" "mutatingadmissionpolicybindings" false;
    extensions::CustomResourceDefinition:
        "apiextensions.k8s.io" "CustomResourceDefinition" "customresourcedefinitions" false;
    registration::APIService: "apiregistration.k8s.io" "APIService" "apiservices" false;
}

view!(Network: "naru.io" "Network" "networks" false);
view!(Project: "naru.io" "Project" "projects" true);
