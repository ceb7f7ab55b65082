//! The zone, indexed for answering. Built anew for every change: a thousand services take well under a millisecond.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::zone::{Member, PodNames, ServiceNames, Zone};

/// An indexed [`Zone`].
#[derive(Debug, Default)]
pub struct Names {
    zone: Zone,
    domain: Vec<String>,
    services: HashMap<String, HashMap<String, usize>>,
    pods: HashMap<IpAddr, usize>,
    /// Pods by namespace and own name.
    pod_names: HashMap<String, HashMap<String, usize>>,
    /// Pods by network and alias.
    aliases: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Services by virtual address, and by member with the member's name.
    reverse: HashMap<IpAddr, (usize, Option<String>)>,
}

impl Names {
    /// Indexes `zone`.
    pub fn new(zone: Zone) -> Self {
        let mut names =
            Self { domain: zone.domain.split('.').map(str::to_ascii_lowercase).collect(), ..Self::default() };
        for (index, service) in zone.services.iter().enumerate() {
            names.services.entry(service.namespace.clone()).or_default().insert(service.name.clone(), index);
            for address in &service.addresses {
                names.reverse.insert(*address, (index, None));
            }
            if service.addresses.is_empty() {
                for member in &service.members {
                    names.reverse.entry(member.address).or_insert_with(|| (index, member.hostname.clone()));
                }
            }
        }
        for (index, pod) in zone.pods.iter().enumerate() {
            for address in pod.addresses() {
                names.pods.insert(address, index);
            }
            let known = names.pod_names.entry(pod.namespace.clone()).or_default();
            for name in &pod.names {
                known.entry(name.to_ascii_lowercase()).or_insert(index);
            }
            for membership in &pod.networks {
                let aliases = names.aliases.entry(membership.network.clone()).or_default();
                for alias in &membership.aliases {
                    aliases.entry(alias.to_ascii_lowercase()).or_default().push(index);
                }
            }
        }
        names.zone = zone;
        names
    }

    /// The zone behind the index.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    pub(super) fn domain(&self) -> &[String] {
        &self.domain
    }

    pub(super) fn has_namespace(&self, namespace: &str) -> bool {
        self.services.contains_key(namespace)
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&ServiceNames> {
        let index = self.services.get(namespace)?.get(name)?;
        self.zone.services.get(*index)
    }

    pub(super) fn pod_at(&self, address: IpAddr) -> Option<&PodNames> {
        self.zone.pods.get(*self.pods.get(&address)?)
    }

    pub(super) fn pod_named(&self, namespace: &str, name: &str) -> Option<&PodNames> {
        self.zone.pods.get(*self.pod_names.get(namespace)?.get(name)?)
    }

    /// Who bears `alias` in one of the asker's networks.
    pub(super) fn aliased(&self, asker: &PodNames, alias: &str) -> Vec<&PodNames> {
        let found: BTreeSet<usize> = asker
            .networks
            .iter()
            .filter_map(|membership| self.aliases.get(&membership.network)?.get(alias))
            .flatten()
            .copied()
            .collect();
        found.into_iter().filter_map(|index| self.zone.pods.get(index)).collect()
    }

    /// The service that has `address`, and the member's name when it is a member's.
    pub(super) fn reverse(&self, address: IpAddr) -> Option<(&ServiceNames, Option<&str>)> {
        let (index, hostname) = self.reverse.get(&address)?;
        Some((self.zone.services.get(*index)?, hostname.as_deref()))
    }

    /// Whether `asker` could reach anybody of `service`: a name that leads nowhere does not exist for it. Who is no pod
    /// (the node itself, pods on the host's network) reaches everybody.
    pub(super) fn visible(&self, asker: Option<&PodNames>, service: &ServiceNames) -> bool {
        let Some(asker) = asker else { return true };
        let mut pods = service.members.iter().filter_map(|member| self.pod_at(member.address)).peekable();
        pods.peek().is_none() || pods.any(|pod| may_talk(asker, pod))
    }

    /// The members a headless service stands for.
    pub(super) fn published(service: &ServiceNames) -> impl Iterator<Item = &Member> {
        service.members.iter().filter(|member| service.publish_not_ready && !member.terminating || member.ready)
    }
}

/// Two pods may talk when they share a network, or when neither has any.
pub(super) fn may_talk(a: &PodNames, b: &PodNames) -> bool {
    if a.networks.is_empty() || b.networks.is_empty() {
        return a.networks.is_empty() && b.networks.is_empty();
    }
    a.networks.iter().any(|mine| b.networks.iter().any(|theirs| theirs.network == mine.network))
}
