//! The core group.

use super::Subresource::{
    Attach, Binding, EphemeralContainers, Eviction, Exec, Finalize, Log, PortForward, Proxy, Resize, Scale, Status,
    Token,
};
use super::{Kind, NameRule, SchemaRef};

fn v1(kind: &'static str, plural: &'static str) -> Kind {
    Kind::new("", "v1", kind, plural, SchemaRef::Builtin(format!("io.k8s.api.core.v1.{kind}").into()))
}

/// The entries of `v1`.
pub(super) fn kinds() -> Vec<Kind> {
    vec![
        v1("Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .sub(&[Status, Finalize])
            .named(NameRule::Label)
            .select(&["status.phase"]),
        v1("Pod", "pods")
            .short(&["po"])
            .all()
            .sub(&[Status, Binding, Eviction, Log, Exec, Attach, PortForward, Proxy, EphemeralContainers, Resize])
            .select(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ]),
        v1("Service", "services")
            .short(&["svc"])
            .all()
            .sub(&[Status, Proxy])
            .named(NameRule::ServiceLabel)
            .select(&["spec.clusterIP", "spec.type"]),
        v1("Endpoints", "endpoints").short(&["ep"]).singular("endpoints"),
        v1("ConfigMap", "configmaps").short(&["cm"]),
        v1("Secret", "secrets").select(&["type"]),
        v1("ServiceAccount", "serviceaccounts").short(&["sa"]).sub(&[Token]),
        v1("PersistentVolume", "persistentvolumes").cluster().short(&["pv"]).sub(&[Status]),
        v1("PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).sub(&[Status]),
        v1("Event", "events").short(&["ev"]).select(&[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]),
        v1("Node", "nodes").cluster().short(&["no"]).sub(&[Status, Proxy]).select(&["spec.unschedulable"]),
        v1("ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .all()
            .sub(&[Status, Scale])
            .select(&["status.replicas"]),
        v1("LimitRange", "limitranges").short(&["limits"]),
        v1("ResourceQuota", "resourcequotas").short(&["quota"]).sub(&[Status]),
        v1("PodTemplate", "podtemplates"),
        v1("Binding", "bindings").review(),
        v1("ComponentStatus", "componentstatuses").cluster().short(&["cs"]).observed(),
    ]
}
