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
    all.extend([
        v1("discovery.k8s.io", "discovery", "EndpointSlice", "endpointslices"),
        v1("storage.k8s.io", "storage", "StorageClass", "storageclasses").cluster().short(&["sc"]),
        v1("coordination.k8s.io", "coordination", "Lease", "leases"),
        v1("networking.k8s.io", "networking", "NetworkPolicy", "networkpolicies").short(&["netpol"]),
        v1("networking.k8s.io", "networking", "Ingress", "ingresses").short(&["ing"]).sub(&[Status]),
        v1("networking.k8s.io", "networking", "IngressClass", "ingressclasses").cluster(),
        events(),
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
