//! This machine's part of the pod network, as the roles of one process need it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use naru_agent::{Attachment, Config, Dns, NetworkError, PodNetwork};
use naru_api::naru::names as n;
use naru_client::{BoxError, BoxFuture, Client};
use naru_network::model::NodeConfig;
use naru_network::{
    Helper, HelperConfig, HelperOptions, HelperProgram, HostLinks, Ipam, LinkConfig, Links, PodAddress, PodAttach,
    PodResolver,
};
use naru_runtime::image::Images;
use naru_runtime::pod::{Pods, PodsConfig, SupervisorCommand};

use crate::cli::{Place, ServerOptions};

/// Pods that a node takes: kubelet's default.
const MAX_PODS: u32 = 110;

/// Links, addresses, rules and the helper of this machine.
pub(crate) struct Machine {
    pub node: NodeConfig,
    pub helper: Arc<Helper>,
    links: Arc<Links>,
    ipam: Arc<Ipam>,
}

/// The plan of addresses that the options ask for.
pub(crate) fn plan(options: &ServerOptions) -> anyhow::Result<NodeConfig> {
    let pod_subnet = options
        .pod_network
        .subnets(24)
        .ok()
        .and_then(|mut subnets| subnets.next())
        .with_context(|| format!("--pod-network {}: expected a range of at least 256 addresses", options.pod_network))?;
    let service = options.service_network;
    let dns = service
        .hosts()
        .nth(9)
        .with_context(|| format!("--service-network {service}: expected a range of at least 16 addresses"))?;
    let gateway = pod_subnet.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ok(NodeConfig {
        pod_subnet,
        cluster_cidr: options.pod_network,
        service_cidr: service,
        dns,
        gateway,
        guarded: guarded(),
        ..NodeConfig::default()
    })
}

/// Interfaces between which nothing was forwarded before this node began: it must not begin by turning the machine
/// into a router. Remembered for the life of the machine, since forwarding is on from the first start.
fn guarded() -> Vec<String> {
    let note = Path::new("/run/naru.forwarding-was-off");
    if HostLinks::forwarding() && !note.exists() {
        return Vec::new();
    }
    let _ = std::fs::write(note, "");
    let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = links.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != "lo" && !name.starts_with("naru")).collect()
}

impl Machine {
    /// Makes the machine ready for pods.
    pub fn open(place: &Place, options: &ServerOptions) -> anyhow::Result<Self> {
        let node = plan(options)?;
        let links = Links::open(LinkConfig {
            pod_subnet: node.pod_subnet,
            service_cidr: node.service_cidr,
            dns: node.dns,
            gateway: node.gateway,
        })?;
        let ipam = Ipam::open(&place.state_dir.join("network"), node.pod_subnet)?;
        let helper = Helper::start(helper_config(place, node.dns)?);
        Ok(Self { node, helper: Arc::new(helper), links: Arc::new(links), ipam: Arc::new(ipam) })
    }

    /// What the node's agent is made of.
    pub async fn agent_config(&self, place: &Place, node_name: &str, client: Client, images: Images) -> anyhow::Result<Config> {
        let runtime = Pods::open(pods_config(place)?).context("the container runtime cannot start")?;
        Ok(Config {
            node_name: node_name.to_owned(),
            addresses: addresses(),
            state_dir: place.state_dir.clone(),
            run_dir: place.run_dir.clone(),
            client,
            images,
            runtime: Arc::new(runtime),
            network: Arc::new(NodeNetwork {
                links: self.links.clone(),
                ipam: self.ipam.clone(),
                helper: self.helper.clone(),
            }),
            dns: Dns { server: IpAddr::V4(self.node.dns), ..Dns::default() },
            labels: [("naru.io/role".to_owned(), "manager".to_owned())].into(),
            max_pods: MAX_PODS,
            pod_cidr: Some(self.node.pod_subnet.to_string()),
        })
    }
}

/// How the helper is found or started.
pub(crate) fn helper_config(place: &Place, dns: Ipv4Addr) -> anyhow::Result<HelperConfig> {
    Ok(HelperConfig {
        program: HelperProgram { path: own_program()?, args: vec!["helper".to_owned()] },
        options: HelperOptions {
            socket: place.run_dir.join("helper.sock"),
            snapshot: place.state_dir.join("network").join("helper.json"),
            dns: (dns, 53).into(),
            resolv_conf: "/etc/resolv.conf".into(),
        },
        log: place.state_dir.join("helper.log"),
    })
}

/// How pods are found and supervised.
pub(crate) fn pods_config(place: &Place) -> anyhow::Result<PodsConfig> {
    Ok(PodsConfig {
        state_dir: place.state_dir.clone(),
        run_dir: place.run_dir.clone(),
        supervisor: SupervisorCommand { program: own_program()?, args: vec!["supervisor".to_owned()] },
        cgroup: cgroup(place),
    })
}

/// `naru`; another state folder has control groups of its own, so that two of them never meet.
pub(crate) fn cgroup(place: &Place) -> String {
    match place.state_dir == Path::new("/var/lib/naru") {
        true => "naru".to_owned(),
        false => {
            let digest = fnv(place.state_dir.to_string_lossy().as_bytes());
            format!("naru-{digest:08x}")
        }
    }
}

/// FNV-1a: names need no cryptography.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn own_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the program's own file")
}

/// Links and addresses for the agent.
struct NodeNetwork {
    links: Arc<Links>,
    ipam: Arc<Ipam>,
    helper: Arc<Helper>,
}

impl PodNetwork for NodeNetwork {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Vec<IpAddr>, NetworkError>> {
        let (links, ipam, helper) = (self.links.clone(), self.ipam.clone(), self.helper.clone());
        Box::pin(async move {
            let uid = attachment.uid.clone();
            let failed = |source: BoxError| NetworkError { uid: uid.clone(), what: "attach", source };
            let notes = attachment.pod.metadata.annotations.as_ref();
            if notes.and_then(|notes| notes.get(n::NETWORK_MODE)).is_some_and(|mode| mode == "none") {
                return Ok(Vec::new());
            }
            let pod = naru_network::PodUid::from(attachment.uid.to_string());
            let netns = attachment.netns.clone();
            let attached = tokio::task::spawn_blocking({
                let (pod, netns) = (pod.clone(), netns.clone());
                move || -> Result<Ipv4Addr, BoxError> {
                    let v4 = ipam.allocate(&pod)?;
                    links.attach(&PodAttach { uid: pod, netns, address: PodAddress { v4, v6: None }, mtu: None })?;
                    Ok(v4)
                }
            });
            let address = attached.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
            // Names are answered at the service address in any case: a helper that is just being replaced must not
            // hold up the pod.
            let resolver = PodResolver { uid: pod, netns, inode: 0, address };
            tokio::spawn(async move {
                if let Err(error) = helper.attach(resolver).await {
                    tracing::warn!(error = %naru_network::chain(&error), "127.0.0.11 does not answer in a pod");
                }
            });
            Ok(vec![IpAddr::V4(address)])
        })
    }

    fn detach<'a>(&'a self, uid: &'a naru_runtime::pod::PodUid) -> BoxFuture<'a, Result<(), NetworkError>> {
        let (links, ipam, helper) = (self.links.clone(), self.ipam.clone(), self.helper.clone());
        let pod = naru_network::PodUid::from(uid.to_string());
        Box::pin(async move {
            links.detach(&pod);
            let own = pod.clone();
            tokio::spawn(async move { helper.detach(&own).await });
            let released = tokio::task::spawn_blocking(move || ipam.release(&pod)).await;
            let failed = |source: BoxError| NetworkError { uid: uid.clone(), what: "detach", source };
            released.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))?;
            Ok(())
        })
    }
}

/// The addresses of this machine that others may reach it by, the one of the default route first.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = node_address().into_iter().collect();
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        // A local address is the line before `/32 host LOCAL`.
        if pair[1].contains("/32 host LOCAL")
            && let Some(address) = pair[0].trim().strip_prefix("|-- ").and_then(|a| a.parse::<Ipv4Addr>().ok())
            && !address.is_loopback()
            && !address.is_link_local()
            && !found.contains(&IpAddr::V4(address))
        {
            found.push(IpAddr::V4(address));
        }
    }
    found
}

/// The address from which this machine reaches the world; asked of the routing table, nothing is sent.
pub(crate) fn node_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // 192.0.2.0/24 is documentation's own (RFC 5737): only the default route leads there.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}
