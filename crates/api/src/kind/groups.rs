//! The other groups of Kubernetes.

use super::Subresource::{Approval, Status};
use super::{Kind, NameRule, SchemaRef, StoredAs};

/// An entry of `group`, whose types stand in package `io.k8s.api.<package>.v1`.
fn v1(group: &'static str, package: &str, kind: &'static str, plural: &'static str) -> Kind {
    Kind::new(group, "v1", kind, plural, SchemaRef::Builtin(format!("io.k8s.api.{package}.v1.{kind}").into()))
}

/// The entries of the smaller groups.
pub(super) fn kinds() -> Vec<Kind> {
    let mut all = access();
    for more in [networking(), storage(), devices(), autoscaling(), extension()] {
        all.extend(more);
    }
    all.extend([
        v1("discovery.k8s.io", "discovery", "EndpointSlice", "endpointslices"),
        v1("coordination.k8s.io", "coordination", "Lease", "leases"),
        events(),
        v1("node.k8s.io", "node", "RuntimeClass", "runtimeclasses").cluster(),
        v1("policy", "policy", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).sub(&[Status]),
        v1("scheduling.k8s.io", "scheduling", "PriorityClass", "priorityclasses").cluster().short(&["pc"]),
        v1("certificates.k8s.io", "certificates", "CertificateSigningRequest", "certificatesigningrequests")
            .cluster()
            .short(&["csr"])
            .sub(&[Status, Approval])
            .select(&["spec.signerName"]),
    ]);
    all
}

/// Who may do what: RBAC and the reviews.
fn access() -> Vec<Kind> {
    let rbac = |kind, plural| v1("rbac.authorization.k8s.io", "rbac", kind, plural).named(NameRule::PathSegment);
    let authn = |kind, plural| v1("authentication.k8s.io", "authentication", kind, plural).cluster().review();
    let authz = |kind, plural| v1("authorization.k8s.io", "authorization", kind, plural).review();
    vec![
        rbac("Role", "roles"),
        rbac("RoleBinding", "rolebindings"),
        rbac("ClusterRole", "clusterroles").cluster(),
        rbac("ClusterRoleBinding", "clusterrolebindings").cluster(),
        authn("TokenReview", "tokenreviews"),
        authn("SelfSubjectReview", "selfsubjectreviews"),
        authz("SubjectAccessReview", "subjectaccessreviews").cluster(),
        authz("SelfSubjectAccessReview", "selfsubjectaccessreviews").cluster(),
        authz("SelfSubjectRulesReview", "selfsubjectrulesreviews").cluster(),
        authz("LocalSubjectAccessReview", "localsubjectaccessreviews"),
    ]
}

/// What leads traffic, and the addresses that it is given.
fn networking() -> Vec<Kind> {
    let net = |kind, plural| v1("networking.k8s.io", "networking", kind, plural);
    vec![
        net("NetworkPolicy", "networkpolicies").short(&["netpol"]),
        net("Ingress", "ingresses").short(&["ing"]).sub(&[Status]),
        net("IngressClass", "ingressclasses").cluster(),
        // The name is the address; IPv6 has colons.
        net("IPAddress", "ipaddresses").cluster().short(&["ip"]).named(NameRule::PathSegment),
        net("ServiceCIDR", "servicecidrs").cluster().sub(&[Status]),
    ]
}

/// Where volumes come from.
fn storage() -> Vec<Kind> {
    let storage = |kind, plural| v1("storage.k8s.io", "storage", kind, plural);
    vec![
        storage("StorageClass", "storageclasses").cluster().short(&["sc"]),
        storage("VolumeAttributesClass", "volumeattributesclasses").cluster().short(&["vac"]),
        storage("CSIDriver", "csidrivers").cluster(),
        storage("CSINode", "csinodes").cluster(),
        storage("CSIStorageCapacity", "csistoragecapacities"),
        storage("VolumeAttachment", "volumeattachments").cluster().sub(&[Status]),
    ]
}

/// Devices of nodes, and who uses them.
fn devices() -> Vec<Kind> {
    let resource = |kind, plural| v1("resource.k8s.io", "resource", kind, plural);
    vec![
        resource("DeviceClass", "deviceclasses").cluster(),
        resource("ResourceClaim", "resourceclaims").sub(&[Status]),
        resource("ResourceClaimTemplate", "resourceclaimtemplates"),
        resource("ResourceSlice", "resourceslices").cluster().select(&["spec.nodeName", "spec.driver"]),
    ]
}

/// Autoscalers: one object that two versions show. The newer one comes first, for it is the one that is stored.
fn autoscaling() -> Vec<Kind> {
    const KIND: &str = "HorizontalPodAutoscaler";
    const PLURAL: &str = "horizontalpodautoscalers";
    let autoscaler = |version: &'static str| {
        let schema = SchemaRef::Builtin(format!("io.k8s.api.autoscaling.{version}.{KIND}").into());
        Kind::new("autoscaling", version, KIND, PLURAL, schema).short(&["hpa"]).all().sub(&[Status])
    };
    let mut older = autoscaler("v1");
    older.stored_as =
        Some(StoredAs { group: "autoscaling".into(), version: "v2".into(), kind: KIND.into(), plural: PLURAL.into() });
    vec![autoscaler("v2"), older]
}

/// What changes the server itself: who is asked about requests, what else it serves, whose turn it is.
fn extension() -> Vec<Kind> {
    const EXTENSIONS: &str = "api-extensions";
    let admission = |kind, plural| {
        v1("admissionregistration.k8s.io", "admissionregistration", kind, plural).cluster().category(EXTENSIONS)
    };
    let flow = |kind, plural| v1("flowcontrol.apiserver.k8s.io", "flowcontrol", kind, plural).cluster().sub(&[Status]);
    let elsewhere = |group: &'static str, package: &str, kind: &'static str, plural: &'static str| {
        let schema = SchemaRef::Builtin(format!("io.k8s.{package}.v1.{kind}").into());
        Kind::new(group, "v1", kind, plural, schema).cluster().sub(&[Status]).category(EXTENSIONS)
    };
    vec![
        admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies").sub(&[Status]),
        admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
        admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        elsewhere(
            "apiextensions.k8s.io",
            "apiextensions-apiserver.pkg.apis.apiextensions",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
        .short(&["crd", "crds"]),
        elsewhere("apiregistration.k8s.io", "kube-aggregator.pkg.apis.apiregistration", "APIService", "apiservices")
            .named(NameRule::PathSegment),
        flow("FlowSchema", "flowschemas"),
        flow("PriorityLevelConfiguration", "prioritylevelconfigurations"),
    ]
}

/// Events of the newer group are the same objects as the core group's, with other field names.
fn events() -> Kind {
    let mut kind = v1("events.k8s.io", "events", "Event", "events").short(&["ev"]).select(&[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ]);
    kind.stored_as =
        Some(StoredAs { group: "".into(), version: "v1".into(), kind: "Event".into(), plural: "events".into() });
    kind
}
