//! What the data plane is told at start, and why it may not come up.

use std::path::PathBuf;

use naru_network::HelperProgram;
use naru_network::model::NodeConfig;

/// Everything the data plane needs, parsed once by the program.
#[derive(Debug, Clone)]
pub struct DataplaneConfig {
    /// The node's name.
    pub node_name: String,
    /// Durable state; `network/` below it is the data plane's.
    pub state_dir: PathBuf,
    /// State that is gone after a reboot.
    pub run_dir: PathBuf,
    /// Where other nodes reach this one, until its Node object says so.
    pub address: Option<std::net::Ipv4Addr>,
    /// Addresses of pods, services and the node. What to guard is found out by the data plane itself.
    pub node: NodeConfig,
    /// What holds for the network of all nodes, when this is a server: it tells the others.
    pub cluster: Option<naru_network::peers::ClusterNetwork>,
    /// Whether others cannot reach this node's address from outside of its network.
    pub behind_nat: bool,
    /// Whether a server hears this node, now and as it changes: always, on a server.
    pub heard: tokio::sync::watch::Receiver<bool>,
    /// The cluster's domain, without dots at its ends.
    pub domain: String,
    /// How the helper is started: this program with the argument `helper`.
    pub helper: HelperProgram,
    /// Whose name servers foreign names are asked from: the machine's `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// The data plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// Another server keeps this network namespace.
    #[error("this network namespace is not free")]
    Claim(#[from] naru_network::ClaimError),
    /// A folder or file of its state.
    #[error("cannot prepare the network's state in {path}")]
    State {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The table of addresses.
    #[error("cannot open the table of pod addresses")]
    Addresses(#[from] naru_network::IpamError),
    /// The ranges chosen are used on this machine already.
    #[error("the pod network does not fit this machine")]
    Overlap(#[from] naru_network::peers::OverlapError),
    /// The host's links.
    #[error("cannot prepare the host's network")]
    Links(#[from] naru_network::LinkError),
}
