//! Words about this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::ScheduleOptions;

/// The range of pods' addresses, unless another is given.
pub(crate) const POD_NETWORK: &str = "10.42.0.0/16";
/// The range of services' addresses, unless another is given.
pub(crate) const SERVICE_NETWORK: &str = "10.43.0.0/16";

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOptions {
    /// Address and port of the API for kubectl and other machines
    #[arg(long, default_value = "0.0.0.0:6443")]
    pub listen: SocketAddr,
    /// The node's name; the host's name unless given
    #[arg(long)]
    pub node_name: Option<String>,
    /// More names and addresses that the server's certificate is for
    #[arg(long = "tls-san", value_name = "NAME")]
    pub names: Vec<String>,
    /// Address range of pods; with one of IPv6 after a comma, pods have addresses of both families
    #[arg(long, default_value = POD_NETWORK, value_name = "RANGE[,RANGE]")]
    pub pod_network: naru_api::Ranges,
    /// Address range of services; with one of IPv6 after a comma, services may have both
    #[arg(long, default_value = SERVICE_NETWORK, value_name = "RANGE[,RANGE]")]
    pub service_network: naru_api::Ranges,
    #[command(flatten)]
    pub between: NodeNetworkOptions,
    /// How long a node may be disconnected before it counts as lost
    #[arg(long, default_value = "1s", value_parser = crate::cluster::duration)]
    pub node_grace: std::time::Duration,
    /// How long pods stay bound to a lost node before they are replaced, where they do not say otherwise
    #[arg(long, default_value = "5s", value_parser = crate::cluster::duration)]
    pub pod_eviction: std::time::Duration,
    /// How long nodes' certificates are valid; nodes renew theirs after two thirds of it
    #[arg(long, default_value = "30d", value_parser = crate::cluster::duration)]
    pub node_certificate: std::time::Duration,
    /// Move running pods to nodes that came later or came back, so many at once; 0: only when `naru node rebalance` asks
    #[arg(long, default_value = "0", value_name = "NUMBER")]
    pub rebalance: usize,
    #[command(flatten)]
    pub etcd: super::EtcdOptions,
    #[command(flatten)]
    pub oidc: super::OidcOptions,
    #[command(flatten)]
    pub audit: super::AuditOptions,
    #[command(flatten)]
    pub eviction: super::eviction::EvictionOptions,
    #[command(flatten)]
    pub backup: ScheduleOptions,
    /// What is logged: error, warn, info, debug, trace, or a filter such as naru_agent=debug
    #[arg(long, env = "NARU_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
}

// The network between nodes; what is not said stays what it was at the last start. (No doc comment: it would become the
// text of the whole command.)
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NodeNetworkOptions {
    /// Encrypt everything between nodes (WireGuard)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub encrypt_nodes: Option<bool>,
    /// UDP port of encrypted packets between nodes [default: 51820]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub wireguard_port: Option<u16>,
    /// UDP port of the VXLAN tunnel between nodes [default: 8472]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub vxlan_port: Option<u16>,
    /// Number of the VXLAN tunnel between nodes [default: 4242]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..1 << 24))]
    pub vxlan_id: Option<u32>,
    /// Largest packet of pods, in bytes; what passes between all nodes unless given
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(576..=65535))]
    pub pod_mtu: Option<u32>,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  naru kubeconfig > ~/.kube/config\n  KUBECONFIG=$(naru kubeconfig --file) kubectl get pods -A"
)]
pub(crate) struct KubeconfigOptions {
    /// Write to the file naru.kubeconfig in the state folder and print its path
    #[arg(long)]
    pub file: bool,
    /// The server's address in the file
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorOptions {
    /// Output format
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InstallOptions {
    /// Where the program is copied to
    #[arg(long, default_value = "/usr/local/bin/naru")]
    pub to: PathBuf,
    #[command(flatten)]
    pub backup: ScheduleOptions,
    /// More options of `naru server`, after `--`; those of the last time stay unless some are given
    #[arg(last = true, value_name = "SERVER OPTION")]
    pub server: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UninstallOptions {
    /// Also delete images, volumes and the cluster's state
    #[arg(long)]
    pub volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}
