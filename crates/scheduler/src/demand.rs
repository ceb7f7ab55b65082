//! What a pod asks for, read once.

use std::collections::BTreeMap;

use naru_api::k8s::api::core::v1::{
    NodeSelector, NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, Toleration, WeightedPodAffinityTerm,
};
use naru_api::naru::names;
use naru_api::select::{LabelSelector, LabelSelectorError};

use crate::resources::Resources;

/// A pod's demands.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The uid of its controller: its siblings spread by default.
    pub owner: Option<String>,
    /// What it sets aside.
    pub requests: Resources,
    /// Its priority.
    pub priority: i32,
    /// Whether it may push away pods of lower priority.
    pub preempts: bool,
    /// When it began to run, in seconds; later ones are pushed away first.
    pub started: i64,
    /// How many pods of its service a node takes at most.
    pub max_per_node: Option<usize>,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) required_nodes: Option<NodeSelector>,
    pub(crate) preferred_nodes: Vec<(i32, NodeSelectorTerm)>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) affinity: Vec<PodTerm>,
    pub(crate) anti_affinity: Vec<PodTerm>,
    pub(crate) preferred_pods: Vec<(i32, PodTerm)>,
    pub(crate) spreads: Vec<Spread>,
    /// Where its volumes can be: each list is one volume's terms, all volumes must agree.
    pub volumes: Vec<VolumeNodes>,
}

/// The nodes from which a volume can be reached.
#[derive(Debug, Clone)]
pub struct VolumeNodes {
    /// The volume, for the refusal's words.
    pub volume: String,
    /// Its node affinity.
    pub nodes: NodeSelector,
}

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub address: String,
    pub port: i32,
    pub protocol: String,
}

/// Pods near which, or far from which, a pod wants to be.
#[derive(Debug, Clone)]
pub(crate) struct PodTerm {
    pub selector: LabelSelector,
    /// Namespaces by name.
    pub namespaces: Vec<String>,
    /// Namespaces by their labels, besides those by name.
    pub namespace_selector: Option<LabelSelector>,
    pub topology: String,
}

/// One topology spread constraint.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    pub selector: LabelSelector,
    pub topology: String,
    pub max_skew: i64,
    pub min_domains: usize,
    pub hard: bool,
    /// Nodes that the pod's node affinity rules out make no domains; so unless the constraint says otherwise.
    pub honors_affinity: bool,
    /// Nodes with taints that the pod does not tolerate make no domains.
    pub honors_taints: bool,
}

/// A pod's object that cannot be read as a demand.
#[derive(Debug, thiserror::Error)]
#[error("{path}: not a label selector")]
pub struct DemandError {
    /// The field.
    path: &'static str,
    /// Why.
    #[source]
    source: LabelSelectorError,
}

impl Demand {
    /// Reads a pod. Where an affinity names no namespaces, the pod's own is meant.
    ///
    /// # Errors
    /// When a selector is malformed.
    pub fn of(pod: &Pod) -> Result<Self, DemandError> {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let affinity = spec.affinity.as_ref();
        let nodes = affinity.and_then(|a| a.node_affinity.as_ref());
        let near = affinity.and_then(|a| a.pod_affinity.as_ref());
        let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
        let hard = |terms: Option<&Vec<PodAffinityTerm>>, path| {
            terms.into_iter().flatten().map(|t| term(t, &namespace, &labels, path)).collect::<Result<Vec<_>, _>>()
        };
        let soft = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i32, path| {
            let read = |t: &WeightedPodAffinityTerm| {
                Ok((sign * t.weight, term(&t.pod_affinity_term, &namespace, &labels, path)?))
            };
            terms.into_iter().flatten().map(read).collect::<Result<Vec<_>, _>>()
        };
        let mut preferred_pods = soft(
            near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            1,
            "spec.affinity.podAffinity",
        )?;
        preferred_pods.extend(soft(
            far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
            "spec.affinity.podAntiAffinity",
        )?);
        Ok(Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            owner: pod
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone()),
            requests: Resources::of_pod(spec),
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            started: pod
                .status
                .as_ref()
                .and_then(|status| status.start_time.as_ref())
                .map_or(i64::MAX, |time| time.0.as_second()),
            max_per_node: pod
                .metadata
                .annotations
                .as_ref()
                .and_then(|notes| notes.get(names::MAX_PER_NODE)?.parse().ok())
                .filter(|most| *most > 0),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_nodes: nodes.and_then(|n| n.required_during_scheduling_ignored_during_execution.clone()),
            preferred_nodes: nodes
                .and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .map(|p| (p.weight, p.preference.clone()))
                .collect(),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            host_ports: host_ports(spec),
            affinity: hard(
                near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
                "spec.affinity.podAffinity",
            )?,
            anti_affinity: hard(
                far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
                "spec.affinity.podAntiAffinity",
            )?,
            preferred_pods,
            spreads: spreads(spec, &labels)?,
            volumes: Vec::new(),
            namespace,
            labels,
        })
    }
}

impl Demand {
    /// The Compose service it is a replica of.
    pub(crate) fn service(&self) -> Option<&String> {
        self.labels.get(names::SERVICE)
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let on_host = spec.host_network == Some(true);
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.or(on_host.then_some(port.container_port)).filter(|n| *n > 0)?;
            Some(HostPort {
                address: port.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default(),
                port: number,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            })
        })
        .collect()
}

fn term(
    term: &PodAffinityTerm,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    path: &'static str,
) -> Result<PodTerm, DemandError> {
    let mut wanted = term.label_selector.clone();
    for (keys, operator) in [(&term.match_label_keys, "In"), (&term.mismatch_label_keys, "NotIn")] {
        for key in keys.iter().flatten() {
            if let Some(value) = labels.get(key) {
                let selector = wanted.get_or_insert_with(Default::default);
                selector.match_expressions.get_or_insert_with(Vec::new).push(requirement(key, operator, value));
            }
        }
    }
    let selector = LabelSelector::from_typed(wanted.as_ref()).map_err(|source| DemandError { path, source })?;
    let mut namespaces = term.namespaces.clone().unwrap_or_default();
    let namespace_selector = match &term.namespace_selector {
        Some(wanted) => Some(LabelSelector::from_typed(Some(wanted)).map_err(|source| DemandError { path, source })?),
        None => None,
    };
    if namespaces.is_empty() && namespace_selector.is_none() {
        namespaces.push(namespace.to_owned());
    }
    Ok(PodTerm { selector, namespaces, namespace_selector, topology: term.topology_key.clone() })
}

fn requirement(
    key: &str,
    operator: &str,
    value: &str,
) -> naru_api::k8s::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement {
    naru_api::k8s::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(vec![value.to_owned()]),
    }
}

fn spreads(spec: &PodSpec, labels: &BTreeMap<String, String>) -> Result<Vec<Spread>, DemandError> {
    let read = |constraint: &naru_api::k8s::api::core::v1::TopologySpreadConstraint| {
        let mut wanted = constraint.label_selector.clone();
        for key in constraint.match_label_keys.iter().flatten() {
            if let Some(value) = labels.get(key) {
                let selector = wanted.get_or_insert_with(Default::default);
                selector.match_expressions.get_or_insert_with(Vec::new).push(requirement(key, "In", value));
            }
        }
        let path = "spec.topologySpreadConstraints";
        Ok(Spread {
            selector: LabelSelector::from_typed(wanted.as_ref()).map_err(|source| DemandError { path, source })?,
            topology: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: constraint.min_domains.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        })
    };
    spec.topology_spread_constraints.iter().flatten().map(read).collect()
}
