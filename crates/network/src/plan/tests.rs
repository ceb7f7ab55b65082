//! Golden plans (reviewed as diffs) and the laws of deltas. That a delta leads to the same kernel state as a
//! replacement is held by `tests/kernel/deltas.rs`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::PodUid;
use crate::model::*;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 0, last)
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint { address: ip(last).into(), local: true, state: EndpointState::Ready }
}

fn pod(last: u8, networks: &[&str]) -> Pod {
    Pod {
        uid: PodUid::from(format!("uid-{last}")),
        address: ip(last),
        address6: None,
        local: true,
        networks: networks.iter().map(|name| (*name).to_owned()).collect(),
        host_ports: vec![],
    }
}

fn web(endpoints: &[u8]) -> Service {
    let backends = endpoints.iter().map(|last| Backend { endpoint: endpoint(*last), port: 8080 }).collect();
    Service {
        namespace: "shop".into(),
        name: "web".into(),
        cluster_ips: vec![Ipv4Addr::new(10, 43, 1, 1).into()],
        endpoints: endpoints.iter().map(|last| endpoint(*last)).collect(),
        ports: vec![ServicePort { protocol: Protocol::Tcp, port: 80, node_port: Some(30080), backends }],
        ..Service::default()
    }
}

fn desired(endpoints: &[u8]) -> Desired {
    let mut published = web(endpoints);
    published.name = "pub".into();
    published.cluster_ips = vec![Ipv4Addr::new(10, 43, 1, 2).into()];
    published.ports.clear();
    published.all_ports = true;
    published.published = vec![
        Published { host_ip: None, host_port: 8080, protocol: Protocol::Tcp, target_port: 80 },
        Published {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            host_port: 5353,
            protocol: Protocol::Udp,
            target_port: 53,
        },
    ];
    let rule = PolicyRule {
        peers: Peers::Of {
            pods: BTreeSet::from([ip(4).into()]),
            blocks: vec![IpBlock {
                cidr: "192.0.2.0/24".parse().unwrap(),
                except: vec!["192.0.2.64/26".parse().unwrap()],
            }],
        },
        ports: vec![
            PolicyPort::Range(Protocol::Tcp, 80..=80),
            PolicyPort::Range(Protocol::Tcp, 8000..=8010),
            PolicyPort::Named(Protocol::Udp, BTreeSet::from([(ip(2).into(), 53)])),
        ],
    };
    Desired {
        services: vec![web(endpoints), published],
        pods: vec![pod(2, &[]), pod(3, &["front"]), pod(4, &["back"]), pod(5, &["back", "front"])],
        networks: vec![
            Network { name: "front".into(), internal: false },
            Network { name: "back".into(), internal: true },
        ],
        policies: vec![Policy {
            namespace: "shop".into(),
            name: "web".into(),
            pods: BTreeSet::from([ip(2).into()]),
            ingress: Some(vec![rule]),
            egress: Some(vec![]),
        }],
        nodes: vec![PeerNode {
            gateway: Ipv4Addr::new(10, 42, 1, 1),
            gateway6: None,
            address: Ipv4Addr::new(192, 0, 2, 11),
            encrypted: false,
        }],
        tunnel: None,
    }
}

#[test]
fn the_whole_table() {
    let node = NodeConfig { guarded: vec!["eth0".into()], ..NodeConfig::default() };
    insta::assert_snapshot!("whole_table", compile(&node, &desired(&[2, 3])).replace());
}

fn both_families() -> NodeConfig {
    let six = Ipv6Config {
        pod_subnet: "fd00:42::/64".parse().unwrap(),
        cluster_cidr: "fd00:42::/48".parse().unwrap(),
        service_cidr: "fd00:43::/112".parse().unwrap(),
        gateway: "fd00:42::a2a:1".parse().unwrap(),
    };
    NodeConfig { guarded: vec!["eth0".into()], guarded6: vec!["eth1".into()], six: Some(six), ..NodeConfig::default() }
}

/// The same with a second address wherever there is a first.
fn doubled(mut desired: Desired) -> Desired {
    let six = |address: &IpAddr| -> IpAddr {
        let IpAddr::V4(address) = address else { panic!("{address}") };
        let [_, second, _, last] = address.octets();
        format!("fd00:{second}::{last:x}").parse().unwrap()
    };
    for service in &mut desired.services {
        service.cluster_ips.extend(service.cluster_ips.iter().map(six).collect::<Vec<_>>());
        let more = service.endpoints.iter().map(|e| Endpoint { address: six(&e.address), ..*e }).collect::<Vec<_>>();
        service.endpoints.extend(more);
        for port in &mut service.ports {
            let more = port.backends.iter().map(|backend| {
                let endpoint = Endpoint { address: six(&backend.endpoint.address), ..backend.endpoint };
                Backend { endpoint, ..*backend }
            });
            port.backends.extend(more.collect::<Vec<_>>());
        }
    }
    for pod in &mut desired.pods {
        let IpAddr::V6(address) = six(&pod.address.into()) else { panic!() };
        pod.address6 = Some(address);
    }
    for policy in &mut desired.policies {
        policy.pods.extend(policy.pods.iter().map(six).collect::<Vec<_>>());
        for rule in policy.ingress.iter_mut().flatten() {
            let Peers::Of { pods, blocks } = &mut rule.peers else { continue };
            pods.extend(pods.iter().map(six).collect::<Vec<_>>());
            let except = vec!["2001:db8:1::/48".parse().unwrap(), "2001:db8:1:2::/64".parse().unwrap()];
            blocks.push(IpBlock { cidr: "2001:db8::/32".parse().unwrap(), except });
            blocks.push(IpBlock { cidr: "::/0".parse().unwrap(), except: vec!["fd00::/8".parse().unwrap()] });
            for port in &mut rule.ports {
                let PolicyPort::Named(_, named) = port else { continue };
                named.extend(named.iter().map(|(address, port)| (six(address), *port)).collect::<Vec<_>>());
            }
        }
    }
    for node in &mut desired.nodes {
        node.gateway6 = Some("fd00:42:0:1::a2a:101".parse().unwrap());
    }
    desired
}

#[test]
fn the_whole_table_of_both_families() {
    insta::assert_snapshot!("whole_table_both", compile(&both_families(), &doubled(desired(&[2, 3]))).replace());
}

#[test]
fn what_is_known_of_the_second_family_changes_nothing_where_it_is_not_used() {
    let node = NodeConfig { guarded: vec!["eth0".into()], ..NodeConfig::default() };
    let mut known = doubled(desired(&[2, 3]));
    for rule in known.policies.iter_mut().flat_map(|policy| policy.ingress.iter_mut().flatten()) {
        let Peers::Of { blocks, .. } = &mut rule.peers else { continue };
        blocks.truncate(1);
    }
    assert_eq!(compile(&node, &known), compile(&node, &desired(&[2, 3])));
}

#[test]
fn ranges_of_one_family_admit_nobody_of_the_other() {
    let mut state = doubled(desired(&[2, 3]));
    state.services.truncate(1);
    state.services[0].load_balancer = true;
    state.services[0].source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    let text = compile(&both_families(), &state).replace();
    let map = |name: &str| text.lines().find(|line| line.contains(&format!("map {name} "))).unwrap().to_owned();
    assert!(map("host_ports").contains("tcp . 80 : goto from_"), "{text}");
    assert!(!map("host_ports6").contains("tcp . 80 :") && map("host_ports6").contains("tcp . 30080 :"), "{text}");
}

#[test]
fn a_range_that_others_route_here_keeps_its_addresses() {
    let masked = |range: &str| {
        let mut node = both_families();
        let six = node.six.as_mut().unwrap();
        (six.cluster_cidr, six.pod_subnet) =
            (format!("{range}/48").parse().unwrap(), format!("{range}/64").parse().unwrap());
        compile(&node, &Desired::default()).replace().contains(&format!("ip6 saddr {range}/64 masquerade"))
    };
    assert_eq!((masked("fd00:42::"), masked("2001:db8::")), (true, false));
}

#[test]
fn an_endpoint_that_leaves_changes_chains_of_its_service_alone() {
    let node = NodeConfig::default();
    let (before, after) = (compile(&node, &desired(&[2, 3])), compile(&node, &desired(&[3])));
    insta::assert_snapshot!("endpoint_leaves", before.delta(&after).script());
}

#[test]
fn a_service_that_loses_its_last_endpoint_is_taken_out() {
    let node = NodeConfig::default();
    let (before, after) = (compile(&node, &desired(&[3])), compile(&node, &desired(&[])));
    insta::assert_snapshot!("last_endpoint_leaves", before.delta(&after).script());
}

#[test]
fn a_pod_that_comes_changes_elements_alone() {
    let node = NodeConfig::default();
    let mut next = desired(&[2, 3]);
    next.pods.push(pod(6, &["front"]));
    let delta = compile(&node, &desired(&[2, 3])).delta(&compile(&node, &next)).script();
    assert!(delta.lines().all(|line| line.starts_with("add element")), "{delta}");
    assert_eq!(delta.lines().count(), 4, "{delta}");
}

#[test]
fn affinity_moves_only_the_clients_of_who_left() {
    let node = NodeConfig::default();
    let slots = |endpoints: &[u8]| {
        let mut service = web(endpoints);
        service.affinity = true;
        let table = compile(&node, &Desired { services: vec![service], ..Desired::default() }).replace();
        let rule = table.lines().find(|line| line.contains("jhash")).unwrap().to_owned();
        let map = rule.rsplit_once('{').unwrap().1.trim_end_matches([' ', '}']).to_owned();
        map.split(", ").map(|slot| slot.split_once(" : ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let (three, two) = (slots(&[2, 3, 4]), slots(&[2, 3]));
    assert_eq!(three.len(), 256);
    for (before, after) in three.iter().zip(&two) {
        if !before.starts_with("10.42.0.4 ") {
            assert_eq!(before, after);
        }
    }
    let share = three.iter().filter(|slot| slot.starts_with("10.42.0.4 ")).count();
    assert!((60..=110).contains(&share), "{share} of 256");
}

#[test]
fn overlapping_ports_and_blocks_are_joined() {
    let node = NodeConfig::default();
    let mut state = desired(&[2]);
    let rule = &mut state.policies[0].ingress.as_mut().unwrap()[0];
    rule.ports =
        [80..=90, 85..=100, 101..=101, 300..=300, 0..=65535].map(|r| PolicyPort::Range(Protocol::Tcp, r)).to_vec();
    let Peers::Of { blocks, .. } = &mut rule.peers else { panic!() };
    blocks[0].except = ["192.0.2.0/28", "192.0.2.0/26", "192.0.2.4/32"].map(|cidr| cidr.parse().unwrap()).to_vec();
    let table = compile(&node, &state).replace();
    assert!(table.contains("th dport { 0-65535 }"), "{table}");
    assert!(table.contains("ip saddr != { 192.0.2.0/26 }"), "{table}");
}

#[test]
fn flows_to_the_gone_are_named() {
    let mut before = desired(&[2, 3]);
    before.services[0].ports[0].protocol = Protocol::Udp;
    let mut after = before.clone();
    after.pods.retain(|pod| pod.address != ip(3));
    after.services[0].ports[0].backends.retain(|backend| backend.endpoint.address != IpAddr::V4(ip(3)));
    after.services[1].endpoints.clear();
    let found = stale(&before, &after);
    let expected = BTreeSet::from([
        Stale::Address(ip(3).into()),
        Stale::UdpEndpoint(ip(2).into(), 0),
        Stale::UdpEndpoint(ip(2).into(), 53),
    ]);
    assert_eq!(found, expected);
    assert!(stale(&after, &after).is_empty());
    assert!(stale(&Desired::default(), &before).contains(&Stale::UdpHostPort(5353)));
}

#[test]
fn unanswered_connections_to_endpoints_that_left_are_named() {
    let before = desired(&[2, 3]);
    let mut after = before.clone();
    let lost = &mut after.services[0].ports[0].backends.iter_mut().find(|b| b.endpoint.address == IpAddr::V4(ip(3)));
    lost.as_mut().unwrap().endpoint.state = EndpointState::Draining;
    after.services[0].endpoints.retain(|endpoint| endpoint.address != IpAddr::V4(ip(3)));
    after.services[0].ports.truncate(1);
    assert_eq!(unanswered(&before, &after), BTreeSet::from([Stale::Unanswered(ip(3).into())]));
    assert!(unanswered(&before, &before).is_empty() && unanswered(&after, &before).is_empty());
    assert!(unanswered(&before, &Desired::default()).contains(&Stale::Unanswered(ip(2).into())), "the service is gone");
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let endpoints = prop::collection::btree_set(2u8..8, 0..5);
    let pods = prop::collection::btree_map(2u8..12, prop::collection::btree_set("[a-c]", 0..3), 0..8);
    (endpoints, pods, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(endpoints, pods, local, sticky, policed)| {
            let mut state = desired(&Vec::from_iter(endpoints));
            state.services[0].external_local = local;
            state.services[0].affinity = sticky;
            if !policed {
                state.policies.clear();
            }
            state.pods = pods
                .iter()
                .map(|(last, networks)| pod(*last, &networks.iter().map(String::as_str).collect::<Vec<_>>()))
                .collect();
            state
        },
    )
}

proptest! {
    /// No change is no command; every command names our table; the way there and back names the same chains.
    #[test]
    fn deltas_are_exact(a in any_desired(), b in any_desired()) {
        let node = both_families();
        let (a, b) = (compile(&node, &doubled(a)), compile(&node, &b));
        prop_assert!(a.delta(&a).is_empty());
        let (there, back) = (a.delta(&b).script(), b.delta(&a).script());
        prop_assert!(there.lines().all(|line| line.contains(" inet naru ")));
        prop_assert_eq!(there.is_empty(), a == b);
        let count = |script: &str, verb: &str| script.lines().filter(|line| line.starts_with(verb)).count();
        prop_assert_eq!(count(&there, "add chain"), count(&back, "delete chain"));
        prop_assert_eq!(count(&there, "add set"), count(&back, "delete set"));
    }
}
