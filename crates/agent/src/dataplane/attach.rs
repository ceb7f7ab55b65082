//! Attaching pods: an address, a link, a resolver, and rules before the first process.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naru_api::view::View;
use naru_client::{BoxError, BoxFuture, Client};
use naru_network::translate::Viewpoint;
use naru_network::translate::facts::PodFacts;
use naru_network::{
    Applied, Applier, Helper, HelperConfig, HelperOptions, HostRecord, Ipam, LinkConfig, Links, PodAddress, PodAttach,
    PodResolver, PodUid,
};
use naru_runtime::pod::PodUid as RuntimeUid;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::{DataplaneConfig, DataplaneError};
use super::feed::{Attached, Feed, Submission, keep_doors_open};
use super::sources::Sources;
use crate::network::{Attachment, NetworkError, PodNetwork};

/// How long a pod's start waits for its rules. Longer, and a machine whose rules are refused would start nothing.
const RULES: Duration = Duration::from_secs(2);

/// The node's network. Dropping it stops following; links, rules and names stay.
pub struct Dataplane {
    config: DataplaneConfig,
    ipam: Arc<Ipam>,
    links: Arc<Links>,
    helper: Arc<Helper>,
    attached: Arc<Attached>,
    sources: Arc<Sources>,
    submitted: watch::Receiver<Submission>,
    applied: watch::Receiver<Applied>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Dataplane {
    /// Prepares the host and begins to follow. Rules of an earlier process stay in force until the API has been seen
    /// whole. Must be called within a tokio runtime.
    pub fn start(client: &Client, mut config: DataplaneConfig) -> Result<Arc<Self>, DataplaneError> {
        let dir = config.state_dir.join("network");
        for dir in [&dir, &config.run_dir] {
            let state = |source| DataplaneError::State { path: dir.clone(), source };
            fs::create_dir_all(dir).map_err(state)?;
        }
        let record = HostRecord::open(&dir).map_err(|source| DataplaneError::State { path: dir.clone(), source })?;
        config.node.guarded = record.guarded;
        let node = config.node.clone();
        let ipam = Arc::new(Ipam::open(&dir.join("addresses"), node.pod_subnet)?);
        let links = Arc::new(Links::open(LinkConfig {
            pod_subnet: node.pod_subnet,
            service_cidr: node.service_cidr,
            dns: node.dns,
            gateway: node.gateway,
        })?);
        let helper = Arc::new(Helper::start(helper_config(&config, &dir)));
        let applier = Arc::new(Applier::start(node.clone()));
        let attached = Arc::new(Attached::default());
        attached.pods.lock().extend(ipam.allocations().into_iter().map(|(address, pod)| (pod, (address, None))));
        let sources = Arc::new(Sources::start(client));
        let (submitted, submissions) = watch::channel(Submission::default());
        let feed = Feed {
            sources: sources.clone(),
            attached: attached.clone(),
            viewpoint: Viewpoint {
                node: config.node_name.clone(),
                pod_subnet: node.pod_subnet,
                gateway: node.gateway,
                domain: config.domain.clone(),
            },
            applier: applier.clone(),
            helper: helper.clone(),
            submitted,
        };
        let tasks = vec![tokio::spawn(feed.run()), tokio::spawn(keep_doors_open())];
        let applied = applier.applied();
        Ok(Arc::new(Self { config, ipam, links, helper, attached, sources, submitted: submissions, applied, tasks }))
    }

    /// Lets go of everything that belongs to no pod of `pods`: what a process that died left behind.
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
    }

    /// What the kernel has, now and as it changes.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
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
        let _ = self.applied.clone().wait_for(|applied| !leads_to(applied, address)).await;
    }

    async fn connect(&self, attachment: Attachment) -> Result<Vec<IpAddr>, BoxError> {
        let uid = PodUid::from(attachment.uid.to_string());
        let mut facts = PodFacts::parse(&serde_json::to_vec(&attachment.pod.to_value())?)?;
        let wanted = fixed_address(&attachment);
        let address = match wanted.filter(|address| self.config.node.pod_subnet.contains(address)) {
            Some(address) => self.ipam.allocate_exact(&uid, address).map(|()| address),
            None => self.ipam.allocate(&uid),
        }?;
        facts.address = Some(address);
        facts.node.get_or_insert_with(|| self.config.node_name.clone());
        // The rules are made while the link is.
        self.attached.pods.lock().insert(uid.clone(), (address, Some(Arc::new(facts))));
        self.attached.changed.notify_one();
        let links = self.links.clone();
        let attach = PodAttach {
            uid: uid.clone(),
            netns: attachment.netns.clone(),
            address: PodAddress { v4: address, v6: None },
            mtu: None,
        };
        tokio::task::spawn_blocking(move || links.attach(&attach)).await??;
        let resolver = PodResolver { uid: uid.clone(), netns: attachment.netns, inode: 0, address };
        if let Err(error) = self.helper.attach(resolver).await {
            // The cluster's own server answers all the same.
            tracing::warn!(pod = %uid, error = %naru_network::chain(&error), "127.0.0.11 does not answer in the pod");
        }
        let in_force = |applied: &Applied| {
            applied
                .desired
                .as_ref()
                .is_some_and(|desired| desired.pods.iter().any(|pod| pod.uid == uid && pod.address == address))
        };
        let mut applied = self.applied.clone();
        if tokio::time::timeout(RULES, applied.wait_for(in_force)).await.is_err() {
            tracing::warn!(pod = %uid, "the pod starts before its rules are in force");
        }
        Ok(vec![IpAddr::V4(address)])
    }

    /// Marks a pod as leaving and waits until the kernel leads nothing new to it.
    async fn part(&self, pod: &PodUid) -> bool {
        let Some(address) = self.attached.pods.lock().get(pod).map(|(address, _)| *address) else { return false };
        let served = leads_to(&self.applied.borrow(), address);
        if self.attached.leaving.lock().insert(pod.clone()) {
            self.attached.changed.notify_one();
        }
        self.withdrawn(address).await;
        served
    }

    async fn release(&self, pod: &PodUid) -> Result<(), BoxError> {
        self.attached.pods.lock().remove(pod);
        self.attached.leaving.lock().remove(pod);
        self.attached.changed.notify_one();
        if let Err(error) = self.helper.detach(pod).await {
            tracing::warn!(%pod, %error, "the helper may hold on to the pod's namespace");
        }
        self.links.detach(pod);
        self.ipam.release(pod)?;
        Ok(())
    }
}

/// Whether a service leads new connections to an address; nobody knows before the first rules are made.
fn leads_to(applied: &Applied, address: Ipv4Addr) -> bool {
    applied.desired.as_ref().is_none_or(|desired| {
        desired.services.iter().any(|service| {
            let backends = service.ports.iter().flat_map(|port| &port.backends).map(|b| &b.endpoint);
            service.endpoints.iter().chain(backends).any(|endpoint| {
                endpoint.address == address && endpoint.state == naru_network::model::EndpointState::Ready
            })
        })
    })
}

impl PodNetwork for Dataplane {
    fn withdraw<'a>(&'a self, uid: &'a RuntimeUid) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.part(&PodUid::from(uid.to_string())).await })
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
fn fixed_address(attachment: &Attachment) -> Option<Ipv4Addr> {
    let annotations = attachment.pod.metadata.annotations.as_ref()?;
    let text = annotations.get(naru_api::naru::names::NETWORKS)?;
    let networks: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    networks.iter().find_map(|network| network["ip"].as_str()?.parse().ok())
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
