//! The law of deltas, in the kernel: whatever way led to a state, the table is the one a replacement makes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use naru_network::PodUid;
use naru_network::model::*;

use crate::Test;
use crate::world::{Netns, World, sh};

pub const TESTS: &[Test] = &[("deltas::any_way_to_a_state_leads_to_the_same_table", any_way_leads_to_the_same_table)];

/// A small generator of its own: the same states in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn some<T: Clone>(&mut self, all: &[T]) -> Vec<T> {
        all.iter().filter(|_| self.below(2) == 0).cloned().collect()
    }
}

fn state(dice: &mut Dice) -> Desired {
    let address = |last: u64| Ipv4Addr::new(10, 42, 0, last as u8);
    let six = |last: u64| Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0x0a2a, last as u16);
    let both = |last: u64| [IpAddr::V4(address(last)), IpAddr::V6(six(last))];
    let addresses: Vec<u64> = dice.some(&(2..14).collect::<Vec<_>>());
    let networks = ["a", "b", "c"];
    let pods = addresses.iter().map(|last| Pod {
        uid: PodUid::from(format!("uid-{last}")),
        address: address(*last),
        address6: (last % 3 > 0).then(|| six(*last)),
        local: true,
        networks: dice.some(&networks).into_iter().map(str::to_owned).collect(),
        host_ports: Vec::new(),
    });
    let pods: Vec<Pod> = pods.collect();
    let endpoints =
        |last: &u64| both(*last).map(|address| Endpoint { address, local: true, state: EndpointState::Ready });
    let services = (0..6)
        .filter(|_| dice.below(4) > 0)
        .collect::<Vec<u8>>()
        .into_iter()
        .map(|n| {
            let chosen = dice.some(&addresses);
            let backends = chosen.iter().flat_map(endpoints).map(|endpoint| Backend { endpoint, port: 80 }).collect();
            Service {
                namespace: "shop".into(),
                name: format!("s{n}"),
                cluster_ips: vec![
                    Ipv4Addr::new(10, 43, 1, n).into(),
                    Ipv6Addr::new(0xfd00, 0x43, 0, 0, 0, 0, 0, n.into()).into(),
                ],
                external_ips: dice.some(&[Ipv4Addr::new(203, 0, 113, n).into(), Ipv6Addr::LOCALHOST.into()]),
                endpoints: chosen.iter().flat_map(endpoints).collect(),
                all_ports: dice.below(2) == 0,
                affinity: dice.below(3) == 0,
                ports: vec![ServicePort {
                    protocol: Protocol::Tcp,
                    port: 80,
                    node_port: (dice.below(2) == 0).then_some(30000 + u16::from(n)),
                    backends,
                }],
                published: dice.some(&[Published {
                    host_ip: None,
                    host_port: 8000 + u16::from(n),
                    protocol: Protocol::Udp,
                    target_port: 53,
                }]),
                ..Service::default()
            }
        })
        .collect();
    let policies = (0..3)
        .map(|n| {
            let peers = Peers::Of {
                pods: dice.some(&addresses).into_iter().flat_map(both).collect(),
                blocks: dice.some(&[
                    IpBlock { cidr: "192.0.2.0/24".parse().unwrap(), except: vec!["192.0.2.0/28".parse().unwrap()] },
                    IpBlock {
                        cidr: "2001:db8::/32".parse().unwrap(),
                        except: vec!["2001:db8:1::/48".parse().unwrap()],
                    },
                ]),
            };
            let ports = dice.some(&[
                PolicyPort::Range(Protocol::Tcp, 80..=90),
                PolicyPort::All(Protocol::Udp),
                PolicyPort::Named(
                    Protocol::Tcp,
                    addresses.iter().flat_map(|last| both(*last)).map(|address| (address, 80)).collect(),
                ),
            ]);
            Policy {
                namespace: "shop".into(),
                name: format!("p{n}"),
                pods: dice.some(&addresses).into_iter().flat_map(both).collect::<BTreeSet<_>>(),
                ingress: Some(vec![PolicyRule { peers, ports }]),
                egress: (dice.below(2) == 0).then(Vec::new),
            }
        })
        .collect();
    let networks = networks.map(|name| Network { name: name.into(), internal: name == "c" }).to_vec();
    let nodes = (1..4).map(|n| PeerNode {
        gateway: Ipv4Addr::new(10, 42, n, 1),
        gateway6: Some(Ipv6Addr::new(0xfd00, 0x42, 0, n.into(), 0, 0, 0, 1)),
        address: Ipv4Addr::new(192, 0, 2, n + dice.below(2) as u8),
        encrypted: false,
    });
    let nodes: Vec<PeerNode> = nodes.collect();
    let nodes = dice.some(&nodes);
    Desired { services, pods, networks, policies, nodes, tunnel: None }
}

/// The kernel's table as a sorted list of lines: sets print their elements in the order of insertion.
fn listing(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .replace([',', '{', '}'], "\n")
        .lines()
        .map(|line| {
            line.split_whitespace().filter(|word| *word != "elements" && *word != "=").collect::<Vec<_>>().join(" ")
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

fn any_way_leads_to_the_same_table(world: &mut World) {
    let mut dice = Dice(7);
    world.node.six = Some(crate::world::second_family());
    let fresh = Netns::new();
    for step in 0..25 {
        let desired = state(&mut dice);
        let table = naru_network::plan::compile(&world.node, &desired);
        world.apply(desired);
        let by_deltas = sh("nft list table inet naru");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), table.replace()).unwrap();
        let replaced = fresh.sh(&format!("nft -f {}; nft list table inet naru", file.path().display()));
        let (left, right) = (listing(&by_deltas), listing(&replaced));
        let only = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
        assert!(
            left == right,
            "step {step}: only by deltas {:?}, only replaced {:?}",
            only(&left, &right),
            only(&right, &left)
        );
    }
}
