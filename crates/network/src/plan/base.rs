//! The chains that are the same whatever runs on the node.

use ipnet::IpNet;

use crate::model::{NodeConfig, Tunnel};
use crate::peers::VXLAN_INTERFACE;
use crate::wireguard;

use super::Table;
use super::family::{Side, V4, sides};

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
/// The same for IPv6, which may have been forwarded before when IPv4 was not, and the other way round.
const GUARDED6: &str = "guarded6";

/// Destinations on the loopback that belong to the machine's own resolver and are never published over.
const RESOLVED_STUBS: &str = "{ 127.0.0.53, 127.0.0.54 }";

pub(super) fn compile(table: &mut Table, node: &NodeConfig, tunnel: Tunnel) {
    let sides = sides(node);
    for Side { family, .. } in &sides {
        table.map(&family.name(SERVICE_PORTS), family.by_endpoint);
        table.map(&family.name(SERVICE_ALL), family.by_address);
        table.map(&family.name(HOST_PORTS), "type inet_proto . inet_service : verdict;");
        table.map(&family.name(POD_NETWORKS), family.by_address);
        table.map(&family.name(EGRESS), family.by_address);
        table.map(&family.name(INGRESS), family.by_address);
        table.set(&family.name(REFUSED), family.endpoints);
        table.set(&family.name(HAIRPIN), family.pairs);
        for name in [REMOTE, NETWORKED, INTERNAL, NODES] {
            table.set(&family.name(name), family.addresses);
        }
    }
    table.set(TUNNELS, V4.addresses);
    table.set(GUARDED, "type ifname;");
    for interface in &node.guarded {
        table.element(GUARDED, format!("\"{interface}\""));
    }
    if node.six.is_some() {
        table.set(GUARDED6, "type ifname;");
        for interface in &node.guarded6 {
            table.element(GUARDED6, format!("\"{interface}\""));
        }
    }
    guard(table, node, tunnel, &sides);
    nat(table, &sides);
    filter(table, node, &sides);
}

/// A rule of each family, one after the other.
fn each(sides: &[Side], rule: impl Fn(&Side) -> String) -> Vec<String> {
    sides.iter().map(rule).collect()
}

/// Links of pods have `route_localnet`, and so have those towards other nodes, so that loopback connections can be
/// translated to them: nothing with a loopback address may enter through any. A pod's source must be its own address,
/// and that of another node's pod must come the way that leads to that node: both are what the routing table says of the
/// interface. Tunnels are nobody's but the other nodes'; their packets need no tracking, the ones inside have it.
///
/// Neighbour discovery needs no exception: a pod's neighbour is permanent on both ends, and the kernel itself drops IPv6
/// packets with loopback addresses that come through any other interface.
fn guard(table: &mut Table, node: &NodeConfig, tunnel: Tunnel, sides: &[Side]) {
    let tunnel = format!("udp dport {} @th,96,24 {}", tunnel.port, tunnel.vni);
    let mut rules = vec![
        "iifname != \"lo\" ip daddr 127.0.0.0/8 drop".into(),
        "iifname != \"lo\" ip saddr 127.0.0.0/8 drop".into(),
    ];
    for Side { family, cluster, .. } in sides {
        rules.push(format!("iifname \"naru*\" meta nfproto {} fib saddr . iif oif missing drop", family.protocol));
        rules.push(format!(
            "iifname != \"naru*\" iifname != \"lo\" {} saddr {cluster} fib saddr . iif oif missing drop",
            family.ip
        ));
    }
    if node.six.is_none() {
        // Pods without IPv6 addresses could only pretend to be routers.
        rules.push("iifname \"naru*\" meta nfproto ipv6 drop".into());
    }
    rules.push(format!("{tunnel} ip saddr != @{TUNNELS} drop"));
    rules.push(format!("{tunnel} notrack"));
    table.hook("guard", "type filter hook prerouting priority -310; policy accept;", rules);
    table.hook(
        "untracked",
        "type filter hook output priority -310; policy accept;",
        vec![format!("{tunnel} ip daddr @{TUNNELS} notrack")],
    );
}

/// A destination that host ports are not for: the loopback's name servers, and ::1, to which the kernel has no way back
/// from a pod (the helper's relay answers there).
fn not_published(side: &Side) -> &'static str {
    if side.family.has(&std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)) { RESOLVED_STUBS } else { "::1" }
}

fn nat(table: &mut Table, sides: &[Side]) {
    let mut services = Vec::new();
    for side in sides {
        let (ip, name) = (side.family.ip, |name| side.family.name(name));
        services.push(format!("{ip} daddr . meta l4proto . th dport vmap @{}", name(SERVICE_PORTS)));
        services.push(format!("{ip} daddr vmap @{}", name(SERVICE_ALL)));
        services.push(format!(
            "{ip} daddr != {} {ip} daddr != {} fib daddr type local meta l4proto . th dport vmap @{}",
            side.service,
            not_published(side),
            name(HOST_PORTS)
        ));
    }
    table.chain("services", services);
    table.hook(
        "nat_prerouting",
        "type nat hook prerouting priority -105; policy accept;",
        // Another machine that sends to 127.0.0.1 must not get through to what is published there.
        vec!["ip daddr 127.0.0.0/8 return".into(), "jump services".into()],
    );
    table.hook("nat_output", "type nat hook output priority -105; policy accept;", vec!["jump services".into()]);
    let mut rules = Vec::new();
    for side in sides {
        rules.extend(postrouting(side));
        elsewhere(table, side);
    }
    table.hook("nat_postrouting", "type nat hook postrouting priority 95; policy accept;", rules);
}

/// The rules for what leaves towards pods or the world.
fn postrouting(side: &Side) -> Vec<String> {
    let Side { family, pods, cluster, gateway, .. } = side;
    let (ip, name) = (family.ip, |name| family.name(name));
    let mut rules = Vec::new();
    if gateway.is_ipv4() {
        // Loopback addresses mean nothing inside a pod.
        rules.push(format!("oifname \"naru*\" ip saddr 127.0.0.0/8 snat ip to {gateway}"));
    }
    // A pod would answer itself directly, past the translation.
    rules.push(format!("oifname \"naru*\" {ip} saddr . {ip} daddr @{} snat {ip} to {gateway}", name(HAIRPIN)));
    rules.push(format!("{ip} daddr {cluster} {ip} daddr != {pods} goto {}", name("elsewhere")));
    if private(cluster) {
        // Pod addresses mean nothing outside the cluster.
        rules.push(format!("oifname != \"naru*\" {ip} saddr {pods} masquerade"));
    }
    // An endpoint elsewhere must answer through this node.
    rules.push(format!("oifname != \"naru*\" ct status dnat {ip} daddr @{} masquerade", name(REMOTE)));
    rules
}

/// Whether nobody outside knows the way to such addresses. IPv6 ranges that are not unique local ones (RFC 4193) were
/// given by somebody who routes them here.
fn private(range: &IpNet) -> bool {
    match range {
        IpNet::V4(_) => true,
        IpNet::V6(range) => range.addr().is_unique_local(),
    }
}

/// Towards pods of other nodes. Pods keep their addresses; whatever else is led there must come back through here,
/// and says so with the address by which the other nodes know this one. What strangers merely route through here
/// keeps its address too, and is judged by it.
fn elsewhere(table: &mut Table, side: &Side) {
    let Side { family, cluster, service, gateway, .. } = side;
    let ip = family.ip;
    table.chain(
        &family.name("elsewhere"),
        vec![
            format!("ct status dnat ct original {ip} daddr != {service} snat {ip} to {gateway}"),
            format!("ct status dnat {ip} saddr != {cluster} snat {ip} to {gateway}"),
            format!("{ip} saddr != {gateway} fib saddr type local snat {ip} to {gateway}"),
        ],
    );
}

fn filter(table: &mut Table, node: &NodeConfig, sides: &[Side]) {
    forward(table, sides);
    judges(table, sides);
    table.hook(
        "input",
        "type filter hook input priority 0; policy accept;",
        vec![format!("iifname != \"naru*\" iifname != \"lo\" ip daddr {} drop", node.dns)],
    );
    let mut output = vec![format!("ip daddr {} accept", node.dns)];
    output.extend(unanswered(sides));
    table.hook("output", "type filter hook output priority 0; policy accept;", output);
}

/// Translated addresses are gone by now: what still bears a service address has nobody to answer.
fn unanswered(sides: &[Side]) -> Vec<String> {
    let rules = sides.iter().flat_map(|Side { family, service, .. }| {
        let ip = family.ip;
        [
            format!("{ip} daddr {service} goto refuse"),
            format!("{ip} daddr . meta l4proto . th dport @{} goto refuse", family.name(REFUSED)),
        ]
    });
    rules.collect()
}

fn forward(table: &mut Table, sides: &[Side]) {
    let tunnels = format!("{{ \"{VXLAN_INTERFACE}\", \"{}\" }}", wireguard::INTERFACE);
    let mut rules = vec![
        // Pods of before the tunnel think that larger packets pass.
        format!("oifname {tunnels} tcp flags syn tcp option maxseg size set rt mtu"),
        // Among them packets that were too big, and what else ICMP tells of flows.
        "ct state established,related accept".into(),
    ];
    // Other nodes send to pods only; this one is no router for them.
    rules.extend(each(sides, |side| format!("iifname {tunnels} {} daddr != {} drop", side.family.ip, side.pods)));
    // What a port of this host leads to another node may leave where it came in.
    rules.extend(each(sides, |side| format!("ct status dnat {} daddr {} goto pods", side.family.ip, side.cluster)));
    if sides.len() > 1 {
        rules.push(format!("meta nfproto ipv6 iifname @{GUARDED6} oifname @{GUARDED6} drop"));
        rules.push(format!("meta nfproto ipv4 iifname @{GUARDED} oifname @{GUARDED} drop"));
    } else {
        rules.push(format!("iifname @{GUARDED} oifname @{GUARDED} drop"));
    }
    rules.extend(unanswered(sides));
    rules.push("iifname \"naru*\" goto pods".into());
    rules.push("oifname \"naru*\" goto pods".into());
    table.hook("forward", "type filter hook forward priority 0; policy accept;", rules);
}

/// The chains that decide about packets of pods.
fn judges(table: &mut Table, sides: &[Side]) {
    let mut pods = each(sides, |Side { family, .. }| {
        format!("{0} saddr . {0} daddr @{1} accept", family.ip, family.name(HAIRPIN))
    });
    pods.extend(each(sides, |side| {
        format!("ct status dnat ct original {} daddr != {} goto published", side.family.ip, side.service)
    }));
    pods.extend(["jump isolation".into(), "goto outgoing".into()]);
    table.chain("pods", pods);
    let mut published =
        each(sides, |Side { family, .. }| format!("{} daddr @{} drop", family.ip, family.name(INTERNAL)));
    published
        .extend(each(sides, |Side { family, .. }| format!("{} saddr @{} goto deny", family.ip, family.name(INTERNAL))));
    published.push("goto outgoing".into());
    table.chain("published", published);
    let isolation = sides.iter().flat_map(|Side { family, cluster, .. }| {
        let (ip, networked) = (family.ip, family.name(NETWORKED));
        [
            // Other nodes, for themselves or for clients of published ports.
            format!("{ip} saddr @{} return", family.name(NODES)),
            format!("{ip} saddr vmap @{}", family.name(POD_NETWORKS)),
            format!("{ip} daddr @{networked} {ip} saddr {cluster} goto deny"),
            format!("{ip} daddr @{networked} drop"),
        ]
    });
    table.chain("isolation", isolation.collect());
    let mut outgoing = each(sides, |Side { family, .. }| format!("{} saddr vmap @{}", family.ip, family.name(EGRESS)));
    outgoing.push("goto incoming".into());
    table.chain("outgoing", outgoing);
    let mut incoming = each(sides, |Side { family, .. }| format!("{} daddr vmap @{}", family.ip, family.name(INGRESS)));
    incoming.push("accept".into());
    table.chain("incoming", incoming);
    table.chain(
        "refuse",
        vec!["meta l4proto tcp reject with tcp reset".into(), "reject with icmpx type port-unreachable".into()],
    );
    // Pods are told at once that something forbids the connection; strangers are told nothing.
    let mut deny = each(sides, |Side { family, cluster, .. }| {
        format!("{} saddr {cluster} reject with icmpx type admin-prohibited", family.ip)
    });
    deny.push("drop".into());
    table.chain("deny", deny);
}
