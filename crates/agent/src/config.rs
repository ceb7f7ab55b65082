//! What the agent is told at start.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
};

use naru_client::Client;
use naru_runtime::{image::Images, pod::Runtime};
use tokio::sync::watch;

use crate::{Eviction, network::PodNetwork};

/// Everything the agent needs, parsed once by the program.
#[derive(Clone)]
pub struct Config {
    /// The node's name: the name of its Node object, and what `spec.nodeName` says of its pods.
    pub node_name: String,
    /// The node's addresses, the preferred one first, now and as they change.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
    /// Durable state: `agent/`, `volumes/` and `logs/` below it are the agent's.
    pub state_dir: PathBuf,
    /// State that is gone after a reboot.
    pub run_dir: PathBuf,
    /// The way to the API.
    pub client: Client,
    /// The images of this machine.
    pub images: Images,
    /// Pods and containers.
    pub runtime: Arc<dyn Runtime>,
    /// Links and addresses.
    pub network: Arc<dyn PodNetwork>,
    /// What pods resolve names with.
    pub dns: Dns,
    /// Labels of the Node object besides the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Most pods on this node.
    pub max_pods: u32,
    /// When pods are evicted because the node runs short of something.
    pub eviction: Eviction,
    /// The pod subnet of this node: it is told, and is `spec.podCIDR` of a Node that is not there yet.
    pub pod_cidr: Option<String>,
}

/// Name resolution inside pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The cluster's name server.
    pub server: IpAddr,
    /// The cluster's domain, without dots at its ends.
    pub domain: String,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns { server: IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)), domain: "cluster.local".to_owned() }
    }
}
