//! The chains that are the same whatever runs on the node.

use crate::model::NodeConfig;
use crate::peers::VXLAN_INTERFACE;

use super::Table;

/// Service addresses by port: `address . protocol . port`.
pub(super) const SERVICE_PORTS: &str = "service_ports";
/// Service addresses that answer on every port.
pub(super) const SERVICE_ALL: &str = "service_all";
/// Ports of every address of this host: node ports, published ports, host ports.
pub(super) const HOST_PORTS: &str = "host_ports";
/// Addresses outside the service range whose service has nobody to answer.
pub(super) const REFUSED: &str = "refused";
/// `pod . pod` of every local pod: a pod that meets itself behind a service address.
pub(super) const HAIRPIN: &str = "hairpin";
/// Endpoints on other machines.
pub(super) const REMOTE: &str = "remote_endpoints";
/// Pods that belong to networks, and where their networks are checked.
pub(super) const POD_NETWORKS: &str = "pod_networks";
/// Pods that belong to networks, as a set.
pub(super) const NETWORKED: &str = "networked";
/// Pods all of whose networks are internal.
pub(super) const INTERNAL: &str = "internal";
/// Pods whose outgoing traffic some policy restricts.
pub(super) const EGRESS: &str = "egress_policy";
/// Pods whose incoming traffic some policy restricts.
pub(super) const INGRESS: &str = "ingress_policy";
/// What other nodes have towards pods: the source of what they send on behalf of others.
pub(super) const NODES: &str = "nodes";
/// The hosts whose tunnels are taken from.
pub(super) const TUNNELS: &str = "tunnels";
/// Interfaces between which nothing is forwarded.
const GUARDED: &str = "guarded";

/// `address . protocol . port`.
const ENDPOINT_KEY: &str = "type ipv4_addr . inet_proto . inet_service;";
const ENDPOINT_MAP: &str = "type ipv4_addr . inet_proto . inet_service : verdict;";

/// Destinations on the loopback that belong to the machine's own resolver and are never published over.
const RESOLVED_STUBS: &str = "{ 127.0.0.53, 127.0.0.54 }";

pub(super) fn compile(table: &mut Table, node: &NodeConfig) {
    table.map(SERVICE_PORTS, ENDPOINT_MAP);
    table.map(SERVICE_ALL, "type ipv4_addr : verdict;");
    table.map(HOST_PORTS, "type inet_proto . inet_service : verdict;");
    table.map(POD_NETWORKS, "type ipv4_addr : verdict;");
    table.map(EGRESS, "type ipv4_addr : verdict;");
    table.map(INGRESS, "type ipv4_addr : verdict;");
    table.set(REFUSED, ENDPOINT_KEY);
    table.set(HAIRPIN, "type ipv4_addr . ipv4_addr;");
    table.set(REMOTE, "type ipv4_addr;");
    table.set(NETWORKED, "type ipv4_addr;");
    table.set(INTERNAL, "type ipv4_addr;");
    table.set(NODES, "type ipv4_addr;");
    table.set(TUNNELS, "type ipv4_addr;");
    table.set(GUARDED, "type ifname;");
    for interface in &node.guarded {
        table.element(GUARDED, format!("\"{interface}\""));
    }
    guard(table, node);
    nat(table, node);
    filter(table, node);
}

/// Links of pods have `route_localnet`, and so have those towards other nodes, so that loopback connections can be
/// translated to them: nothing with a loopback address may enter through any. A pod's source must be its own address,
/// and that of another node's pod must come the way that leads to that node: both are what the routing table says of the
/// interface. Tunnels are nobody's but the other nodes'; their packets need no tracking, the ones inside have it.
fn guard(table: &mut Table, node: &NodeConfig) {
    let tunnel = format!("udp dport {} @th,96,24 {}", node.tunnel.port, node.tunnel.vni);
    table.hook(
        "guard",
        "type filter hook prerouting priority -310; policy accept;",
        vec![
            "iifname != \"lo\" ip daddr 127.0.0.0/8 drop".into(),
            "iifname != \"lo\" ip saddr 127.0.0.0/8 drop".into(),
            "iifname \"naru*\" meta nfproto ipv4 fib saddr . iif oif missing drop".into(),
            format!(
                "iifname != \"naru*\" iifname != \"lo\" ip saddr {} fib saddr . iif oif missing drop",
                node.cluster_cidr
            ),
            format!("{tunnel} ip saddr != @{TUNNELS} drop"),
            format!("{tunnel} notrack"),
        ],
    );
    table.hook(
        "untracked",
        "type filter hook output priority -310; policy accept;",
        vec![format!("{tunnel} ip daddr @{TUNNELS} notrack")],
    );
}

fn nat(table: &mut Table, node: &NodeConfig) {
    let NodeConfig { service_cidr, cluster_cidr, pod_subnet, gateway, .. } = node;
    table.chain(
        "services",
        vec![
            format!("ip daddr . meta l4proto . th dport vmap @{SERVICE_PORTS}"),
            format!("ip daddr vmap @{SERVICE_ALL}"),
            format!(
                "ip daddr != {service_cidr} ip daddr != {RESOLVED_STUBS} fib daddr type local \
                 meta l4proto . th dport vmap @{HOST_PORTS}"
            ),
        ],
    );
    table.hook(
        "nat_prerouting",
        "type nat hook prerouting priority -105; policy accept;",
        // Another machine that sends to 127.0.0.1 must not get through to what is published there.
        vec!["ip daddr 127.0.0.0/8 return".into(), "jump services".into()],
    );
    table.hook("nat_output", "type nat hook output priority -105; policy accept;", vec!["jump services".into()]);
    table.hook(
        "nat_postrouting",
        "type nat hook postrouting priority 95; policy accept;",
        vec![
            // Loopback addresses mean nothing inside a pod.
            format!("oifname \"naru*\" ip saddr 127.0.0.0/8 snat ip to {gateway}"),
            // A pod would answer itself directly, past the translation.
            format!("oifname \"naru*\" ip saddr . ip daddr @{HAIRPIN} snat ip to {gateway}"),
            format!("ip daddr {cluster_cidr} ip daddr != {pod_subnet} goto elsewhere"),
            // Pod addresses mean nothing outside the cluster.
            format!("oifname != \"naru*\" ip saddr {pod_subnet} masquerade"),
            // An endpoint elsewhere must answer through this node.
            format!("oifname != \"naru*\" ct status dnat ip daddr @{REMOTE} masquerade"),
        ],
    );
    // Towards pods of other nodes. Pods keep their addresses; whatever else is led there must come back through here,
    // and says so with the address by which the other nodes know this one. What strangers merely route through here
    // keeps its address too, and is judged by it.
    table.chain(
        "elsewhere",
        vec![
            format!("ct status dnat ct original ip daddr != {service_cidr} snat ip to {gateway}"),
            format!("ct status dnat ip saddr != {cluster_cidr} snat ip to {gateway}"),
            format!("ip saddr != {gateway} fib saddr type local snat ip to {gateway}"),
        ],
    );
}

fn filter(table: &mut Table, node: &NodeConfig) {
    let NodeConfig { service_cidr, cluster_cidr, pod_subnet, dns, .. } = node;
    let tunnel = VXLAN_INTERFACE;
    table.hook(
        "forward",
        "type filter hook forward priority 0; policy accept;",
        vec![
            // Pods of before the tunnel think that larger packets pass.
            format!("oifname \"{tunnel}\" tcp flags syn tcp option maxseg size set rt mtu"),
            "ct state established,related accept".into(),
            // Other nodes send to pods only; this one is no router for them.
            format!("iifname \"{tunnel}\" ip daddr != {pod_subnet} drop"),
            // What a port of this host leads to another node may leave where it came in.
            format!("ct status dnat ip daddr {cluster_cidr} goto pods"),
            format!("iifname @{GUARDED} oifname @{GUARDED} drop"),
            // Translated addresses are gone by now: what still bears a service address has nobody to answer.
            format!("ip daddr {service_cidr} goto refuse"),
            format!("ip daddr . meta l4proto . th dport @{REFUSED} goto refuse"),
            "iifname \"naru*\" goto pods".into(),
            "oifname \"naru*\" goto pods".into(),
        ],
    );
    table.chain(
        "pods",
        vec![
            format!("ip saddr . ip daddr @{HAIRPIN} accept"),
            format!("ct status dnat ct original ip daddr != {service_cidr} goto published"),
            "jump isolation".into(),
            "goto outgoing".into(),
        ],
    );
    table.chain(
        "published",
        vec![format!("ip daddr @{INTERNAL} drop"), format!("ip saddr @{INTERNAL} goto deny"), "goto outgoing".into()],
    );
    table.chain(
        "isolation",
        vec![
            // Other nodes, for themselves or for clients of published ports.
            format!("ip saddr @{NODES} return"),
            format!("ip saddr vmap @{POD_NETWORKS}"),
            format!("ip daddr @{NETWORKED} ip saddr {cluster_cidr} goto deny"),
            format!("ip daddr @{NETWORKED} drop"),
        ],
    );
    table.chain("outgoing", vec![format!("ip saddr vmap @{EGRESS}"), "goto incoming".into()]);
    table.chain("incoming", vec![format!("ip daddr vmap @{INGRESS}"), "accept".into()]);
    table.chain(
        "refuse",
        vec!["meta l4proto tcp reject with tcp reset".into(), "reject with icmpx type port-unreachable".into()],
    );
    // Pods are told at once that something forbids the connection; strangers are told nothing.
    table
        .chain("deny", vec![format!("ip saddr {cluster_cidr} reject with icmpx type admin-prohibited"), "drop".into()]);
    table.hook(
        "input",
        "type filter hook input priority 0; policy accept;",
        vec![format!("iifname != \"naru*\" iifname != \"lo\" ip daddr {dns} drop")],
    );
    table.hook(
        "output",
        "type filter hook output priority 0; policy accept;",
        vec![
            format!("ip daddr {dns} accept"),
            format!("ip daddr {service_cidr} goto refuse"),
            format!("ip daddr . meta l4proto . th dport @{REFUSED} goto refuse"),
        ],
    );
}
