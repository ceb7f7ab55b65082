//! Which way leads to whom, and the law of steps: from any state they lead to the plan, wherever one of them fails.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::delta::{Seen, SeenDevice, Step, steps};
use super::*;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn config() -> OverlayConfig {
    OverlayConfig {
        node: "n0".into(),
        address: Some(ip("192.0.2.10")),
        wish: Wish::Automatic,
        pod_subnet: net("10.42.0.0/24"),
        cluster_cidr: net("10.42.0.0/16"),
        service_cidr: net("10.43.0.0/16"),
        gateway: ip("10.42.0.1"),
        six: None,
        vni: 4242,
        port: 8472,
        mtu: None,
        encryption: Encryption::default(),
    }
}

fn peer(n: u8, address: &str) -> Peer {
    Peer {
        name: format!("n{n}"),
        pod_cidr: net(&format!("10.42.{n}.0/24")),
        pod_cidr6: None,
        address: ip(address),
        wish: Wish::Automatic,
        encryption: PeerEncryption::default(),
    }
}

fn six() -> Ipv6Config {
    Ipv6Config {
        pod_subnet: "fd00:42::/64".parse().unwrap(),
        cluster_cidr: "fd00:42::/48".parse().unwrap(),
        service_cidr: "fd00:43::/112".parse().unwrap(),
        gateway: "fd00:42::a2a:1".parse().unwrap(),
    }
}

/// The peer with a block of the second family, or not.
fn both(with: bool, peer: Peer) -> Peer {
    let third = peer.pod_cidr.network().octets()[2];
    let block = format!("fd00:42:0:{third:x}::/64").parse().unwrap();
    Peer { pod_cidr6: with.then_some(block), ..peer }
}

/// eth0 (number 2) leads to the wire and the default route, eth1 (3) to a wire of small packets, tun0 (4) has no
/// hardware addresses.
fn underlay(ways: &[(&str, u32, Option<&str>)]) -> Underlay {
    let interface = |name: &str, mtu, ethernet| Interface { name: name.into(), mtu, ethernet };
    let way = |(to, interface, gateway): &(&str, u32, Option<&str>)| {
        (ip(to), Way::Out { interface: *interface, gateway: gateway.map(ip) })
    };
    Underlay {
        interfaces: BTreeMap::from([
            (2, interface("eth0", 1500, true)),
            (3, interface("eth1", 1400, true)),
            (4, interface("tun0", 1500, false)),
        ]),
        ways: ways.iter().map(way).collect(),
        networks: Vec::new(),
        uplink: Some(2),
    }
}

#[test]
fn a_wire_needs_no_tunnel_and_a_router_does() {
    let underlay =
        underlay(&[("192.0.2.11", 2, None), ("203.0.113.12", 2, Some("192.0.2.1")), ("192.0.2.13", 4, None)]);
    let peers = [peer(1, "192.0.2.11"), peer(2, "203.0.113.12"), peer(3, "192.0.2.13"), peer(4, "198.51.100.9")];
    let plan = plan(&config(), &underlay, &peers);
    assert_eq!(plan.problems, Vec::<String>::new());
    let modes: Vec<Mode> = plan.modes.values().copied().collect();
    assert_eq!(modes, [Mode::Route, Mode::Vxlan, Mode::Vxlan, Mode::Vxlan], "no route yet is no reason for none later");
    let paths: Vec<Path> = plan.routes.values().map(|route| route.path).collect();
    let tunnel = |last: u8| Path::Tunnel { gateway: Ipv4Addr::new(10, 42, last, 1).into() };
    let wire = Path::Wire { interface: 2, gateway: ip("192.0.2.11").into() };
    assert_eq!(paths, [Path::Nowhere, wire, tunnel(2), tunnel(3), tunnel(4)]);
    assert!(plan.routes.values().skip(1).all(|route| route.source == Some(ip("10.42.0.1").into())));
    assert_eq!(plan.neighbours[&IpAddr::V4(ip("10.42.2.1"))], tunnel_mac("n2"));
    assert_eq!(plan.forwarding[&tunnel_mac("n2")], ip("203.0.113.12"));
    let device = Device { vni: 4242, port: 8472, local: ip("192.0.2.10"), mac: tunnel_mac("n0"), mtu: 1450 };
    assert_eq!(plan.device, Some(device));
    assert_eq!((plan.mtu, plan.wires), (1450, BTreeSet::from(["eth0".to_owned()])));
}

#[test]
fn the_smallest_packet_on_the_way_counts() {
    let way = underlay(&[("192.0.2.11", 3, None)]);
    assert_eq!(plan(&config(), &way, &[peer(1, "192.0.2.11")]).mtu, 1400);
    let way = underlay(&[("192.0.2.11", 2, None), ("203.0.113.12", 3, Some("198.51.100.1"))]);
    let both = plan(&config(), &way, &[peer(1, "192.0.2.11"), peer(2, "203.0.113.12")]);
    assert_eq!((both.mtu, both.device.unwrap().mtu), (1350, 1350));
    let alone = plan(&config(), &underlay(&[]), &[]);
    assert_eq!((alone.mtu, alone.device), (1500, None));
    assert_eq!(alone.routes.len(), 1, "what no node has is refused at once");
}

#[test]
fn wishes_count_whoever_has_them() {
    let underlay = underlay(&[("192.0.2.11", 2, None), ("203.0.113.12", 2, Some("192.0.2.1"))]);
    let wishing = |own: Wish, theirs: Wish, address: &str| {
        let config = OverlayConfig { wish: own, ..config() };
        plan(&config, &underlay, &[Peer { wish: theirs, ..peer(1, address) }])
    };
    for (own, theirs) in [(Wish::Vxlan, Wish::Automatic), (Wish::Automatic, Wish::Vxlan), (Wish::Route, Wish::Vxlan)] {
        assert_eq!(wishing(own, theirs, "192.0.2.11").modes["n1"], Mode::Vxlan);
    }
    let routed = wishing(Wish::Route, Wish::Automatic, "203.0.113.12");
    assert_eq!(
        routed.routes[&IpNet::V4(net("10.42.1.0/24"))].path,
        Path::Wire { interface: 2, gateway: ip("192.0.2.1").into() }
    );
    let refused = wishing(Wish::Automatic, Wish::parse("ipsec"), "192.0.2.11");
    assert!(refused.modes.is_empty() && refused.problems[0].contains("\"ipsec\" is not known"), "{refused:?}");
    let nowhere = wishing(Wish::Route, Wish::Automatic, "198.51.100.9");
    assert!(nowhere.problems[0].contains("no route to its address 198.51.100.9"), "{nowhere:?}");
    assert_eq!(["", "auto", " route", "vxlan"].map(Wish::parse)[2..], [Wish::Route, Wish::Vxlan]);
}

fn key(n: u8) -> PublicKey {
    crate::wireguard::PublicKey([n; 32])
}

fn encrypting() -> OverlayConfig {
    let encryption = Encryption { keys: Some(("/keys".into(), key(100))), ..Encryption::default() };
    OverlayConfig { encryption, ..config() }
}

fn with_key(n: u8, address: &str) -> Peer {
    let encryption = PeerEncryption { key: Some(key(n)), ..PeerEncryption::default() };
    Peer { encryption, ..peer(n, address) }
}

#[test]
fn who_is_to_be_encrypted_gets_no_other_way() {
    let underlay = underlay(&[("192.0.2.11", 2, None), ("203.0.113.12", 2, Some("192.0.2.1"))]);
    let everywhere = |config: OverlayConfig| OverlayConfig {
        encryption: Encryption { everywhere: true, ..config.encryption.clone() },
        ..config
    };
    let peers = |wish: &Wish| {
        [("192.0.2.11", 1), ("203.0.113.12", 2)].map(|(address, n)| Peer { wish: wish.clone(), ..with_key(n, address) })
    };
    let wishing = |wish: Wish| OverlayConfig { wish, ..encrypting() };
    for (config, wish) in [
        (everywhere(encrypting()), Wish::Automatic),
        (everywhere(encrypting()), Wish::Route),
        (everywhere(wishing(Wish::Vxlan)), Wish::Route),
        (wishing(Wish::Wireguard), Wish::Route),
        (wishing(Wish::Route), Wish::Wireguard),
        (wishing(Wish::Vxlan), Wish::Wireguard),
    ] {
        let plan = plan(&config, &underlay, &peers(&wish));
        assert_eq!(plan.modes.values().collect::<Vec<_>>(), [&Mode::Wireguard; 2], "{:?} {wish:?}", config.wish);
        assert_eq!((plan.device, plan.wires.len(), plan.mtu), (None, 0, 1420));
        let device = plan.encrypted.unwrap();
        let endpoints: Vec<String> = device.peers.values().map(|peer| peer.endpoint.unwrap().to_string()).collect();
        assert_eq!((endpoints, device.mtu), (vec!["192.0.2.11:51820".into(), "203.0.113.12:51820".into()], 1420));
        let path = plan.routes[&IpNet::V4(net("10.42.1.0/24"))].path;
        assert_eq!(path, Path::Encrypted { gateway: ip("10.42.1.1").into() });
    }
    // One of them alone: the other keeps its way.
    let mut mixed = peers(&Wish::Automatic);
    mixed[0].wish = Wish::Wireguard;
    let plan_of = |config: &OverlayConfig, peers: &[Peer]| plan(config, &underlay, peers);
    assert_eq!(plan_of(&encrypting(), &mixed).modes.into_values().collect::<Vec<_>>(), [Mode::Wireguard, Mode::Vxlan]);
    // Whatever is missing: no way at all.
    let none = |config: &OverlayConfig, peer: Peer, why: &str| {
        let plan = plan_of(config, &[peer]);
        assert!(plan.modes.is_empty() && plan.encrypted.is_none() && plan.routes.len() == 1, "{plan:?}");
        assert!(plan.problems[0].contains(why), "{:?}", plan.problems);
    };
    let wished = Peer { wish: Wish::Wireguard, ..with_key(1, "192.0.2.11") };
    none(&config(), wished.clone(), "this node has no key");
    none(&encrypting(), Peer { encryption: PeerEncryption::default(), ..wished.clone() }, "has not told its key");
    let mine = PeerEncryption { key: Some(key(100)), ..PeerEncryption::default() };
    none(&encrypting(), Peer { encryption: mine, ..wished.clone() }, "has the key of node n0");
    let twice = [
        wished.clone(),
        Peer { encryption: wished.encryption, ..Peer { wish: Wish::Wireguard, ..peer(2, "203.0.113.12") } },
    ];
    let plan = plan_of(&encrypting(), &twice);
    assert!(plan.modes.len() == 1 && plan.problems[0].contains("has the key of node n1"), "{:?}", plan.problems);
}

#[test]
fn who_is_behind_a_translator_comes_by_itself() {
    let underlay = underlay(&[("192.0.2.11", 2, Some("192.0.2.1")), ("192.0.2.12", 2, None)]);
    let hidden = |n: u8, address: &str| {
        let plain = with_key(n, address);
        Peer { encryption: PeerEncryption { behind_nat: true, ..plain.encryption }, ..plain }
    };
    let plan_of = |config: &OverlayConfig, peer: &Peer| plan(config, &underlay, std::slice::from_ref(peer));
    let only = |plan: &Plan| plan.encrypted.as_ref().unwrap().peers.values().next().unwrap().clone();
    let seen = plan_of(&encrypting(), &hidden(1, "192.0.2.11"));
    assert_eq!((seen.modes["n1"], only(&seen).endpoint, only(&seen).keepalive), (Mode::Wireguard, None, 0));
    let near = plan_of(&encrypting(), &hidden(2, "192.0.2.12"));
    assert_eq!(only(&near).endpoint, Some("192.0.2.12:51820".parse().unwrap()), "on the same wire it may be found");
    // Others may have the same address behind translators of their own, this machine too.
    let plan =
        plan(&encrypting(), &underlay, &[hidden(1, "192.0.2.10"), hidden(2, "192.0.2.11"), hidden(3, "192.0.2.11")]);
    assert_eq!((plan.problems.len(), plan.modes.len()), (0, 3), "{:?}", plan.problems);
    // From inside: it shows itself, and calls those that can be reached.
    let mut inside = encrypting();
    inside.encryption.own.behind_nat = true;
    let out = plan_of(&inside, &with_key(1, "192.0.2.11"));
    assert_eq!((only(&out).endpoint.is_some(), only(&out).keepalive), (true, 25));
    let both = plan_of(&inside, &hidden(1, "192.0.2.11"));
    assert!(both.modes.is_empty() && both.problems[0].contains("both nodes are behind address translation"));
    inside.encryption.own.endpoint = Some("198.51.100.1:4000".parse().unwrap());
    assert_eq!(only(&plan_of(&inside, &hidden(1, "192.0.2.11"))).endpoint, None, "the other one calls");
    inside.encryption.own.endpoint = None;
    let mut door = hidden(1, "192.0.2.11");
    door.encryption.endpoint = Some("198.51.100.2:4000".parse().unwrap());
    assert_eq!(only(&plan_of(&inside, &door)).endpoint, door.encryption.endpoint);
    // Who wants a plain way all the same, gets it.
    assert_eq!(plan_of(&encrypting(), &Peer { wish: Wish::Vxlan, ..hidden(1, "192.0.2.11") }).modes["n1"], Mode::Vxlan);
}

#[test]
fn the_cluster_s_packet_size_is_a_bound() {
    let way = underlay(&[("192.0.2.11", 2, None)]);
    let bound = |mtu| plan(&OverlayConfig { mtu, ..config() }, &way, &[peer(1, "192.0.2.11")]).mtu;
    assert_eq!([bound(None), bound(Some(1300)), bound(Some(9000))], [1500, 1300, 1500]);
}

#[test]
fn what_cannot_be_true_is_not_believed() {
    let mut underlay = underlay(&[("192.0.2.11", 2, None), ("192.0.2.12", 2, None)]);
    underlay.ways.insert(ip("192.0.2.99"), Way::Local);
    let said = |name: &str, pods: &str, address: &str| Peer {
        name: name.into(),
        ..Peer { pod_cidr: net(pods), ..peer(1, address) }
    };
    let good = said("a", "10.42.1.0/24", "192.0.2.11");
    for (liar, why) in [
        (said("b", "0.0.0.0/0", "192.0.2.12"), "no part of the cluster's"),
        (said("b", "10.42.0.0/16", "192.0.2.12"), "no part of the cluster's"),
        (said("b", "10.42.0.128/25", "192.0.2.12"), "this node's own"),
        (said("b", "10.42.1.0/25", "192.0.2.12"), "belong to node a"),
        (said("b", "10.42.2.0/24", "192.0.2.11"), "is that of node a"),
        (said("b", "10.42.2.0/24", "192.0.2.10"), "this machine's own"),
        (said("b", "10.42.2.0/24", "192.0.2.99"), "this machine's own"),
        (said("b", "10.42.2.0/24", "10.42.7.7"), "pods or services"),
        (said("b", "10.42.2.0/24", "224.0.0.9"), "cannot be reached"),
    ] {
        let plan = plan(&config(), &underlay, &[good.clone(), liar]);
        assert_eq!(plan.modes.keys().collect::<Vec<_>>(), ["a"]);
        assert!(plan.problems.len() == 1 && plan.problems[0].contains(why), "{why}: {:?}", plan.problems);
        assert_eq!(plan.routes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.42.0.0/16", "10.42.1.0/24"]);
    }
    let foreign = HostNetwork { range: net("10.42.1.0/24"), behind: "eth9".into(), connected: false };
    underlay.networks.push(foreign);
    assert!(plan(&config(), &underlay, &[good]).problems[0].contains("of its own, by eth9"));
}

#[test]
fn the_second_family_goes_through_the_tunnel_also_where_the_first_has_a_wire() {
    let config = OverlayConfig { six: Some(six()), ..config() };
    let underlay = underlay(&[("192.0.2.11", 2, None), ("192.0.2.12", 2, None)]);
    let plan_of = |peers: &[Peer]| plan(&config, &underlay, peers);
    let found = plan_of(&[both(true, peer(1, "192.0.2.11")), peer(2, "192.0.2.12")]);
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.modes["n1"], Mode::Route);
    let six: Vec<(String, Path)> = found
        .routes
        .values()
        .filter(|route| matches!(route.to, IpNet::V6(_)))
        .map(|route| (route.to.to_string(), route.path))
        .collect();
    let gateway: IpAddr = "fd00:42:0:1::a2a:101".parse().unwrap();
    let expected = [("fd00:42::/48".to_owned(), Path::Nowhere), ("fd00:42:0:1::/64".into(), Path::Tunnel { gateway })];
    assert_eq!(six, expected);
    assert_eq!(found.neighbours, BTreeMap::from([(gateway, tunnel_mac("n1"))]));
    assert_eq!((found.mtu, found.device.unwrap().mtu), (1500, 1450), "the first family keeps the wire's packets");
    let stranger = Peer { pod_cidr6: Some("fd00:99::/64".parse().unwrap()), ..peer(1, "192.0.2.11") };
    let thief = Peer { pod_cidr6: Some(six_block(0)), ..peer(1, "192.0.2.11") };
    let twin = Peer { pod_cidr6: Some(six_block(1)), ..peer(2, "192.0.2.12") };
    for (peers, why) in [
        (vec![stranger], "no part of the cluster's"),
        (vec![thief], "another node's"),
        (vec![both(true, peer(1, "192.0.2.11")), twin], "another node's"),
    ] {
        let plan = plan_of(&peers);
        assert!(plan.problems.len() == 1 && plan.problems[0].contains(why), "{:?}", plan.problems);
        assert_eq!(plan.modes.len(), peers.len(), "the first family has its way all the same");
    }
}

fn six_block(third: u8) -> ipnet::Ipv6Net {
    format!("fd00:42:0:{third:x}::/64").parse().unwrap()
}

#[test]
fn without_an_address_there_are_no_tunnels() {
    let config = OverlayConfig { address: None, ..config() };
    let underlay = underlay(&[("192.0.2.11", 2, None)]);
    let plan = plan(&config, &underlay, &[peer(1, "192.0.2.11"), peer(2, "203.0.113.12")]);
    assert_eq!((plan.modes.len(), plan.device), (1, None));
    assert!(plan.problems[0].contains("address is not known yet"));
}

#[test]
fn hardware_addresses_are_local_and_stay_the_same() {
    assert_eq!(tunnel_mac("n1"), tunnel_mac("n1"));
    assert_ne!(tunnel_mac("n1"), tunnel_mac("n2"));
    assert_eq!(tunnel_mac("any")[0] & 0b11, 0b10, "unicast, locally administered");
}

/// The kernel, as far as steps go.
fn run(seen: &mut Seen, step: &Step) {
    let through_tunnel = |route: &Route| matches!(route.path, Path::Tunnel { .. });
    let nowhere = |route: &Route| route.path == Path::Nowhere;
    match step {
        Step::RemoveDevice => {
            assert!(seen.device.take().is_some());
            seen.routes.retain(|route| !through_tunnel(route));
            seen.neighbours.clear();
            seen.forwarding.clear();
        }
        Step::AddDevice(device) => {
            assert!(seen.device.is_none(), "two devices of one name");
            seen.device = Some(SeenDevice { device: Some(*device), up: true });
        }
        Step::AdjustDevice(device) => seen.device = Some(SeenDevice { device: Some(*device), up: true }),
        Step::SetNeighbour(address, mac) => {
            assert!(seen.device.is_some());
            seen.neighbours.insert(*address, *mac);
        }
        Step::SetForwarding(mac, host) => {
            assert!(seen.device.is_some());
            seen.forwarding.retain(|(has, _)| has != mac);
            seen.forwarding.insert((*mac, *host));
        }
        Step::AddRoute(route) => {
            assert!(!through_tunnel(route) || seen.device.is_some());
            let taken = seen.routes.iter().any(|has| has.to == route.to && nowhere(has) == nowhere(route));
            assert!(!taken, "the kernel says EEXIST to {route:?}");
            seen.routes.push(*route);
        }
        Step::ReplaceRoute(route) => {
            assert!(!through_tunnel(route) || seen.device.is_some());
            let before = seen.routes.len();
            seen.routes.retain(|has| !(has.to == route.to && nowhere(has) == nowhere(route)));
            assert!(seen.routes.len() < before, "nothing of ours is replaced by {route:?}");
            seen.routes.push(*route);
        }
        Step::RemoveRoute(route) => seen.routes.retain(|has| has != route),
        Step::RemoveForwarding(mac, host) => assert!(seen.forwarding.remove(&(*mac, *host))),
        Step::RemoveNeighbour(address) => assert!(seen.neighbours.remove(address).is_some()),
    }
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let mode = prop_oneof![Just(Wish::Route), Just(Wish::Vxlan), Just(Wish::Wireguard)];
    let peers = prop::collection::btree_map(1u8..7, (1u8..9, mode, any::<bool>()), 0..6);
    (peers, 10u8..12).prop_map(|(peers, own)| {
        let address = |last: u8| format!("192.0.2.{}", 100 + last);
        let peers: Vec<Peer> = peers
            .into_iter()
            .map(|(n, (host, wish, six))| Peer { wish, ..both(six, with_key(n, &address(host))) })
            .collect();
        let ways: Vec<String> = (1..9).map(address).collect();
        let ways: Vec<(&str, u32, Option<&str>)> = ways.iter().map(|way| (way.as_str(), 2, None)).collect();
        let config = OverlayConfig { address: Some(Ipv4Addr::new(192, 0, 2, own)), six: Some(six()), ..encrypting() };
        plan(&config, &underlay(&ways), &peers)
    })
}

/// A state that some plan left, with holes and remains.
fn any_state() -> impl Strategy<Value = Seen> {
    (any_plan(), any::<u16>(), any::<bool>(), any::<bool>()).prop_map(|(plan, holes, up, foreign)| {
        let keep = |n: usize| holes & (1 << (n % 16)) == 0;
        let device = plan.device.map(|device| SeenDevice { device: (!foreign).then_some(device), up });
        let mut seen = Seen { device, ..Seen::default() };
        let kept = plan.routes.values().enumerate().filter(|(n, _)| keep(*n));
        seen.routes = kept.map(|(_, route)| *route).collect();
        seen.neighbours =
            plan.neighbours.into_iter().enumerate().filter(|(n, _)| keep(n + 5)).map(|(_, e)| e).collect();
        seen.forwarding =
            plan.forwarding.into_iter().enumerate().filter(|(n, _)| keep(n + 9)).map(|(_, e)| e).collect();
        seen.routes.extend((holes % 3 == 0).then(|| Route::nowhere(net("10.42.3.0/24").into())));
        seen
    })
}

fn sorted(seen: &Seen) -> Seen {
    let mut seen = seen.clone();
    seen.routes.sort_by_key(|route| route.to);
    seen
}

proptest! {
    #[test]
    fn steps_lead_to_the_plan_wherever_one_fails(mut seen in any_state(), plan in any_plan(), fails in 0usize..40) {
        for (n, step) in steps(&plan, &seen).iter().enumerate() {
            if n == fails {
                break;
            }
            run(&mut seen, step);
        }
        for step in steps(&plan, &seen) {
            run(&mut seen, &step);
        }
        let wanted = Seen {
            device: plan.device.map(|device| SeenDevice { device: Some(device), up: true }),
            routes: plan.routes.values().copied().collect(),
            neighbours: plan.neighbours.clone(),
            forwarding: plan.forwarding.iter().map(|(mac, host)| (*mac, *host)).collect(),
        };
        prop_assert_eq!(sorted(&seen), wanted);
        prop_assert!(steps(&plan, &seen).is_empty());
        for step in steps(&Plan::default(), &seen) {
            run(&mut seen, &step);
        }
        prop_assert_eq!(seen, Seen::default());
    }

    #[test]
    fn both_ends_choose_the_same_way(a in 0usize..4, b in 0usize..4, on_wire in any::<bool>(), nat in any::<[bool; 2]>()) {
        let wishes = [Wish::Automatic, Wish::Route, Wish::Vxlan, Wish::Wireguard];
        let gateway = (!on_wire).then_some("192.0.2.1");
        let underlay = underlay(&[("192.0.2.11", 2, gateway)]);
        let choose = |own: usize, theirs: usize| {
            let mut config = OverlayConfig { wish: wishes[own].clone(), ..encrypting() };
            let mut peer = Peer { wish: wishes[theirs].clone(), ..with_key(1, "192.0.2.11") };
            // A door keeps both from being out of reach.
            let door = Some("203.0.113.1:51820".parse().unwrap());
            config.encryption.own.endpoint = door;
            peer.encryption.endpoint = door;
            config.encryption.own.behind_nat = nat[usize::from(own == a)];
            peer.encryption.behind_nat = nat[usize::from(theirs == a)];
            plan(&config, &underlay, &[peer]).modes["n1"]
        };
        prop_assert_eq!(choose(a, b), choose(b, a));
    }
}
