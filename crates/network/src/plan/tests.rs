//! Golden plans (reviewed as diffs) and the laws of deltas. That a delta leads to the same kernel state as a
//! replacement is held by `tests/kernel/deltas.rs`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::PodUid;
use crate::model::*;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 0, last)
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint { address: ip(last), local: true, state: EndpointState::Ready }
}

fn pod(last: u8, networks: &[&str]) -> Pod {
    Pod {
        uid: PodUid::from(format!("uid-{last}")),
        address: ip(last),
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
        cluster_ips: vec![Ipv4Addr::new(10, 43, 1, 1)],
        endpoints: endpoints.iter().map(|last| endpoint(*last)).collect(),
        ports: vec![ServicePort { protocol: Protocol::Tcp, port: 80, node_port: Some(30080), backends }],
        ..Service::default()
    }
}

fn desired(endpoints: &[u8]) -> Desired {
    let mut published = web(endpoints);
    published.name = "pub".into();
    published.cluster_ips = vec![Ipv4Addr::new(10, 43, 1, 2)];
    published.ports.clear();
    published.all_ports = true;
    published.published = vec![
        Published { host_ip: None, host_port: 8080, protocol: Protocol::Tcp, target_port: 80 },
        Published { host_ip: Some(Ipv4Addr::LOCALHOST), host_port: 5353, protocol: Protocol::Udp, target_port: 53 },
    ];
    let rule = PolicyRule {
        peers: Peers::Of {
            pods: BTreeSet::from([ip(4)]),
            blocks: vec![IpBlock {
                cidr: "192.0.2.0/24".parse().unwrap(),
                except: vec!["192.0.2.64/26".parse().unwrap()],
            }],
        },
        ports: vec![
            PolicyPort::Range(Protocol::Tcp, 80..=80),
            PolicyPort::Range(Protocol::Tcp, 8000..=8010),
            PolicyPort::Named(Protocol::Udp, BTreeSet::from([(ip(2), 53)])),
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
            pods: BTreeSet::from([ip(2)]),
            ingress: Some(vec![rule]),
            egress: Some(vec![]),
        }],
        nodes: vec![PeerNode { gateway: Ipv4Addr::new(10, 42, 1, 1), address: Ipv4Addr::new(192, 0, 2, 11) }],
    }
}

#[test]
fn the_whole_table() {
    let node = NodeConfig { guarded: vec!["eth0".into()], ..NodeConfig::default() };
    insta::assert_snapshot!("whole_table", compile(&node, &desired(&[2, 3])).replace());
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
    after.services[0].ports[0].backends.retain(|backend| backend.endpoint.address != ip(3));
    after.services[1].endpoints.clear();
    let found = stale(&before, &after);
    let expected = BTreeSet::from([Stale::Address(ip(3)), Stale::UdpEndpoint(ip(2), 0), Stale::UdpEndpoint(ip(2), 53)]);
    assert_eq!(found, expected);
    assert!(stale(&after, &after).is_empty());
    assert!(stale(&Desired::default(), &before).contains(&Stale::UdpHostPort(5353)));
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
        let node = NodeConfig::default();
        let (a, b) = (compile(&node, &a), compile(&node, &b));
        prop_assert!(a.delta(&a).is_empty());
        let (there, back) = (a.delta(&b).script(), b.delta(&a).script());
        prop_assert!(there.lines().all(|line| line.contains(" inet naru ")));
        prop_assert_eq!(there.is_empty(), a == b);
        let count = |script: &str, verb: &str| script.lines().filter(|line| line.starts_with(verb)).count();
        prop_assert_eq!(count(&there, "add chain"), count(&back, "delete chain"));
        prop_assert_eq!(count(&there, "add set"), count(&back, "delete set"));
    }
}
