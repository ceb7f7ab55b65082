//! A service as a Deployment, DaemonSet or Job.

use naru_api::naru::names as n;
use serde_json::{Value, json};

use super::{Context, TranslateError, object_name, replicas, user_labels};
use crate::model::{Service, UpdateConfig};

impl Context<'_> {
    /// The workload of a service and of the services in its pods.
    pub(super) fn workload(&mut self, name: &str, service: &Service, guests: &[&str]) -> Result<Value, TranslateError> {
        let template = self.template(name, service, guests)?;
        let deploy = service.deploy.as_ref();
        let mut annotations = deploy.map(|d| user_labels(&d.labels)).unwrap_or_default();
        annotations.insert(n::TITLE.to_owned(), name.into());
        let selector = json!({"matchLabels": self.labels(Some(name))});
        let metadata = |annotations| {
            json!({
                "name": object_name(name),
                "namespace": self.namespace,
                "labels": self.labels(Some(name)),
                "annotations": annotations,
            })
        };
        let mode = deploy.and_then(|d| d.mode.as_deref()).unwrap_or("replicated");
        if mode == "replicated-job" {
            return Ok(job(metadata(annotations), template, service));
        }
        let update = deploy.and_then(|d| d.update_config.as_ref());
        if let Some(update) = update {
            annotations.insert(n::UPDATE.to_owned(), update_note(update).to_string().into());
        }
        if let Some(rollback) = deploy.and_then(|d| d.rollback_config.as_ref()) {
            annotations.insert(n::ROLLBACK.to_owned(), update_note(rollback).to_string().into());
        }
        let parallel = match update.and_then(|u| u.parallelism).unwrap_or(1) {
            0 => json!("100%"),
            some => json!(some),
        };
        if mode == "global" {
            let rolling = json!({"maxUnavailable": parallel, "maxSurge": 0});
            return Ok(json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": metadata(annotations),
                "spec": {
                    "selector": selector,
                    "template": template,
                    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                },
            }));
        }
        let rolling = match order(service) {
            Order::StartFirst => json!({"maxSurge": parallel, "maxUnavailable": 0}),
            Order::StopFirst => json!({"maxSurge": 0, "maxUnavailable": parallel}),
        };
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(annotations),
            "spec": {
                "replicas": replicas(service),
                "selector": selector,
                "template": template,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            },
        }))
    }
}

#[derive(Debug, PartialEq)]
enum Order {
    StartFirst,
    StopFirst,
}

/// The order of an update that says none: the new replica first, unless two at once could meet — on a volume that both
/// write, on a name or on a port of the machine.
fn order(service: &Service) -> Order {
    let update = service.deploy.as_ref().and_then(|d| d.update_config.as_ref());
    match update.and_then(|u| u.order.as_deref()) {
        Some("start-first") => Order::StartFirst,
        Some(_) => Order::StopFirst,
        None => {
            let writes = service.volumes.iter().any(|m| m.kind != "tmpfs" && m.read_only != Some(true));
            let host = service.network_mode.as_deref() == Some("host");
            let alone = writes || host || service.container_name.is_some() || !service.volumes_from.is_empty();
            if alone { Order::StopFirst } else { Order::StartFirst }
        }
    }
}

fn update_note(update: &UpdateConfig) -> Value {
    let millis = |span: Option<crate::units::Span>| span.map(|s| s.0.as_millis() as u64);
    let mut note = json!({
        "parallelism": update.parallelism.unwrap_or(1),
        "delay": millis(update.delay).unwrap_or(0),
        "monitor": millis(update.monitor).unwrap_or(5_000),
        "maxFailureRatio": update.max_failure_ratio.unwrap_or(0.0),
        "failureAction": update.failure_action.as_deref().unwrap_or("pause"),
    });
    if let Some(order) = &update.order {
        note["order"] = order.clone().into();
    }
    note
}

fn job(metadata: Value, mut template: Value, service: &Service) -> Value {
    let policy = service.deploy.as_ref().and_then(|d| d.restart_policy.as_ref());
    let again = policy.is_none_or(|p| p.condition.as_deref() != Some("none"));
    template["spec"]["restartPolicy"] = if again { "OnFailure" } else { "Never" }.into();
    // The job itself says how often; the node's own rule would say it twice.
    if let Some(notes) = template["metadata"]["annotations"].as_object_mut() {
        notes.remove(n::RESTART);
    }
    let count = replicas(service);
    let mut spec = json!({"completions": count, "parallelism": count, "template": template});
    if let Some(limit) = policy.and_then(|p| p.max_attempts) {
        spec["backoffLimit"] = limit.into();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
}
