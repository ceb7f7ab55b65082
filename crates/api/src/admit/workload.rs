//! Defaults of the group `apps`.

use serde_json::{Value, json};

use super::cluster;
use super::edit::{Object, child, each, make, set, text};
use super::pod;

fn spec(object: &mut Object, work: impl FnOnce(&mut Object)) {
    make(object, "spec", |spec| {
        work(spec);
        make(spec, "template", pod::template);
    });
}

/// A Deployment.
pub(super) fn deployment(object: &mut Object) {
    spec(object, |spec| {
        set(spec, "replicas", 1);
        set(spec, "revisionHistoryLimit", 10);
        set(spec, "progressDeadlineSeconds", 600);
        make(spec, "strategy", |strategy| {
            set(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate" {
                make(strategy, "rollingUpdate", |rolling| {
                    set(rolling, "maxUnavailable", "25%");
                    set(rolling, "maxSurge", "25%");
                });
            }
        });
    });
}

/// A ReplicaSet.
pub(super) fn replica_set(object: &mut Object) {
    spec(object, |spec| set(spec, "replicas", 1));
}

/// A ReplicationController: without a selector, it manages what its template describes.
pub(super) fn replication_controller(object: &mut Object) {
    make(object, "spec", |spec| {
        set(spec, "replicas", 1);
        child(spec, "template", pod::template);
        let labels = spec.get("template").and_then(|t| t.pointer("/metadata/labels")).cloned();
        let empty = spec.get("selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
        if let Some(labels) = labels.filter(|_| empty) {
            spec.insert("selector".to_owned(), labels);
        }
    });
}

/// A DaemonSet.
pub(super) fn daemon_set(object: &mut Object) {
    spec(object, |spec| {
        set(spec, "revisionHistoryLimit", 10);
        make(spec, "updateStrategy", |strategy| {
            set(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate" {
                make(strategy, "rollingUpdate", |rolling| {
                    set(rolling, "maxUnavailable", 1);
                    set(rolling, "maxSurge", 0);
                });
            }
        });
    });
}

/// A StatefulSet.
pub(super) fn stateful_set(object: &mut Object) {
    spec(object, |spec| {
        set(spec, "replicas", 1);
        set(spec, "revisionHistoryLimit", 10);
        set(spec, "podManagementPolicy", "OrderedReady");
        make(spec, "updateStrategy", |strategy| {
            set(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate" {
                make(strategy, "rollingUpdate", |rolling| set(rolling, "partition", 0));
            }
        });
        make(spec, "persistentVolumeClaimRetentionPolicy", |policy| {
            set(policy, "whenDeleted", "Retain");
            set(policy, "whenScaled", "Retain");
        });
        each(spec, "volumeClaimTemplates", |claim| {
            set(claim, "apiVersion", "v1");
            set(claim, "kind", "PersistentVolumeClaim");
            cluster::claim(claim);
            claim.insert("status".to_owned(), json!({"phase": "Pending"}));
        });
    });
}
