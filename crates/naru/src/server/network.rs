//! This machine's part of the pod network, as the roles of one process need it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, bail};
use ipnet::Ipv4Net;
use naru_agent::dataplane::DataplaneConfig;
use naru_api::Ranges;
use naru_network::model::{Ipv6Config, NodeConfig};
use naru_network::{HelperConfig, HelperOptions, HelperProgram};
use naru_runtime::pod::{PodsConfig, SupervisorCommand};
use tokio::sync::watch;

use crate::cli::{Place, ServerOptions};

/// The plan of addresses that the options ask for.
pub(crate) fn plan(options: &ServerOptions) -> anyhow::Result<NodeConfig> {
    let (pods, services) = (options.pod_network.v4, options.service_network.v4);
    // A node takes 256 addresses of the range, or all of a smaller one.
    let pod_subnet = pods
        .subnets(pods.prefix_len().max(24))
        .ok()
        .and_then(|mut subnets| subnets.next())
        .filter(|_| pods.prefix_len() <= 29)
        .with_context(|| format!("--pod-network {pods}: expected a range of at least 8 addresses"))?;
    let dns = dns_of(services)?;
    let six = second_family(&options.pod_network, &options.service_network, pod_subnet)?;
    let gateway = pod_subnet.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let (cluster_cidr, service_cidr) = (pods, services);
    Ok(NodeConfig { pod_subnet, cluster_cidr, service_cidr, dns, gateway, six, ..NodeConfig::default() })
}

/// The IPv6 addresses of a node whose pods have `pod_subnet`, where the cluster has both families.
///
/// # Errors
/// When the ranges do not go together.
pub(crate) fn second_family(
    pods: &Ranges,
    services: &Ranges,
    pod_subnet: Ipv4Net,
) -> anyhow::Result<Option<Ipv6Config>> {
    let (cluster_cidr, service_cidr) = match (pods.v6, services.v6) {
        (None, None) => return Ok(None),
        (Some(pods), Some(services)) => (pods, services),
        (Some(_), None) => bail!(
            "--pod-network {pods} has an IPv6 range, so --service-network needs one too, such as {},fd00:43::/112",
            services.v4
        ),
        (None, Some(_)) => bail!(
            "--service-network {services} has an IPv6 range, so --pod-network needs one too, such as {},fd00:42::/48",
            pods.v4
        ),
    };
    if let Err(prefix) = pods.fits_nodes() {
        bail!("--pod-network {pods}: every node takes a /64 of the IPv6 range; expected one of at least /{prefix}");
    }
    if service_cidr.prefix_len() > 120 {
        bail!("--service-network {services}: expected an IPv6 range of at least 256 addresses (/120)");
    }
    if cluster_cidr.contains(&service_cidr) || service_cidr.contains(&cluster_cidr) {
        bail!("--pod-network {cluster_cidr} and --service-network {service_cidr} have addresses in common");
    }
    for range in [cluster_cidr, service_cidr] {
        let first = range.network();
        if first.is_multicast() || first.is_unicast_link_local() || first.is_loopback() || range.prefix_len() == 0 {
            bail!("{range} is no range of addresses that machines can have; expected such as fd00:42::/48");
        }
    }
    let block = pods.second_block(pod_subnet);
    let block = block.with_context(|| format!("the pod subnet {pod_subnet} is no part of --pod-network {pods}"))?;
    let gateway = pod_subnet.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let gateway = naru_network::second_address(block, gateway);
    Ok(Some(Ipv6Config { pod_subnet: block, cluster_cidr, service_cidr, gateway }))
}

/// The address of the cluster's name server: the tenth of the services'.
///
/// # Errors
/// When the range is too small.
pub(crate) fn dns_of(service: ipnet::Ipv4Net) -> anyhow::Result<Ipv4Addr> {
    let dns = service.hosts().nth(9);
    dns.with_context(|| format!("--service-network {service}: expected a range of at least 16 addresses"))
}

/// Where the pod subnet of this node is noted, for the next start and for `naru uninstall`.
pub(crate) fn subnet_file(place: &Place) -> std::path::PathBuf {
    place.state_dir.join("network").join("pod-subnet")
}

/// The pod subnet that this node had at its last start.
pub(crate) fn noted_subnet(place: &Place) -> Option<ipnet::Ipv4Net> {
    std::fs::read_to_string(subnet_file(place)).ok()?.trim().parse().ok()
}

/// Every IPv4 address of this machine but the loopback's.
pub(crate) fn local_addresses() -> Vec<Ipv4Addr> {
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        // A local address is the line before `/32 host LOCAL`.
        if pair[1].contains("/32 host LOCAL")
            && let Some(address) = pair[0].trim().strip_prefix("|-- ").and_then(|a| a.parse::<Ipv4Addr>().ok())
            && !address.is_loopback()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// What the data plane is told.
pub(crate) fn dataplane_config(
    place: &Place,
    node: NodeConfig,
    node_name: &str,
    address: Option<IpAddr>,
) -> anyhow::Result<DataplaneConfig> {
    Ok(DataplaneConfig {
        node_name: node_name.to_owned(),
        state_dir: place.state_dir.clone(),
        run_dir: place.run_dir.clone(),
        address: address.and_then(|ip| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        }),
        node,
        domain: "cluster.local".to_owned(),
        helper: helper_program(place),
        cluster: None,
        behind_nat: false,
        heard: tokio::sync::watch::channel(true).1,
        resolv_conf: "/etc/resolv.conf".into(),
    })
}

fn helper_program(place: &Place) -> HelperProgram {
    let args = ["helper", "--group", &cgroup(place)].map(str::to_owned).to_vec();
    HelperProgram { path: own_program(), args }
}

/// How the helper is found or started.
pub(crate) fn helper_config(place: &Place, dns: Ipv4Addr) -> anyhow::Result<HelperConfig> {
    Ok(HelperConfig {
        program: helper_program(place),
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
        supervisor: SupervisorCommand { program: own_program(), args: vec!["supervisor".to_owned()] },
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

/// The program that this process runs, also when another file has its name by now.
fn own_program() -> std::path::PathBuf {
    format!("/proc/{}/exe", std::process::id()).into()
}

/// The addresses of this machine that others may reach it by, the one of the default route first.
pub(crate) fn addresses(plan: &NodeConfig) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = node_address().into_iter().collect();
    for address in local_addresses() {
        if !address.is_link_local()
            && !plan.cluster_cidr.contains(&address)
            && !plan.service_cidr.contains(&address)
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

/// How often this machine's addresses are looked at.
const LOOK: std::time::Duration = std::time::Duration::from_secs(5);

/// The addresses that `read` gives, now and as they change, for as long as somebody looks at them.
pub(crate) fn follow_addresses(read: impl Fn() -> Vec<IpAddr> + Send + 'static) -> watch::Receiver<Vec<IpAddr>> {
    let (told, addresses) = watch::channel(read());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = told.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            told.send_if_modified(|known| {
                let now = steady(known, read());
                let differs = *known != now;
                *known = now;
                differs
            });
        }
    });
    addresses
}

/// The preferred address stays what it was while the machine has it: others know the node by it, and a default route
/// that comes and goes must not move the node. A machine without any address is cut off, and not elsewhere.
fn steady(before: &[IpAddr], mut now: Vec<IpAddr>) -> Vec<IpAddr> {
    if now.is_empty() {
        return before.to_vec();
    }
    if let Some(at) = before.first().and_then(|preferred| now.iter().position(|address| address == preferred)) {
        now[..=at].rotate_right(1);
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_both_families_go_together() {
        let look = |pods: &str, services: &str| {
            second_family(&pods.parse().unwrap(), &services.parse().unwrap(), "10.42.3.0/24".parse().unwrap())
        };
        let both = look("10.42.0.0/16,fd00:42::/48", "10.43.0.0/16,fd00:43::/112").unwrap().unwrap();
        assert_eq!(
            (both.pod_subnet.to_string(), both.gateway.to_string()),
            ("fd00:42:0:3::/64".into(), "fd00:42:0:3::a2a:301".into())
        );
        assert_eq!(look("10.42.0.0/16", "10.43.0.0/16").unwrap(), None);
        for (pods, services, why) in [
            ("10.42.0.0/16,fd00:42::/48", "10.43.0.0/16", "--service-network needs one too"),
            ("10.42.0.0/16", "10.43.0.0/16,fd00:43::/112", "--pod-network needs one too"),
            ("10.42.0.0/16,fd00:42::/60", "10.43.0.0/16,fd00:43::/112", "at least /56"),
            ("10.42.0.0/16,fd00:42::/48", "10.43.0.0/16,fd00:42::/112", "in common"),
            ("10.42.0.0/16,fd00:42::/48", "10.43.0.0/16,fd00:43::/124", "at least 256"),
            ("10.42.0.0/16,fe80::/48", "10.43.0.0/16,fd00:43::/112", "no range of addresses"),
        ] {
            let error = look(pods, services).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_preferred_address_stays_while_the_machine_has_it() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let before = all(&["192.0.2.1", "198.51.100.1"]);
        let now = |texts: &[&str]| steady(&before, all(texts));
        assert_eq!(
            now(&["198.51.100.1", "203.0.113.1", "192.0.2.1"]),
            all(&["192.0.2.1", "198.51.100.1", "203.0.113.1"])
        );
        assert_eq!(now(&["198.51.100.1", "192.0.2.2"]), all(&["198.51.100.1", "192.0.2.2"]));
        assert_eq!(now(&[]), before);
    }
}
