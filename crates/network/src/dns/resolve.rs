//! From a name to what it stands for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Protocol;

use super::names::{Names, may_talk};
use super::zone::{PodNames, ServiceNames};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// These addresses, of either family; they may change within seconds when `volatile`.
    Addresses { addresses: Vec<IpAddr>, volatile: bool },
    /// These hosts and ports.
    Hosts(Vec<Host>),
    /// Another name, elsewhere.
    Alias(String),
    /// The name exists, with nothing of any type.
    Empty,
    /// Ours, and it does not exist.
    Nothing,
    /// Not ours.
    Foreign,
}

/// One answer to a question for hosts and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Its full name without the closing dot.
    pub name: String,
    pub port: u16,
    pub addresses: Vec<IpAddr>,
}

/// Names that lead to the node from inside a pod.
const NODE_NAMES: [&str; 4] =
    ["host.docker.internal", "gateway.docker.internal", "host.containers.internal", "host.naru.internal"];

/// What `labels` (lower case, most specific first) stand for when `asker` asks.
pub(super) fn resolve(names: &Names, asker: Option<&PodNames>, labels: &[&str]) -> Found {
    if labels.is_empty() {
        return Found::Foreign;
    }
    let whole = labels.join(".");
    if NODE_NAMES.contains(&whole.as_str()) {
        let zone = names.zone();
        let own = zone.host.map(IpAddr::V4).into_iter().chain(zone.host6.map(IpAddr::V6));
        let addresses: Vec<IpAddr> = own.collect();
        return if addresses.is_empty() { Found::Nothing } else { Found::Addresses { addresses, volatile: false } };
    }
    if whole == "localhost" || whole.ends_with(".localhost") {
        let six = names.zone().host6.map(|_| Ipv6Addr::LOCALHOST.into());
        let addresses = std::iter::once(Ipv4Addr::LOCALHOST.into()).chain(six).collect();
        return Found::Addresses { addresses, volatile: false };
    }
    if let Some(asker) = asker {
        let aliased = names.aliased(asker, &whole);
        if !aliased.is_empty() {
            return alias(names, asker, &aliased);
        }
    }
    let domain = names.domain();
    if domain.is_empty() {
        return Found::Foreign; // no names have come yet, so nothing can be denied
    }
    if labels.len() >= domain.len() && labels[labels.len() - domain.len()..] == *domain {
        return in_domain(names, asker, &labels[..labels.len() - domain.len()]);
    }
    if let Some((&"svc", rest)) = labels.split_last() {
        return in_services(names, asker, rest);
    }
    shortened(names, asker, labels)
}

/// `….cluster.local`
fn in_domain(names: &Names, asker: Option<&PodNames>, labels: &[&str]) -> Found {
    match labels.split_last() {
        None => Found::Empty,
        Some((&"svc", rest)) => in_services(names, asker, rest),
        Some((&"pod", [dashed, namespace])) => pod_by_address(names, namespace, dashed),
        Some(_) => Found::Nothing,
    }
}

/// `….svc`
fn in_services(names: &Names, asker: Option<&PodNames>, labels: &[&str]) -> Found {
    match labels {
        [] => Found::Empty,
        [namespace] if names.has_namespace(namespace) => Found::Empty,
        [rest @ .., namespace] => in_namespace(names, asker, rest, namespace),
    }
}

/// `web`, `tasks.web`, `web-0.web`, `_http._tcp.web` in a namespace that is known.
fn in_namespace(names: &Names, asker: Option<&PodNames>, labels: &[&str], namespace: &str) -> Found {
    let Some((service, below)) = labels.split_last() else { return Found::Nothing };
    let Some(service) = names.service(namespace, service).filter(|service| names.visible(asker, service)) else {
        return Found::Nothing;
    };
    match below {
        [] => whole_service(service),
        ["tasks"] => tasks(service),
        [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
            hosts(names, service, &port[1..], &protocol[1..])
        }
        [protocol] if protocol.starts_with('_') => Found::Empty,
        [hostname] => member(service, hostname),
        _ => Found::Nothing,
    }
}

/// A name without our domain: short for something of ours, or somebody else's.
fn shortened(names: &Names, asker: Option<&PodNames>, labels: &[&str]) -> Found {
    let here = asker.map(|asker| asker.namespace.as_str());
    // In the asker's own namespace: `web`, `tasks.web`, `web-0.web`, `_http._tcp.web`.
    if let Some(namespace) = here {
        let found = in_namespace(names, asker, labels, namespace);
        if found != Found::Nothing {
            return found;
        }
        if let ([name], Some(asker)) = (labels, asker)
            && let Some(pod) = names.pod_named(namespace, name)
            && may_talk(asker, pod)
            && pod.address.is_some()
        {
            return Found::Addresses { addresses: pod.addresses().collect(), volatile: true };
        }
        // It exists, but not for this asker: no upstream server is asked for it.
        if let [name] = labels
            && names.service(namespace, name).is_some()
        {
            return Found::Nothing;
        }
    }
    // In the namespace named last: `web.shop`, `tasks.web.shop`, …
    if let Some((namespace, rest)) = labels.split_last()
        && !rest.is_empty()
        && names.has_namespace(namespace)
    {
        let found = in_namespace(names, asker, rest, namespace);
        if found != Found::Nothing {
            return found;
        }
    }
    Found::Foreign
}

/// Several pods under one alias are their service when they all belong to one, and themselves otherwise.
fn alias(names: &Names, asker: &PodNames, pods: &[&PodNames]) -> Found {
    let first = pods[0];
    if let Some(service) = &first.service
        && pods.iter().all(|pod| pod.namespace == first.namespace && pod.service.as_ref() == Some(service))
        && let Some(service) = names.service(&first.namespace, service)
        && names.visible(Some(asker), service)
    {
        return whole_service(service);
    }
    let addresses: Vec<IpAddr> = pods.iter().flat_map(|pod| pod.addresses()).collect();
    if addresses.is_empty() { Found::Empty } else { Found::Addresses { addresses, volatile: true } }
}

fn whole_service(service: &ServiceNames) -> Found {
    if let Some(name) = &service.external_name {
        return Found::Alias(name.clone());
    }
    let members: Vec<IpAddr> = Names::published(service).map(|member| member.address).collect();
    let headless = service.addresses.is_empty();
    let addresses = match (headless, members.is_empty()) {
        (false, true) if service.compose && !service.members.is_empty() => return tasks(service),
        (false, _) => service.addresses.clone(),
        (true, true) if service.compose => return tasks(service),
        (true, _) => members,
    };
    // A headless service with nobody ready does not exist, as Kubernetes has it.
    if addresses.is_empty() { Found::Nothing } else { Found::Addresses { addresses, volatile: headless } }
}

/// Every member, ready or not; those that go away only when there are no others.
fn tasks(service: &ServiceNames) -> Found {
    let of = |terminating| {
        let members = service.members.iter().filter(move |member| member.terminating == terminating);
        members.map(|member| member.address).collect::<Vec<_>>()
    };
    let staying = of(false);
    let addresses = if staying.is_empty() { of(true) } else { staying };
    if addresses.is_empty() { Found::Empty } else { Found::Addresses { addresses, volatile: true } }
}

fn member(service: &ServiceNames, hostname: &str) -> Found {
    let addresses: Vec<IpAddr> = Names::published(service)
        .filter(|member| match &member.hostname {
            Some(name) => name.eq_ignore_ascii_case(hostname),
            None => member_label(None, member.address) == hostname,
        })
        .map(|member| member.address)
        .collect();
    if addresses.is_empty() { Found::Nothing } else { Found::Addresses { addresses, volatile: true } }
}

fn hosts(names: &Names, service: &ServiceNames, port: &str, protocol: &str) -> Found {
    let wanted = Protocol::parse(protocol).filter(|_| !protocol.is_empty());
    let Some(port) = service.ports.iter().find(|p| p.name == port && Some(p.protocol) == wanted) else {
        return Found::Nothing;
    };
    let base = full_name(names, service);
    if !service.addresses.is_empty() {
        return Found::Hosts(vec![Host { name: base, port: port.port, addresses: service.addresses.clone() }]);
    }
    let hosts: Vec<Host> = Names::published(service)
        .map(|member| Host {
            name: format!("{}.{base}", member_label(member.hostname.as_deref(), member.address)),
            port: port.port,
            addresses: vec![member.address],
        })
        .collect();
    if hosts.is_empty() { Found::Nothing } else { Found::Hosts(hosts) }
}

fn pod_by_address(names: &Names, namespace: &str, dashed: &str) -> Found {
    let four = || dashed.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    let six = || dashed.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let address = four().or_else(six);
    match address.filter(|address| names.pod_at(*address).is_some_and(|pod| pod.namespace == namespace)) {
        Some(address) => Found::Addresses { addresses: vec![address], volatile: true },
        None => Found::Nothing,
    }
}

/// The name that belongs to `address`, when it is one of ours.
pub(super) fn reverse(names: &Names, address: IpAddr) -> Option<String> {
    if let Some((service, hostname)) = names.reverse(address) {
        let base = full_name(names, service);
        return Some(match hostname {
            Some(hostname) => format!("{hostname}.{base}"),
            None if service.addresses.contains(&address) => base,
            None => format!("{}.{base}", member_label(None, address)),
        });
    }
    let pod = names.pod_at(address)?;
    Some(match (&pod.service, pod.names.first()) {
        // What other tools call a Compose container.
        (Some(_), Some(name)) => name.clone(),
        _ => format!("{}.{}.pod.{}", member_label(None, address), pod.namespace, names.zone().domain),
    })
}

/// A name below a service's or a namespace's: dashes stand for what separates an address's parts. One that begins or ends
/// with a separator gets a zero there, because no label begins or ends with a dash.
fn member_label(hostname: Option<&str>, address: IpAddr) -> String {
    let dashed = || {
        let mut text = address.to_string().replace(['.', ':'], "-");
        if text.starts_with('-') {
            text.insert(0, '0');
        }
        if text.ends_with('-') {
            text.push('0');
        }
        text
    };
    hostname.map_or_else(dashed, str::to_owned)
}

fn full_name(names: &Names, service: &ServiceNames) -> String {
    format!("{}.{}.svc.{}", service.name, service.namespace, names.zone().domain)
}
