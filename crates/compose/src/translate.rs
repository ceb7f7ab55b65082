//! A project to objects: namespace, networks, volumes, configs, secrets, and for each service a workload and a Service.
//!
//! Pure: the same project gives the same objects, so applying twice changes nothing. What Kubernetes has no word for
//! goes into annotations ([`naru_api::naru::names`]) that the node and the controllers honour. Refused: a side channel
//! beside the objects, which `kubectl` would not see.

mod contents;
mod extras;
mod names;
mod pod;
mod probes;
mod restarts;
mod service;
mod volumes;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

use naru_api::naru::names as n;
use serde_json::{Map, Value, json};

pub use contents::read_contents;
pub use names::{label_value, object_name};

use crate::error::Warning;
use crate::model::{Project, Service};

/// What a project becomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Translation {
    /// The namespace that holds everything that is not cluster-wide.
    pub namespace: String,
    /// The objects, in an order in which each finds what it refers to.
    pub objects: Vec<Value>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// Why a project cannot become objects.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("services.{service}: {problem}")]
pub struct TranslateError {
    /// The service.
    pub service: String,
    /// What does not fit, and what to do.
    pub problem: String,
}

/// Translates a project. The contents of its configs and secrets must have been read ([`read_contents`]).
///
/// # Errors
/// When services that share a pod contradict one another, or a value does not fit its object.
pub fn translate(project: &Project) -> Result<Translation, TranslateError> {
    let namespace = object_name(&project.name);
    let mut cx = Context { project, namespace: namespace.clone(), warnings: Vec::new(), hosts: BTreeMap::new() };
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {n::PROJECT: label_value(&project.name)}},
    })];
    objects.extend(cx.networks());
    objects.extend(cx.claims());
    objects.extend(cx.contents());
    let guests = cx.guests()?;
    cx.hosts = guests
        .iter()
        .flat_map(|(host, members)| members.iter().map(move |member| (member.clone(), host.clone())))
        .collect();
    let mut workloads: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, service) in &project.services {
        if guests.values().any(|members| members.contains(name)) {
            continue;
        }
        let members: Vec<&str> = guests.get(name).into_iter().flatten().map(String::as_str).collect();
        workloads.insert(name, cx.workload(name, service, &members)?);
    }
    cx.tie_restarts(&mut workloads);
    for (name, service) in &project.services {
        if let Some(workload) = workloads.remove(name.as_str()) {
            objects.extend(cx.anonymous_claims(name, service));
            objects.push(workload);
        }
    }
    for (name, service) in &project.services {
        let host = guests.iter().find(|(_, members)| members.contains(name)).map_or(name, |(host, _)| host);
        objects.extend(cx.service(name, service, host));
    }
    Ok(Translation { namespace, objects, warnings: cx.warnings })
}

struct Context<'a> {
    project: &'a Project,
    namespace: String,
    warnings: Vec<Warning>,
    /// Services that live in another's pod → that other one.
    hosts: BTreeMap<String, String>,
}

impl Context<'_> {
    /// The service in whose pods `name` runs.
    fn host<'n>(&'n self, name: &'n str) -> &'n str {
        self.hosts.get(name).map_or(name, String::as_str)
    }

    fn warn(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.warnings.push(Warning { at: None, key: key.into(), text: text.into() });
    }

    /// Labels of every object of the project.
    fn labels(&self, service: Option<&str>) -> Map<String, Value> {
        let mut labels = Map::new();
        labels.insert(n::PROJECT.to_owned(), label_value(&self.project.name).into());
        if let Some(service) = service {
            labels.insert(n::SERVICE.to_owned(), label_value(service).into());
        }
        labels
    }

    fn networks(&self) -> Vec<Value> {
        let own = self.project.networks.values().filter(|network| !network.external);
        own.map(|network| {
            let subnets: Vec<&str> = network
                .ipam
                .as_ref()
                .and_then(|ipam| ipam.get("config")?.as_array())
                .into_iter()
                .flatten()
                .filter_map(|config| config.get("subnet")?.as_str())
                .collect();
            let options: BTreeMap<&str, &str> = texts(&network.driver_opts).collect();
            let mut spec = json!({
                "title": network.name, "namespace": self.namespace, "internal": network.internal, "attachable": true,
            });
            if !subnets.is_empty() {
                spec["subnets"] = json!(subnets);
            }
            if !options.is_empty() {
                spec["options"] = json!(options);
            }
            json!({
                "apiVersion": "naru.io/v1",
                "kind": "Network",
                "metadata": {
                    "name": object_name(&network.name),
                    "labels": self.labels(None),
                    "annotations": user_labels(&network.labels),
                },
                "spec": spec,
            })
        })
        .collect()
    }

    /// Which services live in another's pod: host → guests. `network_mode`, `pid` and `ipc` of `service:x` all mean
    /// the same pod, since a pod is what shares namespaces.
    fn guests(&self) -> Result<BTreeMap<String, BTreeSet<String>>, TranslateError> {
        let mut guests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, service) in &self.project.services {
            let hosts: BTreeSet<&str> = shared_with(service).collect();
            let mut hosts = hosts.into_iter();
            let Some(host) = hosts.next() else { continue };
            let fault = |problem: String| TranslateError { service: name.clone(), problem };
            if let Some(second) = hosts.next() {
                return Err(fault(format!(
                    "shares namespaces with {host:?} and {second:?}: a pod can be shared with one"
                )));
            }
            let chained = self.project.services.get(host).is_some_and(|s| shared_with(s).next().is_some());
            if chained || host == name {
                return Err(fault(format!("shares the pod of {host:?}, which shares another's: name that one")));
            }
            guests.entry(host.to_owned()).or_default().insert(name.clone());
        }
        Ok(guests)
    }
}

fn shared_with(service: &Service) -> impl Iterator<Item = &str> {
    [&service.network_mode, &service.pid, &service.ipc]
        .into_iter()
        .filter_map(|mode| mode.as_deref()?.strip_prefix("service:"))
}

/// The pairs of a map whose values are set.
fn texts(map: &crate::model::Texts) -> impl Iterator<Item = (&str, &str)> {
    map.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)))
}

/// Compose labels are free text, labels of objects are not: they go into annotations.
fn user_labels(labels: &crate::model::Texts) -> Map<String, Value> {
    labels
        .iter()
        .filter(|(key, _)| names::is_annotation_key(key))
        .map(|(key, value)| (key.clone(), value.clone().unwrap_or_default().into()))
        .collect()
}

/// Replicas that are wanted.
fn replicas(service: &Service) -> i64 {
    service.scale.or(service.deploy.as_ref().and_then(|d| d.replicas)).unwrap_or(1).max(0)
}

#[cfg(test)]
mod tests;
