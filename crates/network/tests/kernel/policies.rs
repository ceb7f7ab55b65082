//! NetworkPolicy in the kernel.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::Ipv4Addr;

use naru_network::model::{Desired, IpBlock, Network, Peers, Policy, PolicyPort, PolicyRule, Protocol, Published};

use crate::Test;
use crate::world::{HOST, OUTSIDE, TestPod, World, ask, service, who};

pub const TESTS: &[Test] = &[
    ("policies::deny_all_denies_and_the_node_still_probes", deny_all_denies_and_the_node_still_probes),
    ("policies::allowances_add_up", allowances_add_up),
    ("policies::egress_and_ingress_must_both_allow", egress_and_ingress_must_both_allow),
    ("policies::blocks_have_holes", blocks_have_holes),
    ("policies::policies_do_not_open_networks", policies_do_not_open_networks),
    ("policies::established_connections_survive_a_pods_reply", established_connections_survive_a_pods_reply),
];

fn policy(name: &str, pods: &[&TestPod]) -> Policy {
    Policy {
        namespace: "shop".into(),
        name: name.into(),
        pods: pods.iter().map(|pod| pod.address.into()).collect(),
        ingress: None,
        egress: None,
    }
}

fn pods(pods: &[&TestPod]) -> Peers {
    Peers::Of { pods: pods.iter().map(|pod| pod.address.into()).collect(), blocks: Vec::new() }
}

fn tcp(from: u16, to: u16) -> PolicyPort {
    PolicyPort::Range(Protocol::Tcp, from..=to)
}

fn models(pods: &[&TestPod]) -> Vec<naru_network::model::Pod> {
    pods.iter().map(|pod| pod.model()).collect()
}

fn deny_all_denies_and_the_node_still_probes(world: &mut World) {
    let (mut web, mut other) = (world.pod("web"), world.pod("other"));
    web.serve(80);
    other.serve(80);
    let deny = Policy { ingress: Some(vec![]), egress: Some(vec![]), ..policy("deny", &[&web]) };
    world.apply(Desired { pods: models(&[&web, &other]), policies: vec![deny], ..Desired::default() });
    assert!(!other.reaches(web.address, 80), "ingress is denied");
    assert!(!web.reaches(other.address, 80), "egress is denied");
    assert_eq!(other.netns.ask((web.address, 80)), Err(ErrorKind::HostUnreachable), "a pod is told at once");
    assert_eq!(who(&ask((web.address, 80).into())), "web", "the node's probes arrive");
    world.apply(Desired { pods: models(&[&web, &other]), ..Desired::default() });
    assert!(other.reaches(web.address, 80) && web.reaches(other.address, 80), "and it ends with the policy");
}

fn allowances_add_up(world: &mut World) {
    let (mut web, good, bad) = (world.pod("web"), world.pod("good"), world.pod("bad"));
    for port in [80, 81, 8005, 9000] {
        web.serve(port);
    }
    let rule = |peers, ports| PolicyRule { peers, ports };
    let named = BTreeSet::from([(web.address.into(), 9000)]);
    let policies = vec![
        Policy { ingress: Some(vec![]), ..policy("deny", &[&web]) },
        Policy {
            ingress: Some(vec![rule(pods(&[&good]), vec![tcp(80, 80), tcp(8000, 8010), tcp(8005, 8020)])]),
            ..policy("some", &[&web])
        },
        Policy {
            ingress: Some(vec![rule(Peers::Any, vec![PolicyPort::Named(Protocol::Tcp, named)])]),
            ..policy("named", &[&web])
        },
    ];
    world.apply(Desired { pods: models(&[&web, &good, &bad]), policies, ..Desired::default() });
    for (client, port, allowed) in [
        (&good, 80, true),
        (&good, 81, false),
        (&good, 8005, true),
        (&good, 9000, true),
        (&bad, 80, false),
        (&bad, 8005, false),
        (&bad, 9000, true),
    ] {
        assert_eq!(client.reaches(web.address, port), allowed, "{} -> {port}", client.name);
    }
    assert_eq!(who(&good.netns.ask_udp((web.address, 80))), "nobody", "UDP was not allowed");
}

fn egress_and_ingress_must_both_allow(world: &mut World) {
    let (mut a, mut b, client) = (world.pod("a"), world.pod("b"), world.pod("client"));
    a.serve(80);
    b.serve(80);
    let rule = |peers| PolicyRule { peers, ports: vec![] };
    let policies = vec![
        Policy { egress: Some(vec![rule(pods(&[&a, &b]))]), ..policy("out", &[&client]) },
        Policy { ingress: Some(vec![rule(pods(&[&client]))]), ..policy("a-in", &[&a]) },
        Policy { ingress: Some(vec![]), ..policy("b-in", &[&b]) },
    ];
    let vip = Ipv4Addr::new(10, 43, 1, 1);
    world.apply(Desired {
        services: vec![service("a", vip, &[&a])],
        pods: models(&[&a, &b, &client]),
        policies,
        ..Desired::default()
    });
    assert!(client.reaches(a.address, 80));
    assert!(client.reaches(vip, 80), "policies speak of pods, not of virtual addresses");
    assert!(!client.reaches(b.address, 80), "the other end must allow it too");
    assert!(!b.reaches(a.address, 80), "only the client is allowed in");
}

fn blocks_have_holes(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    world.serve_outside(7001);
    let block = |cidr: &str, except: &[&str]| Peers::Of {
        pods: BTreeSet::new(),
        blocks: vec![IpBlock {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        }],
    };
    let apply = |world: &mut World, peers: Peers| {
        let rule = PolicyRule { peers, ports: vec![] };
        let both = Policy { ingress: Some(vec![rule.clone()]), egress: Some(vec![rule]), ..policy("block", &[&web]) };
        let published = Published { host_ip: None, host_port: 8080, protocol: Protocol::Tcp, target_port: 80 };
        let mut service = service("web", Ipv4Addr::new(10, 43, 1, 2), &[&web]);
        service.published = vec![published];
        world.apply(Desired {
            services: vec![service],
            pods: models(&[&web]),
            policies: vec![both],
            ..Desired::default()
        });
        (who(&world.outside.ask((HOST, 8080))) == "web", web.reaches(OUTSIDE, 7001))
    };
    assert_eq!(apply(world, block("0.0.0.0/0", &[])), (true, true));
    assert_eq!(apply(world, block("198.51.100.0/24", &[])), (true, true), "published clients keep their address");
    assert_eq!(apply(world, block("0.0.0.0/0", &["198.51.100.0/24", "198.51.100.0/28"])), (false, false));
    assert_eq!(apply(world, block("198.51.100.0/24", &["198.51.100.64/26"])), (true, true));
    assert_eq!(apply(world, block("192.0.2.0/24", &[])), (false, false));
}

fn policies_do_not_open_networks(world: &mut World) {
    let (mut web, stranger) = (world.pod_in("web", &["front"]), world.pod_in("stranger", &["other"]));
    web.serve(80);
    let open = PolicyRule { peers: Peers::Any, ports: vec![] };
    let policies = vec![Policy { ingress: Some(vec![open]), ..policy("open", &[&web]) }];
    let networks = ["front", "other"].map(|name| Network { name: name.into(), internal: false }).to_vec();
    world.apply(Desired { pods: models(&[&web, &stranger]), policies, networks, ..Desired::default() });
    assert!(!stranger.reaches(web.address, 80));
}

fn established_connections_survive_a_pods_reply(world: &mut World) {
    let (mut web, client) = (world.pod("web"), world.pod("client"));
    web.serve(80);
    // The client may not be reached at all: the answer to its own question must still arrive.
    let closed = Policy { ingress: Some(vec![]), ..policy("closed", &[&client]) };
    world.apply(Desired { pods: models(&[&web, &client]), policies: vec![closed], ..Desired::default() });
    assert!(client.reaches(web.address, 80));
    assert_eq!(who(&client.netns.ask_udp((web.address, 80))), "web");
}
