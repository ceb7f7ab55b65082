//! The groups `apps` and `batch`.

use super::Subresource::{Scale, Status};
use super::{Kind, SchemaRef};

fn apps(kind: &'static str, plural: &'static str) -> Kind {
    Kind::new("apps", "v1", kind, plural, SchemaRef::Builtin(format!("io.k8s.api.apps.v1.{kind}").into()))
}

fn batch(kind: &'static str, plural: &'static str) -> Kind {
    Kind::new("batch", "v1", kind, plural, SchemaRef::Builtin(format!("io.k8s.api.batch.v1.{kind}").into()))
}

/// The entries of `apps/v1` and `batch/v1`.
pub(super) fn kinds() -> Vec<Kind> {
    vec![
        apps("Deployment", "deployments").short(&["deploy"]).all().sub(&[Status, Scale]),
        apps("ReplicaSet", "replicasets").short(&["rs"]).all().sub(&[Status, Scale]).select(&["status.replicas"]),
        apps("DaemonSet", "daemonsets").short(&["ds"]).all().sub(&[Status]),
        apps("StatefulSet", "statefulsets").short(&["sts"]).all().sub(&[Status, Scale]),
        apps("ControllerRevision", "controllerrevisions"),
        batch("Job", "jobs").all().sub(&[Status]).select(&["status.successful"]),
        batch("CronJob", "cronjobs").short(&["cj"]).all().sub(&[Status]),
    ]
}
