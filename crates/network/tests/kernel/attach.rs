//! Links: attaching, attaching again, detaching, leaving nothing.

use std::net::Ipv4Addr;

use naru_network::{Links, PodAddress, PodAttach};

use crate::Test;
use crate::world::{Netns, OUTSIDE, World, eventually, seen_as, sh, who};

pub const TESTS: &[Test] = &[
    ("attach::pods_reach_one_another_the_host_and_the_world", pods_reach_one_another_the_host_and_the_world),
    ("attach::attaching_twice_is_attaching_once", attaching_twice_is_attaching_once),
    ("attach::a_link_of_a_gone_namespace_is_replaced", a_link_of_a_gone_namespace_is_replaced),
    ("attach::detach_and_uninstall_leave_nothing", detach_and_uninstall_leave_nothing),
    ("attach::a_pod_cannot_speak_for_another", a_pod_cannot_speak_for_another),
];

fn pods_reach_one_another_the_host_and_the_world(world: &mut World) {
    let (mut a, b) = (world.pod("a"), world.pod("b"));
    a.serve(80);
    world.serve_host(7000);
    world.serve_outside(7001);
    world.apply(Default::default());
    let answer = b.netns.ask((a.address, 80));
    assert_eq!((who(&answer), seen_as(&answer)), ("a", b.address.into()), "pods see each other's addresses");
    let answer = b.netns.ask((world.node.gateway, 7000));
    assert_eq!((who(&answer), seen_as(&answer)), ("host", b.address.into()));
    let answer = b.netns.ask((OUTSIDE, 7001));
    assert_eq!((who(&answer), seen_as(&answer)), ("outside", crate::world::HOST.into()), "masqueraded outside");
    let nobody = b.netns.ask((Ipv4Addr::new(10, 42, 0, 99), 80)).unwrap_err();
    assert_eq!(nobody, std::io::ErrorKind::HostUnreachable, "nobody's address is refused at once");
    assert!(sh("ip -br link").contains("naru"));
    let host = crate::world::ask((a.address, 80).into());
    assert_eq!((who(&host), seen_as(&host)), ("a", world.node.gateway.into()), "the host has one address for pods");
}

fn attaching_twice_is_attaching_once(world: &mut World) {
    let mut pod = world.pod("a");
    pod.serve(80);
    let again = PodAttach {
        uid: pod.uid.clone(),
        netns: pod.netns.path(),
        address: PodAddress { v4: pod.address, v6: None },
        mtu: None,
    };
    world.links.attach(&again).unwrap();
    assert_eq!(Links::list().unwrap().len(), 1);
    assert_eq!(Links::list().unwrap()[0].pod.as_ref(), Some(&pod.uid));
    assert_eq!(who(&crate::world::ask((pod.address, 80).into())), "a");
}

fn a_link_of_a_gone_namespace_is_replaced(world: &mut World) {
    let pod = world.pod("a");
    let fresh = Netns::new();
    let attach = PodAttach {
        uid: pod.uid.clone(),
        netns: fresh.path(),
        address: PodAddress { v4: pod.address, v6: None },
        mtu: Some(1400),
    };
    world.links.attach(&attach).unwrap();
    assert_eq!(Links::list().unwrap().len(), 1);
    let inside = fresh.sh("ip -4 addr show dev eth0");
    assert!(inside.contains(&format!("{}/32", pod.address)) && inside.contains("mtu 1400"), "{inside}");
}

fn detach_and_uninstall_leave_nothing(world: &mut World) {
    let pods: Vec<_> = (0..4).map(|n| world.pod(&format!("p{n}"))).collect();
    world.links.detach(&pods[0].uid);
    eventually("the link goes away in the background", || Links::list().unwrap().len() == 3);
    world.links.detach_now(&pods[1].uid).unwrap();
    world.links.detach_now(&pods[1].uid).unwrap();
    assert_eq!(Links::list().unwrap().len(), 2);
    world.apply(Default::default());
    Links::uninstall(world.node.pod_subnet, None).unwrap();
    world.block_on(naru_network::remove_table()).unwrap();
    world.block_on(naru_network::remove_table()).unwrap();
    assert!(!sh("ip link").contains("naru"));
    assert!(!sh("ip route show table all").contains("proto 110"));
    assert_eq!(sh("nft list tables"), "");
}

fn a_pod_cannot_speak_for_another(world: &mut World) {
    let (mut victim, liar) = (world.pod("victim"), world.pod("liar"));
    victim.serve(80);
    world.apply(Default::default());
    let other = Ipv4Addr::new(10, 42, 0, 200);
    liar.netns.sh(&format!("ip addr add {other}/32 dev lo"));
    assert!(liar.reaches(victim.address, 80));
    let forged = liar.netns.run(|| {
        let socket = std::net::UdpSocket::bind((other, 0)).unwrap();
        crate::world::ask_udp(&socket, (victim.address, 80).into())
    });
    assert_eq!(who(&forged), "nobody", "a foreign source address passed");
    // The host's loopback services are not a pod's to reach, although the link may carry loopback addresses.
    world.serve_host(7000);
    liar.netns.sh(
        "ip route add 127.0.0.77/32 via 169.254.1.1 dev eth0 table 100; ip rule add to 127.0.0.77 table 100 pref 0; \
                   echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet",
    );
    assert_eq!(who(&liar.netns.ask((Ipv4Addr::new(127, 0, 0, 77), 7000))), "nobody");
}
