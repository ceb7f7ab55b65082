//! Pods of services, wherever they run: what start gates look at.

use std::sync::Arc;

use naru_api::{
    View,
    k8s::{
        api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    },
    naru::names,
};
use naru_client::{Client, Informer, Resource};
use tokio::sync::mpsc;

use crate::{
    machine::{Gate, GateSpec, judge_gates, to_reach},
    pod::Judge,
};

const BY_SERVICE: &str = "service";

/// Slim views of all pods that belong to a service.
#[derive(Clone)]
pub(crate) struct Neighbours {
    pods: Informer<Pod>,
}

/// Starts following; the channel names namespaces in which something changed.
pub(crate) fn follow(client: &Client) -> (Neighbours, mpsc::UnboundedReceiver<Arc<str>>) {
    let builder = Informer::builder(Resource::of::<Pod>(), |json| Ok(slim(Pod::from_json(json)?)));
    let pods = builder
        .labels(names::SERVICE)
        .index(BY_SERVICE, |cached| {
            let service = cached.view.metadata.labels.as_ref().and_then(|labels| labels.get(names::SERVICE));
            service.map(|service| key(&cached.key.namespace, service).into()).into_iter().collect()
        })
        .start(client);
    let (changed, inbox) = mpsc::unbounded_channel();
    pods.listen(move |change| {
        let _ = changed.send(change.key().namespace.clone());
    });
    (Neighbours { pods }, inbox)
}

fn key(namespace: &str, service: &str) -> String {
    format!("{namespace}/{service}")
}

impl Neighbours {
    /// The judgement that workers ask for.
    pub fn judge(&self) -> Judge {
        let pods = self.pods.clone();
        Arc::new(move |namespace: &str, gates: &[GateSpec]| {
            let pods_of = |service: &str| {
                let found = pods.by_index(BY_SERVICE, &key(namespace, service));
                found.into_iter().map(|cached| cached.view.clone()).collect::<Vec<Arc<Pod>>>()
            };
            match judge_gates(gates, pods_of) {
                Gate::Open => (Gate::Open, to_reach(gates, pods_of)),
                shut => (shut, Vec::new()),
            }
        })
    }
}

/// Only what gates are judged by: a typed pod is several times as large.
fn slim(pod: Pod) -> Pod {
    let keep = |map: Option<std::collections::BTreeMap<String, String>>, names: &[&str]| {
        map.map(|map| map.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect())
    };
    let spec = pod.spec.unwrap_or_default();
    let names = spec.containers.into_iter().map(|container| Container { name: container.name, ..Container::default() });
    let status = pod.status.unwrap_or_default();
    let statuses = status.container_statuses.into_iter().flatten().map(|status| ContainerStatus {
        name: status.name,
        restart_count: status.restart_count,
        state: status.state,
        ..ContainerStatus::default()
    });
    let conditions = status
        .conditions
        .into_iter()
        .flatten()
        .filter(|condition| ["Ready", names::UNHEALTHY].contains(&&*condition.type_));
    Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name,
            namespace: pod.metadata.namespace,
            labels: keep(pod.metadata.labels, &[names::SERVICE]),
            annotations: keep(pod.metadata.annotations, &[names::RESTART, names::TEMPLATE]),
            deletion_timestamp: pod.metadata.deletion_timestamp,
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { containers: names.collect(), ..PodSpec::default() }),
        status: Some(PodStatus {
            phase: status.phase,
            pod_ip: status.pod_ip,
            conditions: Some(conditions.collect()),
            container_statuses: Some(statuses.collect()),
            ..PodStatus::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gates_are_judged_by_is_kept() {
        let pod = serde_json::json!({"metadata": {
            "labels": {"naru.io/service": "db", "other": "x"},
            "annotations": {"naru.io/restart": "no", "naru.io/template": "v1", "other": "x"},
        }});
        let kept = slim(serde_json::from_value(pod).unwrap()).metadata;
        assert_eq!(kept.labels.unwrap().into_keys().collect::<Vec<_>>(), ["naru.io/service"]);
        assert_eq!(kept.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["naru.io/restart", "naru.io/template"]);
    }
}
