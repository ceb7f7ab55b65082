//! Attaching pods: an address, a link, a resolver, and rules before the first process.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_api::k8s::api::core::v1::Pod;
use naru_api::view::View;
use naru_client::{BoxError, BoxFuture, BoxStream, Client};
use naru_network::model::NodeConfig;
use naru_network::peers::{Encryption, OverlayConfig, Wish, check_overlap, check_second_overlap};
use naru_network::translate::Viewpoint;
use naru_network::translate::facts::PodFacts;
use naru_network::{
    Applied, Applier, Helper, HelperConfig, HelperOptions, HostRecord, Ipam, IpamError, LinkConfig, Links,
    NetworkClaim, PodAddress, PodAttach, PodResolver, PodUid, has_ipv6, second_address,
};
use naru_runtime::pod::PodUid as RuntimeUid;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::config::{DataplaneConfig, DataplaneError};
use super::doors::Doors;
use super::feed::{Attached, Feed, Submission};
use super::followed::{Elsewhere, in_force};
use super::overlay::{Overlay, Ways};
use super::probe::{Encrypted, Prober};
use super::secret::{Own, Secret};
use super::sources::Sources;
use crate::network::{Attachment, NetworkError, PodNetwork};

/// How long a pod's start waits for its rules, unless they were refused. Longer, and a machine that cannot make them would
/// start nothing.
const RULES: Duration = Duration::from_secs(10);
/// How long a pod's start waits for its resolver.
const RESOLVER: Duration = Duration::from_secs(10);
/// How long the first rules after a start are waited for before pods may be made.
const FIRST: Duration = Duration::from_secs(2);
/// The reason of events about a pod that starts without a part of its network.
const NOT_READY: &str = "NetworkNotReady";

/// The node's network. Dropping it stops following; links, rules and names stay.
pub struct Dataplane {
    config: DataplaneConfig,
    ipam: Arc<Ipam>,
    links: Arc<Links>,
    helper: Arc<Helper>,
    attached: Arc<Attached>,
    sources: Arc<Sources>,
    elsewhere: Elsewhere,
    submitted: watch::Receiver<Submission>,
    applied: watch::Receiver<Applied>,
    ways: watch::Receiver<Ways>,
    silent: watch::Receiver<Vec<String>>,
    resolver_patience: Duration,
    tasks: Vec<JoinHandle<()>>,
    /// After the tasks: nobody else may begin before they have ended.
    _claim: NetworkClaim,
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Dataplane {
    /// Prepares the host and begins to follow. Rules of an earlier process stay in force until the API has been seen
    /// whole. Must be called within a tokio runtime. Refused while another server keeps this network namespace.
    pub fn start(client: &Client, config: DataplaneConfig) -> Result<Arc<Self>, DataplaneError> {
        Self::start_with(client, config, RESOLVER)
    }

    pub(super) fn start_with(
        client: &Client,
        mut config: DataplaneConfig,
        resolver_patience: Duration,
    ) -> Result<Arc<Self>, DataplaneError> {
        let claim = NetworkClaim::take(&config.state_dir)?;
        let dir = prepare(&mut config)?;
        let node = config.node.clone();
        let ipam = Arc::new(Ipam::open(&dir.join("addresses"), node.pod_subnet)?);
        let links = Arc::new(Links::open(link_config(&config))?);
        let helper = Arc::new(Helper::start(helper_config(&config, &dir)));
        let applier = Arc::new(Applier::start(node.clone()));
        let attached = Arc::new(Attached::default());
        attached.recall(&ipam.allocations(), &Links::list()?);
        let sources = Arc::new(Sources::start(client));
        let lost_sight = watch::Sender::default();
        let (submitted, submissions) = watch::channel(Submission::default());
        let feed = Feed {
            sources: sources.clone(),
            attached: attached.clone(),
            viewpoint: viewpoint(&config),
            applier: applier.clone(),
            helper: helper.clone(),
            submitted,
            absent: lost_sight.subscribe(),
        };
        let applied = applier.applied();
        let (told, ways) = watch::channel(Ways::default());
        let (doubt, silent) = watch::channel(Vec::new());
        let encrypted = Encrypted::default();
        let prober = Prober {
            node: config.node_name.clone(),
            gateway: node.gateway,
            known: sources.nodes.known(),
            ways: ways.clone(),
            encrypted: encrypted.clone(),
            sources: sources.clone(),
            heard_since: None,
            heard: config.heard.clone(),
            absent: lost_sight,
            silent: doubt,
        };
        let overlay = Overlay {
            nodes: sources.nodes.clone(),
            client: client.clone(),
            secret: Secret::open(&dir),
            own: Own { behind_nat: config.behind_nat, cluster: config.cluster },
            helper: helper.state(),
            encrypted,
            expected: Arc::default(),
            config: overlay_config(&config),
            dir: dir.clone(),
            applied: applied.clone(),
            ways: told,
        };
        let doors = Doors::of(&config, sources.nodes.known(), ways.clone());
        let tasks = vec![
            tokio::spawn(feed.run()),
            tokio::spawn(doors.keep_open()),
            tokio::spawn(sources.nodes.clone().follow()),
            tokio::spawn(overlay.run()),
            tokio::spawn(prober.run()),
        ];
        Ok(Arc::new(Self {
            config,
            ipam,
            links,
            helper,
            attached,
            sources,
            elsewhere: Elsewhere::new(client.clone()),
            submitted: submissions,
            applied,
            ways,
            silent,
            resolver_patience,
            tasks,
            _claim: claim,
        }))
    }

    /// Lets go of everything that belongs to no pod of `pods`: what a process that died left behind. Returns when the
    /// first rules have been asked for, with what was told of pods before any of them is made anew.
    pub async fn retain(&self, pods: &BTreeSet<String>) {
        let mut gone: BTreeSet<PodUid> = self.ipam.allocations().into_iter().map(|(_, pod)| pod).collect();
        if let Ok(Ok(links)) = tokio::task::spawn_blocking(Links::list).await {
            gone.extend(links.into_iter().filter_map(|link| link.pod));
        }
        gone.retain(|pod| !pods.contains(pod.as_str()));
        for pod in &gone {
            tracing::info!(%pod, "letting go of a pod that is gone");
            if let Err(error) = self.release(pod).await {
                tracing::warn!(%pod, error = %naru_network::chain(&*error), "cannot let go of it");
            }
        }
        let keep = pods.iter().map(|pod| PodUid::from(pod.as_str())).collect();
        if let Err(error) = self.helper.retain(keep).await {
            tracing::warn!(%error, "the helper may hold on to pods that are gone");
        }
        let _ = tokio::time::timeout(FIRST, self.submitted.clone().wait_for(|first| first.number > 0)).await;
    }

    /// What the kernel has, now and as it changes.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }

    /// The ways to other nodes, now and as they change.
    pub fn ways(&self) -> watch::Receiver<Ways> {
        self.ways.clone()
    }

    /// The largest packet of a new pod: one that reaches the pods of every node, once those are known.
    async fn packet_size(&self) -> Option<u32> {
        let mut ways = self.ways.clone();
        let looked = tokio::time::timeout(FIRST, ways.wait_for(|ways| ways.mtu.is_some())).await;
        looked.ok()?.ok()?.mtu
    }

    /// Returns when the kernel has every change of endpoints up to the API's `revision`.
    pub async fn settled(&self, revision: u64) {
        self.sources.endpoints_reached(revision).await;
        let mut submitted = self.submitted.clone();
        let Ok(number) = submitted.wait_for(|s| s.number > 0 && s.endpoints >= revision).await.map(|s| s.number) else {
            return;
        };
        let _ = self.applied.clone().wait_for(|applied| applied.revision >= number).await;
    }

    /// Returns when no service leads new connections to `address` any more.
    pub async fn withdrawn(&self, address: Ipv4Addr) {
        let addresses = self.addresses(address);
        let _ = self.applied.clone().wait_for(|applied| !leads_to(applied, &addresses)).await;
    }

    /// The pod's IPv6 address, where pods have such.
    fn second(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        self.config.node.six.map(|six| second_address(six.pod_subnet, address))
    }

    fn addresses(&self, address: Ipv4Addr) -> Vec<IpAddr> {
        std::iter::once(IpAddr::V4(address)).chain(self.second(address).map(IpAddr::V6)).collect()
    }

    /// Gives a pod its address and asks for its rules, which are made while its namespace and link are.
    fn announce(&self, uid: &PodUid, pod: &Pod) -> Result<Ipv4Addr, BoxError> {
        let address = self.address(uid, pod)?;
        let known =
            self.attached.pods.lock().get(uid).is_some_and(|(known, facts)| *known == address && facts.is_some());
        if !known {
            let mut facts = PodFacts::parse(&serde_json::to_vec(&pod.to_value())?)?;
            (facts.address, facts.address6) = (Some(address), self.second(address));
            facts.node.get_or_insert_with(|| self.config.node_name.clone());
            self.attached.pods.lock().insert(uid.clone(), (address, Some(Arc::new(facts))));
            self.attached.changed.notify_one();
        }
        Ok(address)
    }

    fn address(&self, uid: &PodUid, pod: &Pod) -> Result<Ipv4Addr, IpamError> {
        match fixed_address(pod).filter(|address| self.config.node.pod_subnet.contains(address)) {
            Some(address) => self.ipam.allocate_exact(uid, address).map(|()| address),
            None => self.ipam.allocate(uid),
        }
    }

    async fn connect(&self, attachment: Attachment) -> Result<Vec<IpAddr>, BoxError> {
        let Attachment { netns, pod, warn, .. } = attachment;
        let uid = PodUid::from(attachment.uid.to_string());
        let address = self.announce(&uid, &pod)?;
        let address_pair = PodAddress { v4: address, v6: self.second(address) };
        let attach =
            PodAttach { uid: uid.clone(), netns: netns.clone(), address: address_pair, mtu: self.packet_size().await };
        let links = self.links.clone();
        let mut linking = tokio::task::spawn_blocking(move || links.attach(&attach));
        let resolver = PodResolver { uid: uid.clone(), netns, inode: 0, address };
        let answering = self.helper.attach(resolver, self.resolver_patience);
        tokio::pin!(answering);
        // Both at once; but nobody waits for the resolver of a pod that has no link.
        let (linked, answers) = tokio::select! {
            linked = &mut linking => (linked??, answering.await),
            answers = &mut answering => (linking.await??, answers),
        };
        self.correct(&uid, linked.address);
        if let Err(error) = answers {
            // The cluster's own server answers all the same.
            let text = format!("127.0.0.11 does not answer in the pod yet: {}", naru_network::chain(&error));
            tracing::warn!(pod = %uid, "{text}");
            warn(NOT_READY, text);
        }
        let in_force = |applied: &Applied| {
            let mine = |pod: &naru_network::model::Pod| pod.uid == uid && pod.address == address;
            applied.desired.as_ref().is_some_and(|desired| desired.pods.iter().any(mine))
        };
        let mut applied = self.applied.clone();
        let decided = applied.wait_for(|applied| in_force(applied) || applied.refused.is_some());
        let _ = tokio::time::timeout(RULES, decided).await;
        let now = self.applied.borrow().clone();
        if !in_force(&now) {
            let why = now.refused.map(|error| format!(": {}", naru_network::chain(&*error))).unwrap_or_default();
            let text = format!("the pod starts before its rules are in force{why}");
            tracing::warn!(pod = %uid, "{text}");
            warn(NOT_READY, text);
        }
        let PodAddress { v4, v6 } = linked.address;
        Ok(std::iter::once(IpAddr::V4(v4)).chain(v6.map(IpAddr::V6)).collect())
    }

    /// Takes back the IPv6 address that was announced for a pod whose own parameters turn IPv6 off.
    fn correct(&self, uid: &PodUid, linked: PodAddress) {
        let mut pods = self.attached.pods.lock();
        let Some((_, Some(facts))) = pods.get_mut(uid).filter(|_| linked.v6.is_none()) else { return };
        if facts.address6.is_some() {
            *facts = Arc::new(PodFacts { address6: None, ..(**facts).clone() });
            self.attached.changed.notify_one();
        }
    }

    /// Marks a pod as leaving and waits until the kernel leads nothing new to it.
    async fn part(&self, pod: &PodUid) -> bool {
        let Some(address) = self.attached.pods.lock().get(pod).map(|(address, _)| *address) else { return false };
        let served = leads_to(&self.applied.borrow(), &self.addresses(address));
        if self.attached.leaving.lock().insert(pod.clone()) {
            self.attached.changed.notify_one();
        }
        self.withdrawn(address).await;
        served
    }

    async fn release(&self, pod: &PodUid) -> Result<(), BoxError> {
        self.attached.forget(pod);
        if let Err(error) = self.helper.detach(pod).await {
            tracing::warn!(%pod, %error, "the helper may hold on to the pod's namespace");
        }
        self.links.detach(pod);
        self.ipam.release(pod)?;
        Ok(())
    }
}

/// Whether a service leads new connections to one of these addresses; nobody knows before the first rules are made.
fn leads_to(applied: &Applied, addresses: &[IpAddr]) -> bool {
    applied.desired.as_ref().is_none_or(|desired| {
        desired.services.iter().any(|service| {
            let backends = service.ports.iter().flat_map(|port| &port.backends).map(|b| &b.endpoint);
            service.endpoints.iter().chain(backends).any(|endpoint| {
                addresses.contains(&endpoint.address) && endpoint.state == naru_network::model::EndpointState::Ready
            })
        })
    })
}

/// Whether services lead to every pod of a service that has a virtual address.
pub(super) fn all_reached(applied: &Applied, balanced: &BTreeSet<String>, pods: &[(String, IpAddr)]) -> bool {
    pods.iter().filter(|(service, _)| balanced.contains(service)).all(|(_, address)| leads_to(applied, &[*address]))
}

impl PodNetwork for Dataplane {
    fn expect(&self, uid: &RuntimeUid, pod: &Pod) {
        if let Err(error) = self.announce(&PodUid::from(uid.to_string()), pod) {
            // Attaching it will fail in the same way, and say so to the pod's user.
            tracing::debug!(pod = %uid, %error, "a pod's address and rules have to wait");
        }
    }

    fn followed<'a>(&'a self, uid: &'a RuntimeUid, until: Instant) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let address = self.attached.pods.lock().get(&PodUid::from(uid.to_string())).map(|(address, _)| *address);
            let Some(address) = address.filter(|_| self.sources.nodes.known().borrow().len() > 1) else { return };
            // Without the server nobody says so, and nobody hears it.
            let Ok(revision) = timeout_at(until, self.sources.unlisted(&self.addresses(address))).await else {
                return;
            };
            self.elsewhere.followed(revision, until).await;
        })
    }

    fn in_force(&self) -> Option<BoxStream<'static, u64>> {
        Some(in_force(self.submitted.clone(), self.applied.clone()))
    }

    fn withdraw<'a>(&'a self, uid: &'a RuntimeUid) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.part(&PodUid::from(uid.to_string())).await })
    }

    fn reach<'a>(&'a self, namespace: &'a str, pods: &'a [(String, IpAddr)]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let balanced = self.sources.balanced(namespace);
            let _ = self.applied.clone().wait_for(|applied| all_reached(applied, &balanced, pods)).await;
        })
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles = self.ways.borrow().problems.clone();
        troubles.extend(self.silent.borrow().iter().cloned());
        troubles
    }

    fn ways(&self) -> String {
        self.ways.borrow().summary()
    }

    fn rejoin(&self, uid: &RuntimeUid) {
        if self.attached.leaving.lock().remove(&PodUid::from(uid.to_string())) {
            self.attached.changed.notify_one();
        }
    }

    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Vec<IpAddr>, NetworkError>> {
        Box::pin(async move {
            let uid = attachment.uid.clone();
            self.connect(attachment).await.map_err(|source| NetworkError { uid, what: "attach", source })
        })
    }

    fn detach<'a>(&'a self, uid: &'a RuntimeUid) -> BoxFuture<'a, Result<(), NetworkError>> {
        Box::pin(async move {
            let pod = PodUid::from(uid.to_string());
            let error = |source| NetworkError { uid: uid.clone(), what: "detach", source };
            self.release(&pod).await.map_err(error)
        })
    }
}

/// The address a pod's networks ask for, when one does.
fn fixed_address(pod: &Pod) -> Option<Ipv4Addr> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let text = annotations.get(naru_api::naru::names::NETWORKS)?;
    let networks: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    networks.iter().find_map(|network| network["ip"].as_str()?.parse().ok())
}

/// Makes the folders, and looks whether the machine fits; gives the folder of the network.
fn prepare(config: &mut DataplaneConfig) -> Result<PathBuf, DataplaneError> {
    let dir = config.state_dir.join("network");
    for dir in [&dir, &config.run_dir] {
        let state = |source| DataplaneError::State { path: dir.clone(), source };
        fs::create_dir_all(dir).map_err(state)?;
    }
    fits(config, &dir)?;
    note_machine(config, &dir)?;
    Ok(dir)
}

fn link_config(config: &DataplaneConfig) -> LinkConfig {
    let NodeConfig { pod_subnet, service_cidr, dns, gateway, six, .. } = config.node;
    LinkConfig { pod_subnet, service_cidr, dns, gateway, six }
}

fn viewpoint(config: &DataplaneConfig) -> Viewpoint {
    let NodeConfig { pod_subnet, gateway, six, .. } = config.node;
    Viewpoint { node: config.node_name.clone(), pod_subnet, gateway, six, domain: config.domain.clone() }
}

/// Notes how the machine was, before anything is changed on it, and lets the rules know.
fn note_machine(config: &mut DataplaneConfig, dir: &Path) -> Result<(), DataplaneError> {
    let node = &mut config.node;
    if node.six.is_some() && !has_ipv6() {
        tracing::warn!("this machine has no IPv6 (module ipv6): its pods have IPv4 addresses alone");
        node.six = None;
    }
    let second = node.six.map(|six| six.pod_subnet);
    let record =
        HostRecord::open(dir, second).map_err(|source| DataplaneError::State { path: dir.to_owned(), source })?;
    node.guarded = record.guarded;
    node.guarded6 = record.six.map(|six| six.guarded).unwrap_or_default();
    Ok(())
}

/// A machine that becomes a node must not use the ranges of pods and services itself; one that is a node is told when it
/// begins to, and goes on.
fn fits(config: &DataplaneConfig, dir: &Path) -> Result<(), DataplaneError> {
    let second = || config.node.six.as_ref().map_or(Ok(()), check_second_overlap);
    match check_overlap(config.node.cluster_cidr, config.node.service_cidr).and_then(|()| second()) {
        Err(error) if HostRecord::exists(dir) => {
            tracing::warn!("{}", naru_network::chain(&error));
            Ok(())
        }
        checked => Ok(checked?),
    }
}

fn overlay_config(config: &DataplaneConfig) -> OverlayConfig {
    let node = &config.node;
    OverlayConfig {
        node: config.node_name.clone(),
        address: config.address,
        wish: Wish::Automatic,
        pod_subnet: node.pod_subnet,
        cluster_cidr: node.cluster_cidr,
        service_cidr: node.service_cidr,
        gateway: node.gateway,
        six: node.six,
        vni: node.tunnel.vni,
        port: node.tunnel.port,
        mtu: None,
        encryption: Encryption { helper: config.run_dir.join("helper.sock"), ..Encryption::default() },
    }
}

fn helper_config(config: &DataplaneConfig, dir: &Path) -> HelperConfig {
    let socket: PathBuf = config.run_dir.join("helper.sock");
    HelperConfig {
        program: config.helper.clone(),
        options: HelperOptions {
            socket,
            snapshot: dir.join("helper.json"),
            dns: SocketAddr::new(config.node.dns.into(), 53),
            resolv_conf: config.resolv_conf.clone(),
        },
        log: config.run_dir.join("helper.log"),
    }
}

#[cfg(test)]
mod tests {
    use naru_network::model::{Desired, Endpoint, EndpointState, Service};

    use super::*;

    #[test]
    fn a_service_is_reached_when_the_rules_in_force_lead_to_its_pods() {
        let address = Ipv4Addr::new(10, 42, 0, 7);
        let pods = [("db".to_owned(), IpAddr::V4(address))];
        let balanced = BTreeSet::from(["db".to_owned()]);
        let with = |endpoints| {
            let services = vec![Service { endpoints, ..Service::default() }];
            let desired = Desired { services, ..Desired::default() };
            Applied { desired: Some(Arc::new(desired)), ..Applied::default() }
        };
        let endpoint = |state| Endpoint { address: address.into(), local: true, state };
        assert!(!all_reached(&with(Vec::new()), &balanced, &pods));
        assert!(!all_reached(&with(vec![endpoint(EndpointState::Draining)]), &balanced, &pods));
        assert!(all_reached(&with(vec![endpoint(EndpointState::Ready)]), &balanced, &pods));
        assert!(all_reached(&with(Vec::new()), &BTreeSet::new(), &pods), "a headless service is in names alone");
    }
}
