//! Services, published ports, networks, policies and guards over several machines.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};

use naru_network::firewall;
use naru_network::model::{Desired, Network, Peers, Policy, PolicyPort, PolicyRule, Protocol, Published, Service};
use naru_network::peers::{ClusterNetwork, tunnel_mac};

use crate::Test;
use crate::machines::{Cluster, STRANGER};
use crate::world::{TestPod, World, eventually, seen_as, service, who};

pub const TESTS: &[Test] = &[
    ("overlay::services_lead_to_pods_of_every_machine", services_lead_to_pods_of_every_machine),
    ("overlay::ports_answer_on_every_machine", ports_answer_on_every_machine),
    ("overlay::local_ports_keep_the_client_and_answer_nowhere_else", local_ports_keep_the_client),
    ("overlay::affinity_is_the_same_on_every_machine", affinity_is_the_same_on_every_machine),
    ("overlay::networks_and_policies_hold_between_machines", networks_and_policies_hold_between_machines),
    ("overlay::published_ports_pass_networks_between_machines", published_ports_pass_networks_between_machines),
    ("overlay::nobody_can_pretend_to_be_elsewhere", nobody_can_pretend_to_be_elsewhere),
    ("overlay::other_firewalls_let_other_machines_pass", other_firewalls_let_other_machines_pass),
];

const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 5, 5);

fn models(pods: &[&TestPod]) -> Vec<naru_network::model::Pod> {
    pods.iter().map(|pod| pod.model()).collect()
}

/// A cluster with a pod that serves on its second and third machine.
fn with_web() -> (Cluster, [TestPod; 2]) {
    let mut cluster = Cluster::new();
    cluster.converge();
    let [_, second, third] = cluster.machines.each_mut();
    let mut pods = [second.pod("w2"), third.pod("w3")];
    pods.iter_mut().for_each(|pod| pod.serve(80));
    (cluster, pods)
}

fn published() -> Vec<Published> {
    let port = |host_ip, host_port, protocol| Published { host_ip, host_port, protocol, target_port: 80 };
    vec![
        port(None, 8080, Protocol::Tcp),
        port(None, 8080, Protocol::Udp),
        port(Some(Ipv4Addr::LOCALHOST.into()), 8081, Protocol::Tcp),
    ]
}

fn services_lead_to_pods_of_every_machine(_: &mut World) {
    let (mut cluster, web) = with_web();
    let client = cluster.machines[0].pod("client");
    cluster.apply(&Desired {
        services: vec![service("web", VIP, &web.each_ref())],
        pods: models(&[&web[0], &web[1], &client]),
        ..Desired::default()
    });
    let mut met = BTreeSet::new();
    for _ in 0..24 {
        let answer = client.netns.reach((VIP, 80));
        assert_eq!(seen_as(&answer), client.address, "pods keep their addresses through services");
        met.insert(who(&answer).to_owned());
        let host = cluster.machines[0].netns.reach((VIP, 80));
        assert_eq!(seen_as(&host), cluster.machines[0].node.gateway);
    }
    assert_eq!(Vec::from_iter(met), ["w2", "w3"]);
    assert_eq!(seen_as(&client.netns.reach_udp((VIP, 80))), client.address);
    // Whoever routes service addresses here is answered through here.
    cluster.stranger.sh(&format!("ip route add {VIP} via {}", cluster.machines[0].address));
    let routed = cluster.stranger.reach((VIP, 80));
    assert_eq!(seen_as(&routed), cluster.machines[0].node.gateway);
    // A pod that meets itself, or a neighbour, or another machine's pod.
    let met: BTreeSet<String> = (0..24).map(|_| who(&web[0].netns.reach((VIP, 80))).to_owned()).collect();
    assert_eq!(Vec::from_iter(met), ["w2", "w3"]);
}

fn ports_answer_on_every_machine(_: &mut World) {
    for on in 0..2 {
        let (mut cluster, web) = with_web();
        let client = cluster.machines[0].pod("client");
        let mut exposed = service("web", VIP, &[&web[on]]);
        exposed.ports[0].node_port = Some(30080);
        exposed.published = published();
        cluster.apply(&Desired {
            services: vec![exposed],
            pods: models(&[&web[0], &web[1], &client]),
            ..Desired::default()
        });
        for machine in &cluster.machines {
            let local = machine.node.pod_subnet.contains(&web[on].address);
            for port in [8080, 30080] {
                let what = format!("{} on {port}, answered by {}", machine.name, web[on].name);
                let answer = cluster.stranger.reach((machine.address, port));
                let seen = if local { STRANGER } else { machine.node.gateway };
                assert_eq!((who(&answer), seen_as(&answer)), (web[on].name.as_str(), seen.into()), "{what}");
                for address in [machine.address, machine.node.gateway, Ipv4Addr::LOCALHOST] {
                    let own = machine.netns.reach((address, port));
                    assert_eq!(who(&own), web[on].name, "{what}, from the machine itself at {address}");
                }
                assert_eq!(who(&client.netns.reach((machine.address, port))), web[on].name, "{what}, from a pod");
                assert_eq!(who(&web[on].netns.reach((machine.address, port))), web[on].name, "{what}, from itself");
            }
            assert_eq!(
                who(&cluster.stranger.reach_udp((machine.address, 8080))),
                web[on].name,
                "{} by UDP",
                machine.name
            );
            assert_eq!(who(&machine.netns.reach_udp((Ipv4Addr::LOCALHOST, 8080))), web[on].name);
            assert_eq!(who(&machine.netns.reach((Ipv4Addr::LOCALHOST, 8081))), web[on].name);
            assert_eq!(cluster.stranger.reach((machine.address, 8081)), Err(ErrorKind::ConnectionRefused));
        }
    }
}

fn local_ports_keep_the_client(_: &mut World) {
    let (mut cluster, web) = with_web();
    let mut exposed = service("web", VIP, &web.each_ref());
    exposed.ports[0].node_port = Some(30080);
    exposed.published = published();
    exposed.external_local = true;
    cluster.apply(&Desired { services: vec![exposed], pods: models(&web.each_ref()), ..Desired::default() });
    for (machine, pod) in cluster.machines[1..].iter().zip(&web) {
        for port in [8080, 30080] {
            for _ in 0..8 {
                let answer = cluster.stranger.reach((machine.address, port));
                assert_eq!((who(&answer), seen_as(&answer)), (pod.name.as_str(), STRANGER.into()));
            }
        }
    }
    for port in [8080, 30080] {
        let nobody = cluster.stranger.reach((cluster.machines[0].address, port));
        assert_eq!(nobody, Err(ErrorKind::ConnectionRefused), "a machine without a pod of it");
    }
}

fn affinity_is_the_same_on_every_machine(_: &mut World) {
    let (mut cluster, web) = with_web();
    let clients: Vec<TestPod> = (0..8).map(|n| cluster.machines[0].pod(&format!("c{n}"))).collect();
    let mut sticky = service("web", VIP, &web.each_ref());
    sticky.affinity = true;
    sticky.published = published();
    let mut pods = models(&web.each_ref());
    pods.extend(clients.iter().map(TestPod::model));
    cluster.apply(&Desired { services: vec![sticky], pods, ..Desired::default() });
    let mut met = BTreeSet::new();
    for client in &clients {
        let first = who(&client.netns.reach((VIP, 80))).to_owned();
        assert!((0..6).all(|_| who(&client.netns.reach((VIP, 80))) == first));
        met.insert(first);
    }
    assert_eq!(Vec::from_iter(met), ["w2", "w3"]);
    let met: BTreeSet<String> = cluster
        .machines
        .iter()
        .map(|machine| who(&cluster.stranger.reach((machine.address, 8080))).to_owned())
        .collect();
    assert!(met.len() == 1 && !met.contains("nobody"), "whichever machine it asks: {met:?}");
}

fn network(name: &str, internal: bool) -> Network {
    Network { name: name.into(), internal }
}

fn networks_and_policies_hold_between_machines(_: &mut World) {
    let mut cluster = Cluster::new();
    cluster.converge();
    let pods: Vec<[TestPod; 4]> = cluster
        .machines
        .iter_mut()
        .map(|machine| {
            let name = machine.name.clone();
            ["shop", "blog", "", "policed"].map(|group| {
                let networks: &[&str] = if matches!(group, "shop" | "blog") { &[group] } else { &[] };
                let mut pod = machine.pod_with(&format!("{name}-{group}"), networks, None);
                pod.serve(80);
                pod.serve(81);
                pod
            })
        })
        .collect();
    // The policed let in port 80 from the flat pod of the first machine only, and may go to nobody but that pod.
    let friend = pods[0][2].address;
    let rule = |ports| PolicyRule { peers: Peers::Of { pods: BTreeSet::from([friend.into()]), blocks: vec![] }, ports };
    let policy = Policy {
        namespace: "shop".into(),
        name: "strict".into(),
        pods: pods.iter().map(|group| group[3].address.into()).collect(),
        ingress: Some(vec![rule(vec![PolicyPort::Range(Protocol::Tcp, 80..=80)])]),
        egress: Some(vec![rule(vec![])]),
    };
    cluster.apply(&Desired {
        pods: pods.iter().flatten().map(TestPod::model).collect(),
        networks: vec![network("shop", false), network("blog", false)],
        policies: vec![policy],
        ..Desired::default()
    });
    let expected = |from: usize, source: &TestPod, to: usize, target: &TestPod, port: u16| match (from, to) {
        (3, _) => target.address == friend,
        (_, 3) => source.address == friend && port == 80,
        _ => from == to,
    };
    for sources in &pods {
        for (from_group, from) in sources.iter().enumerate() {
            for targets in &pods {
                for (to_group, to) in targets.iter().enumerate() {
                    for port in [80, 81] {
                        if from.address == to.address || port == 81 && to_group != 3 {
                            continue;
                        }
                        let wanted = expected(from_group, from, to_group, to, port);
                        let what = format!("{} to {}:{port}", from.name, to.name);
                        if wanted {
                            // A busy machine may lose one.
                            eventually(&what, || from.netns.ask((to.address, port)).is_ok());
                        } else {
                            assert!(from.netns.ask((to.address, port)).is_err(), "{what}");
                            let told = || from.netns.ask((to.address, port)) != Err(ErrorKind::TimedOut);
                            eventually(&format!("pods are told: {what}"), told);
                        }
                    }
                }
            }
        }
    }
}

fn published_ports_pass_networks_between_machines(_: &mut World) {
    let mut cluster = Cluster::new();
    cluster.converge();
    let [first, second, third] = cluster.machines.each_mut();
    let mut web = second.pod_with("web", &["shop"], None);
    let mut hidden = third.pod_with("hidden", &["inner"], None);
    web.serve(80);
    hidden.serve(80);
    let (alien, flat) = (first.pod_with("alien", &["blog"], None), first.pod("flat"));
    let publish = |service: Service, host_port| {
        let port = Published { host_ip: None, host_port, protocol: Protocol::Tcp, target_port: 80 };
        Service { published: vec![port], ..service }
    };
    cluster.apply(&Desired {
        services: vec![
            publish(service("web", VIP, &[&web]), 8080),
            publish(service("hidden", Ipv4Addr::new(10, 43, 5, 6), &[&hidden]), 8083),
        ],
        pods: models(&[&web, &hidden, &alien, &flat]),
        networks: vec![network("shop", false), network("inner", true), network("blog", false)],
        ..Desired::default()
    });
    for machine in &cluster.machines {
        assert_eq!(who(&cluster.stranger.reach((machine.address, 8080))), "web", "{}", machine.name);
        assert_eq!(
            who(&cluster.stranger.reach((machine.address, 8083))),
            "nobody",
            "internal networks are not published"
        );
        for pod in [&alien, &flat] {
            assert_eq!(who(&pod.netns.reach((machine.address, 8080))), "web", "{} by {}", pod.name, machine.name);
            assert_eq!(who(&pod.netns.ask((VIP, 80))), "nobody", "the service itself is the network's");
        }
    }
    for machine in &cluster.machines[..2] {
        cluster.stranger.sh(&format!("ip route replace {} via {}", web.address, machine.address));
        assert_eq!(who(&cluster.stranger.ask((web.address, 80))), "nobody", "past the port, by {}", machine.name);
    }
}

/// Sends a datagram with a source of the sender's choice.
fn forge(from: &crate::world::Netns, source: Ipv4Addr, to: Ipv4Addr, text: &str) {
    from.run(|| {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        // Refused at once or lost on the way: both are fine.
        let _ = socket.send_to(text.as_bytes(), (to, 5002));
    });
}

fn nobody_can_pretend_to_be_elsewhere(_: &mut World) {
    let (mut cluster, web) = with_web();
    let [target, liar] = [cluster.machines[0].pod("target"), cluster.machines[1].pod("liar")];
    cluster.apply(&Desired { pods: models(&[&web[0], &web[1], &target, &liar]), ..Desired::default() });
    let server = target.netns.run(|| UdpSocket::bind("0.0.0.0:5002").unwrap());
    server.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let elsewhere = Ipv4Addr::new(10, 42, 3, 200);
    let neighbour = Ipv4Addr::new(10, 42, 1, 200);
    // From the wire, as a pod behind the tunnel, as a pod of the machine itself, as the machine.
    let here = &cluster.machines[0];
    // The hardware address is asked for under the true address: what waits for an answer would arrive later.
    assert_eq!(cluster.stranger.reach((here.address, 9)), Err(ErrorKind::ConnectionRefused));
    cluster.stranger.sh(&format!("ip route add {} via {}", here.node.pod_subnet, here.address));
    for source in [elsewhere, neighbour, here.node.gateway, cluster.machines[2].node.gateway] {
        cluster.stranger.sh(&format!("ip addr add {source}/32 dev lo"));
        forge(&cluster.stranger, source, target.address, "from the wire");
    }
    // Through a tunnel of the stranger's own, with everything right but the host it comes from.
    let [a, b, c, d, e, f] = tunnel_mac("m1");
    cluster.stranger.sh(&format!(
        "ip route del {subnet}; ip link add fake type vxlan id 4242 dstport 8472 nolearning local {STRANGER}; \
         ip link set fake up; bridge fdb append {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev fake dst {host}; \
         ip neigh add {hop} lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev fake; \
         ip route add {subnet} via {hop} dev fake onlink",
        subnet = here.node.pod_subnet,
        host = here.address,
        hop = Ipv4Addr::new(10, 42, 1, 254)
    ));
    forge(&cluster.stranger, elsewhere, target.address, "through a tunnel");
    // A pod as one of another machine, and as one of its neighbours.
    for source in [elsewhere, Ipv4Addr::new(10, 42, 2, 200)] {
        liar.netns.sh(&format!("ip addr add {source}/32 dev lo"));
        forge(&liar.netns, source, target.address, "from a pod");
    }
    forge(&web[1].netns, web[1].address, target.address, "the truth");
    let mut buffer = [0; 64];
    let read = server.recv(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..read]), "the truth");
    // A node is no router for other nodes: what comes out of a tunnel goes to its pods or nowhere.
    let outside = cluster.stranger.run(|| UdpSocket::bind((STRANGER, 5002)).unwrap());
    outside.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let third = &cluster.machines[2];
    third.netns.sh(&format!("ip route add {STRANGER} via 10.42.1.1 dev naru-vx onlink"));
    forge(&web[1].netns, web[1].address, STRANGER, "through another node");
    assert!(outside.recv(&mut buffer).is_err());
    // The same tunnel, once its host is known, works: what stood in the way was the guard.
    let mut desired = Desired { pods: models(&[&target]), ..Desired::default() };
    desired.nodes = vec![naru_network::model::PeerNode {
        gateway: Ipv4Addr::new(10, 42, 3, 1),
        gateway6: None,
        address: STRANGER,
        encrypted: false,
    }];
    cluster.machines[0].apply(desired);
    forge(&cluster.stranger, elsewhere, target.address, "a known tunnel");
    let read = server.recv(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..read]), "a known tunnel");
}

/// Docker drops what it does not know to forward, ufw what comes in: both have a door, which lets pass what other nodes
/// need.
fn other_firewalls_let_other_machines_pass(_: &mut World) {
    let (mut cluster, web) = with_web();
    let mut exposed = service("web", VIP, &[&web[0]]);
    exposed.published = published();
    cluster.apply(&Desired { services: vec![exposed], pods: models(&web.each_ref()), ..Desired::default() });
    for machine in &cluster.machines {
        machine.netns.sh(
            "nft 'table ip filter { chain DOCKER-USER { counter return; }; chain ufw-before-input { ct state established accept; iifname lo accept; }; \
             chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }; \
             chain INPUT { type filter hook input priority 0; policy drop; jump ufw-before-input; }; }'",
        );
    }
    let [first, second, third] = &cluster.machines;
    let ways = || {
        [
            who(&cluster.stranger.ask((first.address, 8080))) == "w2",
            who(&cluster.stranger.ask((third.address, 8080))) == "w2",
            who(&web[1].netns.ask((web[0].address, 80))) == "w2",
            who(&web[0].netns.ask((web[1].address, 80))) == "w3",
        ]
    };
    assert_eq!(ways(), [false; 4]);
    let usual = ClusterNetwork::default();
    for machine in [first, second, third] {
        let cidr = machine.node.cluster_cidr;
        for _ in 0..2 {
            machine.netns.run(|| firewall::allow_pods(cidr, &usual)).unwrap();
        }
        assert_eq!(machine.netns.sh("nft list chain ip filter ufw-before-input").matches("udp dport 8472").count(), 1);
    }
    eventually("a port past the links, a tunnel, and pods both ways pass", || ways() == [true; 4]);
    // The cluster's own port: the door moves, and a fence without one is told of by that port.
    let own = ClusterNetwork { vxlan_port: 4789, ..usual };
    let cidr = first.node.cluster_cidr;
    first.netns.run(|| firewall::allow_pods(cidr, &own)).unwrap();
    let doors = first.netns.sh("nft list chain ip filter ufw-before-input");
    assert!(doors.contains("udp dport 4789") && !doors.contains("udp dport 8472"), "{doors}");
    first.netns.sh("nft 'table inet mine { chain fence { type filter hook input priority 10; policy drop; }; }'");
    let found = first.netns.run(|| firewall::obstacles(Some(cidr), None, &own)).unwrap();
    let fence = found.iter().find(|found| found.chain == "fence").unwrap();
    assert!(fence.advice.contains("udp dport 4789 accept") && !fence.advice.contains("8472"), "{}", fence.advice);
    first.netns.run(firewall::forget_pods).unwrap();
    assert!(!first.netns.sh("nft list ruleset").contains(firewall::TAG));
}
