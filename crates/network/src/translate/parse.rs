//! Reading each kind's JSON into its facts. Unknown fields are skipped without being kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use naru_api::naru::names;
use naru_api::select::LabelSelector;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::PodUid;
use crate::dns::Membership;
use crate::model::Protocol;

use super::facts::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object<Spec, Status = Ignored> {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

impl<Spec: Default, Status: Default> Default for Object<Spec, Status> {
    fn default() -> Self {
        Self { metadata: Metadata::default(), spec: Spec::default(), status: Status::default() }
    }
}

#[derive(Deserialize, Default)]
struct Ignored {}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Metadata {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn json<T: DeserializeOwned + Default>(&self, annotation: &'static str) -> Result<T, FactsError> {
        let Some(text) = self.annotation(annotation) else { return Ok(T::default()) };
        serde_json::from_str(text).map_err(|source| FactsError::Annotation { object: self.path(), annotation, source })
    }

    fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn read<T: DeserializeOwned>(kind: &'static str, json: &[u8]) -> Result<T, FactsError> {
    serde_json::from_slice(json).map_err(|source| FactsError::Malformed { kind, source })
}

fn ipv4(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok()
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn protocol(text: &str) -> Option<Protocol> {
    Protocol::parse(text)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    host_network: bool,
    hostname: Option<String>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Container {
    ports: Vec<Port>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    protocol: String,
    container_port: u16,
    host_port: u16,
    #[serde(rename = "hostIP")]
    host_ip: String,
    port: u16,
    node_port: u16,
}

impl Port {
    fn host(&self) -> Option<HostPort> {
        (self.host_port != 0).then(|| HostPort { ip: self.host_ip.parse::<IpAddr>().ok(), port: self.host_port })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

impl PodStatus {
    fn addresses(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.pod_ip.as_str()).chain(self.pod_ips.iter().map(|ip| ip.ip.as_str()))
    }

    fn run(&self) -> u64 {
        let starts = self.container_statuses.iter().map(|c| format!("{} {}\n", c.container_id, c.restart_count));
        crate::hash::fnv64(starts.collect::<String>().as_bytes())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NetworkEntry {
    name: String,
    aliases: Option<Vec<String>>,
}

impl PodFacts {
    /// Reads a Pod.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let pod: Object<PodSpec, PodStatus> = read("Pod", json)?;
        let networks: Vec<NetworkEntry> = pod.metadata.json(names::NETWORKS)?;
        let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
        Ok(Self {
            uid: PodUid::from(pod.metadata.uid.as_str()),
            address: pod.status.addresses().find_map(ipv4),
            address6: pod.status.addresses().find_map(ipv6),
            node: pod.spec.node_name.filter(|node| !node.is_empty()),
            host_network: pod.spec.host_network,
            ready: pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True"),
            run: pod.status.run(),
            finished: matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"),
            hostname: pod.spec.hostname.filter(|name| !name.is_empty()),
            networks: networks
                .into_iter()
                .map(|entry| Membership { network: entry.name, aliases: entry.aliases.unwrap_or_default() })
                .collect(),
            ports: containers
                .flat_map(|container| &container.ports)
                .filter_map(|port| {
                    Some(ContainerPort {
                        name: port.name.clone(),
                        protocol: protocol(&port.protocol)?,
                        number: port.container_port,
                        host: port.host(),
                    })
                })
                .collect(),
            labels: pod.metadata.labels.unwrap_or_default(),
            namespace: pod.metadata.namespace,
            name: pod.metadata.name,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    r#type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    external_name: String,
    ports: Vec<Port>,
    session_affinity: String,
    internal_traffic_policy: String,
    external_traffic_policy: String,
    publish_not_ready_addresses: bool,
    load_balancer_source_ranges: Option<Vec<String>>,
}

impl ServiceFacts {
    /// Reads a Service.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let service: Object<ServiceSpec> = read("Service", json)?;
        let (meta, spec) = (service.metadata, service.spec);
        let external = spec.r#type == "ExternalName";
        let published: Vec<Port> = meta.json(names::PORTS)?;
        let mut addresses: Vec<IpAddr> = spec.cluster_ips.iter().filter_map(|ip| address(ip)).collect();
        if addresses.is_empty() {
            addresses.extend(address(&spec.cluster_ip));
        }
        let compose = meta.label(names::SERVICE).filter(|_| meta.label(names::PROJECT).is_some());
        Ok(Self {
            compose: compose.map(str::to_owned),
            addresses: if external { Vec::new() } else { addresses },
            external_ips: spec.external_ips.iter().filter_map(|ip| address(ip)).collect(),
            external_name: (external && !spec.external_name.is_empty()).then_some(spec.external_name),
            ports: spec
                .ports
                .iter()
                .filter_map(|port| {
                    Some(ServicePortFacts {
                        name: port.name.clone().unwrap_or_default(),
                        protocol: protocol(&port.protocol)?,
                        port: port.port,
                        node_port: (port.node_port != 0).then_some(port.node_port),
                    })
                })
                .collect(),
            load_balancer: spec.r#type == "LoadBalancer",
            source_ranges: spec.load_balancer_source_ranges.filter(|ranges| !ranges.is_empty()).map(|ranges| {
                ranges.iter().filter_map(|range| range.trim().parse::<ipnet::IpNet>().ok()).map(|r| r.trunc()).collect()
            }),
            all_ports: meta.annotation(names::ALL_PORTS) == Some("true"),
            published: published
                .iter()
                .filter_map(|port| Some((port.container_port, protocol(&port.protocol)?, port.host()?)))
                .collect(),
            affinity: spec.session_affinity == "ClientIP",
            internal_local: spec.internal_traffic_policy == "Local",
            external_local: spec.external_traffic_policy == "Local",
            publish_not_ready: spec.publish_not_ready_addresses,
            namespace: meta.namespace,
            name: meta.name,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Slice {
    metadata: Metadata,
    address_type: String,
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    hostname: Option<String>,
    node_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl SliceFacts {
    /// Reads an EndpointSlice; one of names has no endpoints here.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let slice: Slice = read("EndpointSlice", json)?;
        let here = matches!(slice.address_type.as_str(), "" | "IPv4" | "IPv6");
        let endpoints = slice.endpoints.filter(|_| here).unwrap_or_default();
        Ok(Self {
            service: slice.metadata.label(names::SLICE_SERVICE).unwrap_or_default().to_owned(),
            namespace: slice.metadata.namespace,
            ports: slice
                .ports
                .unwrap_or_default()
                .into_iter()
                .filter_map(|port| {
                    let protocol = protocol(&port.protocol)?;
                    Some(SlicePort { name: port.name.unwrap_or_default(), protocol, port: port.port })
                })
                .collect(),
            endpoints: endpoints
                .into_iter()
                .map(|endpoint| {
                    // Unset means ready, and serving means ready where it is unset.
                    let ready = endpoint.conditions.ready.unwrap_or(true);
                    EndpointFacts {
                        addresses: endpoint.addresses.iter().filter_map(|ip| address(ip)).collect(),
                        ready,
                        serving: endpoint.conditions.serving.unwrap_or(ready),
                        terminating: endpoint.conditions.terminating.unwrap_or(false),
                        hostname: endpoint.hostname.filter(|name| !name.is_empty()),
                        node: endpoint.node_name.filter(|node| !node.is_empty()),
                    }
                })
                .collect(),
        })
    }
}

impl NamespaceFacts {
    /// Reads a Namespace.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let namespace: Object<Ignored> = read("Namespace", json)?;
        let mut labels = namespace.metadata.labels.unwrap_or_default();
        labels.entry(names::NAMESPACE_NAME.to_owned()).or_insert_with(|| namespace.metadata.name.clone());
        Ok(Self { name: namespace.metadata.name, labels })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NetworkSpec {
    internal: bool,
}

impl NetworkFacts {
    /// Reads a Network.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let network: Object<NetworkSpec> = read("Network", json)?;
        Ok(Self { name: network.metadata.name, internal: network.spec.internal })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PolicySpec {
    pod_selector: Value,
    policy_types: Option<Vec<String>>,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rule {
    from: Option<Vec<Peer>>,
    to: Option<Vec<Peer>>,
    ports: Option<Vec<PolicyPort>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Peer {
    pod_selector: Option<Value>,
    namespace_selector: Option<Value>,
    ip_block: Option<IpBlock>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct IpBlock {
    cidr: String,
    except: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PolicyPort {
    protocol: String,
    port: Option<Value>,
    end_port: Option<u16>,
}

impl PolicyFacts {
    /// Reads a NetworkPolicy.
    pub fn parse(json: &[u8]) -> Result<Self, FactsError> {
        let policy: Object<PolicySpec> = read("NetworkPolicy", json)?;
        let (meta, spec) = (policy.metadata, policy.spec);
        let object = meta.path();
        let rules = |rules: Option<Vec<Rule>>| {
            rules.unwrap_or_default().into_iter().map(|rule| rule.facts(&object)).collect::<Result<Vec<_>, _>>()
        };
        // Without types, a policy is about ingress, and about egress when it has rules for it.
        let (ingress, egress) = match &spec.policy_types {
            Some(types) => (types.iter().any(|t| t == "Ingress"), types.iter().any(|t| t == "Egress")),
            None => (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())),
        };
        let pods = selector(&object, Some(spec.pod_selector))?;
        Ok(Self {
            pods,
            ingress: ingress.then(|| rules(spec.ingress)).transpose()?,
            egress: egress.then(|| rules(spec.egress)).transpose()?,
            namespace: meta.namespace,
            name: meta.name,
        })
    }
}

impl Rule {
    fn facts(self, object: &str) -> Result<RuleFacts, FactsError> {
        // An absent and an empty list of peers both mean everybody.
        let peers = self.from.or(self.to).filter(|peers| !peers.is_empty());
        let peers = peers.map(|peers| peers.into_iter().map(|peer| peer.facts(object)).collect()).transpose()?;
        let ports = self.ports.unwrap_or_default().into_iter().filter_map(PolicyPort::facts).collect();
        Ok(RuleFacts { peers, ports })
    }
}

impl Peer {
    fn facts(self, object: &str) -> Result<PeerFacts, FactsError> {
        if let Some(block) = self.ip_block {
            let Ok(cidr) = block.cidr.parse::<ipnet::IpNet>() else { return Ok(PeerFacts::Nobody) };
            let except = block.except.unwrap_or_default().iter().filter_map(|cidr| cidr.parse().ok()).collect();
            return Ok(PeerFacts::Block { cidr: cidr.trunc(), except });
        }
        Ok(PeerFacts::Pods {
            namespaces: self.namespace_selector.map(|value| selector(object, Some(value))).transpose()?,
            pods: selector(object, self.pod_selector)?,
        })
    }
}

impl PolicyPort {
    fn facts(self) -> Option<PortFacts> {
        let protocol = protocol(&self.protocol)?;
        match self.port {
            None | Some(Value::Null) => Some(PortFacts::All(protocol)),
            Some(Value::String(name)) => match name.parse::<u16>() {
                Ok(number) => Some(PortFacts::Range(protocol, number, self.end_port.unwrap_or(number))),
                Err(_) => Some(PortFacts::Named(protocol, name)),
            },
            Some(value) => {
                let number = value.as_u64().and_then(|number| u16::try_from(number).ok())?;
                Some(PortFacts::Range(protocol, number, self.end_port.unwrap_or(number)))
            }
        }
    }
}

/// A selector; absent and empty select everything.
fn selector(object: &str, value: Option<Value>) -> Result<LabelSelector, FactsError> {
    match value {
        None | Some(Value::Null) => Ok(LabelSelector::everything()),
        Some(value) => LabelSelector::from_object(&value)
            .map_err(|error| FactsError::Selector { object: object.to_owned(), reason: error.to_string() }),
    }
}
