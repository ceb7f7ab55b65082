//! Words about this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

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
    /// Address range of pods
    #[arg(long, default_value = "10.42.0.0/16")]
    pub pod_network: ipnet::Ipv4Net,
    /// Address range of services
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_network: ipnet::Ipv4Net,
    /// What is logged: error, warn, info, debug, trace, or a filter such as naru_agent=debug
    #[arg(long, env = "NARU_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
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
