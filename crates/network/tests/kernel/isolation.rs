//! Networks: who shares one may talk.

use std::net::Ipv4Addr;

use naru_network::model::{Desired, Network};

use crate::Test;
use crate::world::{HOST, OUTSIDE, World, ask, service, who};

pub const TESTS: &[Test] = &[
    ("isolation::pods_talk_when_they_share_a_network_or_have_none", pods_talk_when_they_share_a_network_or_have_none),
    ("isolation::internal_networks_cannot_leave", internal_networks_cannot_leave),
    ("isolation::strangers_cannot_route_to_members", strangers_cannot_route_to_members),
];

fn networks(names: &[(&str, bool)]) -> Vec<Network> {
    names.iter().map(|(name, internal)| Network { name: (*name).into(), internal: *internal }).collect()
}

fn pods_talk_when_they_share_a_network_or_have_none(world: &mut World) {
    let mut front = world.pod_in("front", &["front"]);
    let mut both = world.pod_in("both", &["front", "back"]);
    let mut back = world.pod_in("back", &["back"]);
    let (mut flat1, mut flat2) = (world.pod("flat1"), world.pod("flat2"));
    for pod in [&mut front, &mut both, &mut back, &mut flat1, &mut flat2] {
        pod.serve(80);
    }
    let vip = Ipv4Addr::new(10, 43, 9, 9);
    world.apply(Desired {
        services: vec![service("both", vip, &[&both])],
        pods: [&front, &both, &back, &flat1, &flat2].map(|pod| pod.model()).to_vec(),
        networks: networks(&[("front", false), ("back", false)]),
        ..Desired::default()
    });
    let pods = [&front, &both, &back, &flat1, &flat2];
    let expected = |from: &str, to: &str| {
        from == to
            || from == "both" && to.len() < 5 + usize::from(to == "front")
            || to == "both" && !from.starts_with("flat")
            || from.starts_with("flat") && to.starts_with("flat")
    };
    for from in pods {
        for to in pods {
            let reached = from.reaches(to.address, 80);
            assert_eq!(reached, expected(&from.name, &to.name), "{} -> {}", from.name, to.name);
        }
        assert_eq!(from.reaches(vip, 80), expected(&from.name, "both"), "{} -> the service", from.name);
        assert_eq!(who(&ask((from.address, 80).into())), from.name, "the node always reaches its pods");
    }
}

fn internal_networks_cannot_leave(world: &mut World) {
    let mut inner = world.pod_in("inner", &["inner"]);
    let mut other = world.pod_in("other", &["inner", "outer"]);
    inner.serve(80);
    other.serve(80);
    world.serve_outside(7001);
    world.serve_host(7000);
    world.apply(Desired {
        pods: [&inner, &other].map(|pod| pod.model()).to_vec(),
        networks: networks(&[("inner", true), ("outer", false)]),
        ..Desired::default()
    });
    assert!(inner.reaches(other.address, 80) && other.reaches(inner.address, 80));
    assert!(!inner.reaches(OUTSIDE, 7001), "an internal network has a way out");
    assert!(other.reaches(OUTSIDE, 7001));
    assert!(inner.reaches(HOST, 7000), "the node itself is always reachable");
}

fn strangers_cannot_route_to_members(world: &mut World) {
    let mut member = world.pod_in("member", &["front"]);
    let mut flat = world.pod("flat");
    member.serve(80);
    flat.serve(80);
    world.outside.sh(&format!("ip route add 10.42.0.0/24 via {HOST}"));
    world.apply(Desired {
        pods: [&member, &flat].map(|pod| pod.model()).to_vec(),
        networks: networks(&[("front", false)]),
        ..Desired::default()
    });
    assert_eq!(who(&world.outside.ask((member.address, 80))), "nobody");
    assert_eq!(who(&world.outside.ask((flat.address, 80))), "flat");
    // Nobody outside may pretend to be a pod, nor ask the cluster's DNS.
    world.outside.sh("ip addr add 10.42.0.200/32 dev lo");
    let forged = world.outside.run(|| {
        let socket = std::net::UdpSocket::bind("10.42.0.200:0").unwrap();
        crate::world::ask_udp(&socket, (flat.address, 80).into())
    });
    assert_eq!(who(&forged), "nobody");
}
