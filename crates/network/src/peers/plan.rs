//! What must exist for a list of peers, purely.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use naru_api::naru::names;

use crate::ipam::{gateway_of, second_address};
use crate::model::Ipv6Config;
use crate::wireguard::{self, PeerConfig};

use super::{EncryptedDevice, Encryption, Mode, OverlayConfig, Peer, Underlay, VXLAN_OVERHEAD, Way, Wish, tunnel_mac};

/// The tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The tunnel's number.
    pub vni: u32,
    /// Its UDP port.
    pub port: u16,
    /// The address its packets come from.
    pub local: Ipv4Addr,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its largest packet.
    pub mtu: u32,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// To a machine behind an interface of this one.
    Wire {
        /// The interface's number.
        interface: u32,
        /// The machine.
        gateway: IpAddr,
    },
    /// Through the tunnel.
    Tunnel {
        /// The peer's address on it.
        gateway: IpAddr,
    },
    /// Through the encrypted device.
    Encrypted {
        /// The peer's address behind it.
        gateway: IpAddr,
    },
    /// Nowhere: what no node has is refused at once, instead of leaving through the default route.
    Nowhere,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// For which addresses.
    pub to: IpNet,
    /// Where it leads.
    pub path: Path,
    /// The address the host's own packets have on it; none where it leads nowhere.
    pub source: Option<IpAddr>,
}

impl Route {
    /// A route that leads nowhere. Nobody ever has an address on it.
    pub(super) fn nowhere(to: IpNet) -> Self {
        Self { to, path: Path::Nowhere, source: None }
    }
}

/// What must exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The tunnel device, when a peer needs it.
    pub device: Option<Device>,
    /// The encrypted device, when a peer needs it.
    pub encrypted: Option<EncryptedDevice>,
    /// Routes by destination.
    pub routes: BTreeMap<IpNet, Route>,
    /// The hardware addresses of the peers' ends of the tunnel.
    pub neighbours: BTreeMap<IpAddr, [u8; 6]>,
    /// The hosts behind those hardware addresses.
    pub forwarding: BTreeMap<[u8; 6], Ipv4Addr>,
    /// The interfaces (not ours) through which plain routes lead.
    pub wires: BTreeSet<String>,
    /// The peers that have a way, and which.
    pub modes: BTreeMap<String, Mode>,
    /// The largest packet that reaches every peer.
    pub mtu: u32,
    /// Peers that have no way and why, worded for people.
    pub problems: Vec<String>,
}

/// Says what must exist. A peer that contradicts this machine or a peer before it in the list gets no way: whoever lists
/// the longest known first lets no newcomer take anything from them.
pub fn plan(config: &OverlayConfig, underlay: &Underlay, peers: &[Peer]) -> Plan {
    let mut plan = Plan { mtu: underlay.mtu(None).min(config.mtu.unwrap_or(u32::MAX)), ..Plan::default() };
    // A cluster of one block has its catch-all already.
    if config.cluster_cidr != config.pod_subnet {
        let to = config.cluster_cidr.into();
        plan.routes.insert(to, Route::nowhere(to));
    }
    if let Some(six) = config.six.filter(|six| six.cluster_cidr != six.pod_subnet) {
        let to = six.cluster_cidr.into();
        plan.routes.insert(to, Route::nowhere(to));
    }
    let mut accepted = Accepted::default();
    let mut tunnel_mtu = u32::MAX;
    for peer in peers.iter().filter(|peer| peer.name != config.node) {
        let outcome = believe(config, underlay, &accepted, peer).and_then(|()| lead(config, underlay, peer, &mut plan));
        match outcome {
            Ok(mode) => {
                accepted.add(peer);
                plan.modes.insert(peer.name.clone(), mode);
                let interface = match underlay.ways.get(&peer.address) {
                    Some(Way::Out { interface, .. }) => Some(*interface),
                    _ => None,
                };
                let outer = underlay.mtu(interface);
                let inner = match mode {
                    Mode::Route => outer,
                    Mode::Vxlan => outer - VXLAN_OVERHEAD,
                    Mode::Wireguard => outer - wireguard::OVERHEAD,
                };
                plan.mtu = plan.mtu.min(inner);
                if let Some(device) = plan.encrypted.as_mut().filter(|_| mode == Mode::Wireguard) {
                    device.mtu = device.mtu.min(inner);
                }
                let second = match config.six.zip(peer.pod_cidr6) {
                    Some((six, block)) => lead_second(config, &six, peer, block, mode, &mut plan),
                    None => Ok(false),
                };
                match second {
                    Ok(tunnelled) if tunnelled || mode == Mode::Vxlan => {
                        tunnel_mtu = tunnel_mtu.min(outer - VXLAN_OVERHEAD);
                    }
                    Ok(_) => {}
                    Err(problem) => {
                        plan.problems.push(format!("no way to the IPv6 pods of node {}: {problem}", peer.name));
                    }
                }
            }
            Err(problem) => plan.problems.push(format!("no way to the pods of node {}: {problem}", peer.name)),
        }
    }
    plan.encrypted = plan.encrypted.filter(|device| !device.peers.is_empty());
    if let Some(local) = config.address.filter(|_| !plan.neighbours.is_empty()) {
        let mac = tunnel_mac(&config.node);
        plan.device = Some(Device { vni: config.vni, port: config.port, local, mac, mtu: tunnel_mtu });
    }
    plan
}

/// The peers that have a way: no two of their blocks meet.
#[derive(Default)]
struct Accepted<'a> {
    by_block: BTreeMap<Ipv4Addr, &'a Peer>,
    by_address: BTreeMap<Ipv4Addr, &'a Peer>,
}

impl<'a> Accepted<'a> {
    fn add(&mut self, peer: &'a Peer) {
        self.by_block.insert(peer.pod_cidr.network(), peer);
        self.by_address.insert(peer.address, peer);
    }

    /// The peer whose block meets `block`: of those that begin before its end, only the last can.
    fn overlapping(&self, block: Ipv4Net) -> Option<&'a Peer> {
        let (_, last) = self.by_block.range(..=block.broadcast()).next_back()?;
        (last.pod_cidr.broadcast() >= block.network()).then_some(*last)
    }
}

/// Whether what a peer says of itself can be true.
fn believe(config: &OverlayConfig, underlay: &Underlay, accepted: &Accepted<'_>, peer: &Peer) -> Result<(), String> {
    let (subnet, address) = (peer.pod_cidr, peer.address);
    let overlap = |a: Ipv4Net, b: Ipv4Net| a.contains(&b) || b.contains(&a);
    if !config.cluster_cidr.contains(&subnet) || subnet == config.cluster_cidr {
        return Err(format!(
            "its pod addresses {subnet} are no part of the cluster's {}; every node must have been given the same pod \
             network",
            config.cluster_cidr
        ));
    }
    if overlap(subnet, config.pod_subnet) {
        return Err(format!(
            "its pod addresses {subnet} are this node's own; remove one of the two nodes and let it join again"
        ));
    }
    if let Some(other) = accepted.overlapping(subnet) {
        return Err(format!(
            "its pod addresses {subnet} belong to node {} ({}); remove one of the two nodes and let it join again",
            other.name, other.pod_cidr
        ));
    }
    if peer.encryption.behind_nat {
        // An address behind a translator means something there alone; many have the same.
        return Ok(());
    }
    if let Some(other) = accepted.by_address.get(&address).filter(|other| !other.encryption.behind_nat) {
        return Err(format!(
            "its address {address} is that of node {}; each node needs an address of its own",
            other.name
        ));
    }
    let own = underlay.ways.get(&address) == Some(&Way::Local) || config.address == Some(address);
    if own {
        return Err(format!("its address {address} is this machine's own"));
    }
    if config.cluster_cidr.contains(&address) || config.service_cidr.contains(&address) {
        return Err(format!("its address {address} is one of pods or services; it must be one of its machine"));
    }
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback() {
        return Err(format!("its address {address} cannot be reached from elsewhere"));
    }
    match underlay.networks.iter().find(|network| network.range == subnet) {
        Some(foreign) => Err(format!("this machine has a route to {subnet} of its own, by {}", foreign.behind)),
        None => Ok(()),
    }
}

/// Adds the way to a peer.
fn lead(config: &OverlayConfig, underlay: &Underlay, peer: &Peer, plan: &mut Plan) -> Result<Mode, String> {
    let mode = mode(config, underlay, peer)?;
    let path = match mode {
        Mode::Route => match underlay.ways.get(&peer.address) {
            Some(Way::Out { interface, gateway }) => {
                plan.wires.extend(underlay.interfaces.get(interface).map(|interface| interface.name.clone()));
                Path::Wire { interface: *interface, gateway: gateway.unwrap_or(peer.address).into() }
            }
            _ => return Err(format!("there is no route to its address {}", peer.address)),
        },
        Mode::Vxlan => {
            if config.address.is_none() {
                return Err("this node's own address is not known yet".to_owned());
            }
            let gateway = gateway_of(peer.pod_cidr).into();
            tunnel_to(config, peer, gateway, plan)?;
            Path::Tunnel { gateway }
        }
        Mode::Wireguard => {
            encrypt_to(config, underlay, peer, plan)?;
            Path::Encrypted { gateway: gateway_of(peer.pod_cidr).into() }
        }
    };
    let to = peer.pod_cidr.into();
    plan.routes.insert(to, Route { to, path, source: Some(config.gateway.into()) });
    Ok(mode)
}

/// Makes the peer's end of the tunnel known under `gateway`.
fn tunnel_to(config: &OverlayConfig, peer: &Peer, gateway: IpAddr, plan: &mut Plan) -> Result<(), String> {
    let mac = tunnel_mac(&peer.name);
    if mac == tunnel_mac(&config.node) || plan.forwarding.get(&mac).is_some_and(|host| *host != peer.address) {
        return Err("its name gives the hardware address of another node; give it another name".to_owned());
    }
    plan.neighbours.insert(gateway, mac);
    plan.forwarding.insert(mac, peer.address);
    Ok(())
}

/// Makes the peer known to the encrypted device.
fn encrypt_to(config: &OverlayConfig, underlay: &Underlay, peer: &Peer, plan: &mut Plan) -> Result<(), String> {
    let Encryption { keys, own, port, .. } = &config.encryption;
    let Some((_, own_key)) = keys else {
        return Err("it is to be encrypted, and this node has no key".to_owned());
    };
    let Some(key) = peer.encryption.key else {
        return Err(
            "it is to be encrypted, and that node has not told its key yet; does a version of Naru run there that \
                    encrypts?"
                .to_owned(),
        );
    };
    let device = plan.encrypted.get_or_insert_with(|| EncryptedDevice {
        key: *own_key,
        port: *port,
        mtu: u32::MAX,
        peers: BTreeMap::new(),
        names: BTreeMap::new(),
    });
    if key == *own_key || device.peers.contains_key(&key) {
        let other = device.names.get(&key).unwrap_or(&config.node);
        return Err(format!(
            "it says that it has the key of node {other}; `naru node rotate-key` gives it another one"
        ));
    }
    let endpoint = peer.encryption.endpoint.or_else(|| {
        let on_wire = matches!(underlay.ways.get(&peer.address), Some(Way::Out { gateway: None, .. }));
        (!peer.encryption.behind_nat || on_wire).then_some(SocketAddr::new(peer.address.into(), *port))
    });
    let reachable = !own.behind_nat || own.endpoint.is_some();
    if endpoint.is_none() && !reachable {
        return Err(format!(
            "both nodes are behind address translation, so neither can reach the other; lead a UDP port of one side's \
             router to port {port} of its node and note it: kubectl annotate node NODE {}=ADDRESS:PORT",
            names::WIREGUARD_ENDPOINT
        ));
    }
    let keepalive = if own.behind_nat { wireguard::KEEPALIVE } else { 0 };
    device.peers.insert(key, PeerConfig { key, endpoint, keepalive, allowed: vec![peer.pod_cidr.into()] });
    device.names.insert(key, peer.name.clone());
    Ok(())
}

/// Adds the way to a peer's IPv6 pods: encrypted where the others are, otherwise the tunnel. Says whether it is the tunnel.
fn lead_second(
    config: &OverlayConfig,
    six: &Ipv6Config,
    peer: &Peer,
    block: Ipv6Net,
    mode: Mode,
    plan: &mut Plan,
) -> Result<bool, String> {
    if !six.cluster_cidr.contains(&block) || block == six.cluster_cidr {
        return Err(format!("its addresses {block} are no part of the cluster's {}", six.cluster_cidr));
    }
    if block.prefix_len() != six.pod_subnet.prefix_len() {
        return Err(format!("its addresses {block} are not of the size that every node has"));
    }
    if block == six.pod_subnet || plan.routes.contains_key(&block.into()) {
        return Err(format!("its addresses {block} are another node's; remove it and let it join again"));
    }
    if config.address.is_none() {
        return Err("this node's own address is not known yet".to_owned());
    }
    let gateway = second_address(block, gateway_of(peer.pod_cidr)).into();
    let to = block.into();
    if mode == Mode::Wireguard {
        let peers = plan.encrypted.as_mut().map(|device| &mut device.peers);
        if let Some(known) = peers.zip(peer.encryption.key).and_then(|(peers, key)| peers.get_mut(&key)) {
            known.allowed.push(to);
        }
        plan.routes.insert(to, Route { to, path: Path::Encrypted { gateway }, source: Some(six.gateway.into()) });
        return Ok(false);
    }
    tunnel_to(config, peer, gateway, plan)?;
    plan.routes.insert(to, Route { to, path: Path::Tunnel { gateway }, source: Some(six.gateway.into()) });
    Ok(true)
}

/// Both sides come to the same answer: wishes count whoever has them, and being on one wire is mutual.
fn mode(config: &OverlayConfig, underlay: &Underlay, peer: &Peer) -> Result<Mode, String> {
    let (mut asked, mut encrypted) = (None, config.encryption.everywhere);
    for wish in [&config.wish, &peer.wish] {
        match wish {
            Wish::Unknown(what) => {
                return Err(format!(
                    "the network mode \"{what}\" is not known here; use \"route\", \"vxlan\" or \"wireguard\", or leave it \
                     out"
                ));
            }
            Wish::Wireguard => encrypted = true,
            Wish::Vxlan => asked = Some(Mode::Vxlan),
            Wish::Route => asked = asked.or(Some(Mode::Route)),
            Wish::Automatic => {}
        }
    }
    // A translator lets only those back in whom somebody inside has called: that is what encryption's ends do.
    let behind_nat = config.encryption.own.behind_nat || peer.encryption.behind_nat;
    if encrypted || (asked.is_none() && behind_nat) {
        return Ok(Mode::Wireguard);
    }
    Ok(asked.unwrap_or_else(|| match underlay.ways.get(&peer.address) {
        Some(Way::Out { interface, gateway: None })
            if underlay.interfaces.get(interface).is_some_and(|interface| interface.ethernet) =>
        {
            Mode::Route
        }
        _ => Mode::Vxlan,
    }))
}
