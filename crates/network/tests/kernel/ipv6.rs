//! The second family: everything that holds for IPv4 addresses of pods holds for their IPv6 addresses.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use naru_network::model::{Desired, IpBlock, Network, Peers, Policy, PolicyRule, Protocol, Published, Service};
use naru_network::peers::Mode;
use naru_network::wireguard::Preference;
use naru_network::{HostRecord, firewall};

use crate::Test;
use crate::machines::Cluster;
use crate::world::{HOST6, OUTSIDE6, TestPod, World, ask, ask_udp, seen_as, service, sh, who};

pub const TESTS: &[Test] = &[
    ("ipv6::pods_have_both_addresses_and_reach_each_other", pods_have_both_addresses_and_reach_each_other),
    ("ipv6::services_lead_to_pods", services_lead_to_pods),
    ("ipv6::flows_to_the_dead_are_forgotten", flows_to_the_dead_are_forgotten),
    ("ipv6::published_ports_keep_the_client", published_ports_keep_the_client),
    ("ipv6::networks_and_policies_hold", networks_and_policies_hold),
    ("ipv6::nobody_can_pretend_to_be_another", nobody_can_pretend_to_be_another),
    ("ipv6::routers_cannot_be_pretended", routers_cannot_be_pretended),
    ("ipv6::a_machine_that_has_it_off_has_pods_with_it", a_machine_that_has_it_off_has_pods_with_it),
    ("ipv6::what_was_changed_is_given_back", what_was_changed_is_given_back),
    ("ipv6::other_firewalls_have_doors_for_it", other_firewalls_have_doors_for_it),
    ("ipv6::pods_of_several_machines", pods_of_several_machines),
    ("ipv6::encryption_is_for_both_families", encryption_is_for_both_families),
];

const DOCKER: &str = "nft 'table ip6 filter { chain DOCKER-USER { counter return; }; chain FORWARD { type filter hook forward priority 0; \
    policy drop; jump DOCKER-USER; }; }'";

const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 7, 7);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x43, 0, 0, 0, 0, 0, 7);

fn six(pod: &TestPod) -> IpAddr {
    pod.address6.expect("an IPv6 address").into()
}

/// A service of both families.
fn both(pods: &[&TestPod]) -> Service {
    let mut made = service("web", VIP, pods);
    made.cluster_ips.push(VIP6.into());
    let second = |mut endpoint: naru_network::model::Endpoint, pod: &TestPod| {
        endpoint.address = six(pod);
        endpoint
    };
    made.endpoints.extend(pods.iter().map(|pod| second(pod.endpoint(), pod)));
    for port in &mut made.ports {
        port.backends.extend(pods.iter().map(|pod| {
            let mut backend = pod.backend(80);
            backend.endpoint = second(backend.endpoint, pod);
            backend
        }));
    }
    made
}

fn models(pods: &[&TestPod]) -> Vec<naru_network::model::Pod> {
    pods.iter().map(|pod| pod.model()).collect()
}

/// Whether somebody said no, which datagrams learn at once (a connection may have to ask twice).
fn is_told(answer: &Result<String, ErrorKind>) -> bool {
    !matches!(answer, Ok(_) | Err(ErrorKind::TimedOut | ErrorKind::WouldBlock))
}

fn served(world: &mut World, name: &str, networks: &[&str]) -> TestPod {
    let mut pod = world.pod_in(name, networks);
    pod.serve(80);
    pod
}

fn pods_have_both_addresses_and_reach_each_other(world: &mut World) {
    world.second_family();
    let (a, b) = (served(world, "a", &[]), served(world, "b", &[]));
    world.apply(Desired { pods: models(&[&a, &b]), ..Desired::default() });
    assert_eq!(six(&a), "fd00:42::a2a:2".parse::<IpAddr>().unwrap());
    for to in [b.address.into(), six(&b)] {
        let from = if to.is_ipv4() { a.address.into() } else { six(&a) };
        assert_eq!(seen_as(&a.netns.reach((to, 80))), from);
        assert_eq!(seen_as(&a.netns.reach_udp((to, 80))), from);
    }
    // The machine reaches its pods by its own address towards them, and they it.
    assert_eq!(seen_as(&ask((six(&a), 80).into())), IpAddr::V6(world.node.six.unwrap().gateway));
    world.serve_host(9000);
    assert_eq!(seen_as(&a.netns.reach((IpAddr::V6(world.node.six.unwrap().gateway), 9000))), six(&a));
    // Nobody waits for anything: the address is usable at once, and nobody announces routes.
    let shown = a.netns.sh("ip -6 addr show dev eth0; cat /proc/sys/net/ipv6/conf/eth0/accept_ra");
    assert!(!shown.contains("tentative") && !shown.contains("fe80") && shown.trim().ends_with('0'), "{shown}");
    // What leaves the cluster bears the machine's address.
    world.serve_outside(9001);
    assert_eq!(seen_as(&a.netns.reach((OUTSIDE6, 9001))), IpAddr::V6(HOST6));
    // An address that no pod has is unreachable, which a connection learns at its second try.
    let nobody: SocketAddr = "[fd00:42::a2a:ee]:80".parse().unwrap();
    let refused = a.netns.run(|| TcpStream::connect_timeout(&nobody, Duration::from_secs(5)).map(|_| String::new()));
    assert!(is_told(&refused.map_err(|error| error.kind())));
}

fn services_lead_to_pods(world: &mut World) {
    world.second_family();
    let pods = ["w1", "w2"].map(|name| served(world, name, &[]));
    let client = world.pod("client");
    let all = [&pods[0], &pods[1], &client];
    world.apply(Desired { services: vec![both(&[&pods[0], &pods[1]])], pods: models(&all), ..Desired::default() });
    let mut met = BTreeSet::new();
    for _ in 0..40 {
        let answer = client.netns.reach((VIP6, 80));
        assert_eq!(seen_as(&answer), six(&client), "a service keeps the client's address");
        met.insert(who(&answer).to_owned());
    }
    assert_eq!(met.len(), 2, "{met:?}");
    assert_eq!(seen_as(&client.netns.reach_udp((VIP6, 80))), six(&client));
    assert_ne!(who(&ask((VIP6, 80).into())), "nobody", "the machine itself");
    assert_ne!(who(&client.netns.reach((VIP, 80))), "nobody", "the first family is as it was");
    // A pod meets itself behind its service, as somebody else.
    world.apply(Desired { services: vec![both(&[&pods[0]])], pods: models(&all), ..Desired::default() });
    assert_eq!(who(&pods[0].netns.reach((VIP6, 80))), "w1");
    // The same client, the same endpoint.
    let mut sticky = both(&[&pods[0], &pods[1]]);
    sticky.affinity = true;
    world.apply(Desired { services: vec![sticky], pods: models(&all), ..Desired::default() });
    let met: BTreeSet<String> = (0..12).map(|_| who(&client.netns.reach((VIP6, 80))).to_owned()).collect();
    assert_eq!(met.len(), 1, "{met:?}");
    // Without endpoints connections are refused at once.
    let mut empty = both(&[]);
    empty.endpoints.clear();
    world.apply(Desired { services: vec![empty], pods: models(&all), ..Desired::default() });
    assert_eq!(client.netns.ask((VIP6, 80)).unwrap_err(), ErrorKind::ConnectionRefused);
    assert_eq!(ask((VIP6, 80).into()).unwrap_err(), ErrorKind::ConnectionRefused);
}

fn flows_to_the_dead_are_forgotten(world: &mut World) {
    world.second_family();
    let pods = ["w1", "w2"].map(|name| served(world, name, &[]));
    let client = world.pod("client");
    let desired = |alive: &[&TestPod], all: &[&TestPod]| Desired {
        services: vec![both(alive)],
        pods: models(all),
        ..Desired::default()
    };
    world.apply(desired(&[&pods[0]], &[&pods[0], &pods[1], &client]));
    let socket = client.netns.run(|| UdpSocket::bind("[::]:0").unwrap());
    assert_eq!(who(&ask_udp(&socket, (VIP6, 80).into())), "w1");
    world.apply(desired(&[&pods[1]], &[&pods[0], &pods[1], &client]));
    assert_eq!(who(&ask_udp(&socket, (VIP6, 80).into())), "w2", "the same source port, another endpoint");
    world.apply(desired(&[&pods[0]], &[&pods[0], &client]));
    assert_eq!(who(&ask_udp(&socket, (VIP6, 80).into())), "w1", "and when the pod itself is gone");
}

fn published_ports_keep_the_client(world: &mut World) {
    world.second_family();
    let pods = ["w1", "w2"].map(|name| served(world, name, &[]));
    let mut web = both(&[&pods[0], &pods[1]]);
    web.ports[0].node_port = Some(30080);
    let port = |host_ip, host_port| Published { host_ip, host_port, protocol: Protocol::Tcp, target_port: 80 };
    web.published = vec![
        port(None, 8080),
        port(Some(HOST6.into()), 8081),
        port(Some(Ipv4Addr::UNSPECIFIED.into()), 8082),
        port(Some(Ipv6Addr::UNSPECIFIED.into()), 8083),
    ];
    world.apply(Desired { services: vec![web], pods: models(&[&pods[0], &pods[1]]), ..Desired::default() });
    for port in [30080, 8080, 8081, 8083] {
        let answer = world.outside.reach((HOST6, port));
        assert!(who(&answer).starts_with('w'), "{port}: {answer:?}");
        assert_eq!(seen_as(&answer), IpAddr::V6(OUTSIDE6), "{port}");
    }
    assert!(world.outside.ask((HOST6, 8082)).is_err(), "0.0.0.0 is IPv4 alone");
    assert!(world.outside.ask((crate::world::HOST, 8083)).is_err(), ":: is IPv6 alone");
    assert!(who(&ask((HOST6, 8080).into())).starts_with('w'), "the machine by its own address");
    // ::1 is left to whoever listens there, which is the relay: the kernel has no way back to it.
    let listener = TcpListener::bind("[::1]:8080").unwrap();
    let asking = std::thread::scope(|scope| {
        scope.spawn(|| drop(listener.accept().unwrap()));
        TcpStream::connect_timeout(&"[::1]:8080".parse().unwrap(), Duration::from_secs(2)).map(|_| ())
    });
    assert!(asking.is_ok(), "{asking:?}");
}

fn networks_and_policies_hold(world: &mut World) {
    world.second_family();
    let (front, back) = (served(world, "front", &["front"]), served(world, "back", &["back"]));
    let (mate, plain) = (served(world, "mate", &["front"]), served(world, "plain", &[]));
    let network = |name: &str, internal| Network { name: name.into(), internal };
    let networks = vec![network("front", false), network("back", true)];
    let all = [&front, &back, &mate, &plain];
    world.serve_outside(9001);
    let isolated = Desired { pods: models(&all), networks: networks.clone(), ..Desired::default() };
    world.apply(isolated.clone());
    let met = |from: &TestPod, to: &TestPod| who(&from.netns.ask((six(to), 80))) == to.name;
    assert!(met(&mate, &front) && !met(&plain, &front) && !met(&front, &back) && !met(&front, &plain));
    assert!(front.netns.ask((OUTSIDE6, 9001)).is_ok() && back.netns.ask((OUTSIDE6, 9001)).is_err());
    assert!(world.outside.ask((six(&front), 80)).is_err(), "strangers do not route to members");
    let policy = |peers| Policy {
        namespace: "shop".into(),
        name: "p".into(),
        pods: front.model().addresses().collect(),
        ingress: Some(vec![PolicyRule { peers, ports: vec![] }]),
        egress: None,
    };
    let nobody = Peers::Of { pods: BTreeSet::new(), blocks: vec![] };
    world.apply(Desired { policies: vec![policy(nobody)], ..isolated.clone() });
    assert!(!met(&mate, &front) && is_told(&mate.netns.ask_udp((six(&front), 80))), "pods are told");
    let block = |cidr: &str, except: &[&str]| Peers::Of {
        pods: BTreeSet::new(),
        blocks: vec![IpBlock {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|range| range.parse().unwrap()).collect(),
        }],
    };
    world.apply(Desired { policies: vec![policy(block("fd00:42::/64", &[]))], ..isolated.clone() });
    assert!(met(&mate, &front) && who(&mate.netns.ask((front.address, 80))) == "nobody", "a block is of one family");
    let except = format!("{}/128", six(&mate));
    world.apply(Desired { policies: vec![policy(block("::/0", &[&except]))], ..isolated.clone() });
    assert!(!met(&mate, &front), "a hole in the block");
    let friends = Peers::Of { pods: mate.model().addresses().collect(), blocks: vec![] };
    world.apply(Desired { policies: vec![policy(friends)], ..isolated });
    assert!(met(&mate, &front) && who(&mate.netns.reach((front.address, 80))) == "front");
}

fn nobody_can_pretend_to_be_another(world: &mut World) {
    world.second_family();
    let (web, liar, other) = (served(world, "web", &[]), world.pod("liar"), world.pod("other"));
    world.apply(Desired { pods: models(&[&web, &liar, &other]), ..Desired::default() });
    // Also of the machine's address, and of one outside.
    for foreign in [six(&other), IpAddr::V6(world.node.six.unwrap().gateway), "2001:db8:1::77".parse().unwrap()] {
        liar.netns.sh(&format!("ip -6 addr add {foreign}/128 dev eth0 nodad"));
        let heard = web.netns.run(|| UdpSocket::bind("[::]:7777").unwrap());
        heard.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        liar.netns.run(|| {
            let socket = UdpSocket::bind((foreign, 0)).unwrap();
            socket.send_to(b"!", (six(&web), 7777)).unwrap();
        });
        let mut buffer = [0; 8];
        assert!(heard.recv(&mut buffer).is_err(), "a packet from {foreign} came through");
        liar.netns.run(|| {
            let socket = UdpSocket::bind((six(&liar), 0)).unwrap();
            socket.send_to(b"!", (six(&web), 7777)).unwrap();
        });
        assert!(heard.recv(&mut buffer).is_ok(), "and its own do");
    }
    // Neither can a machine outside have a pod's address.
    world
        .outside
        .sh(&format!("ip -6 addr add {}/128 dev far nodad; ip -6 route add fd00:42::/48 via {HOST6}", six(&other)));
    let heard = web.netns.run(|| UdpSocket::bind("[::]:7778").unwrap());
    heard.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    world.outside.run(|| {
        let socket = UdpSocket::bind((six(&other), 0)).unwrap();
        let _ = socket.send_to(b"!", (six(&web), 7778));
    });
    assert!(heard.recv(&mut [0; 8]).is_err(), "a stranger spoke as a pod");
}

/// A router's announcement, sent from a pod that has given itself a link-local address.
fn announce(pod: &TestPod) {
    let script = "ip -6 addr add fe80::66/64 dev eth0 nodad; python3 - <<'P'\n\
        import socket, struct\n\
        s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)\n\
        s.setsockopt(41, socket.IPV6_MULTICAST_HOPS, 255)\n\
        s.bind(('fe80::66', 0, 0, socket.if_nametoindex('eth0')))\n\
        s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0), ('ff02::1', 0, 0, socket.if_nametoindex('eth0')))\n\
        P\n";
    pod.netns.sh(script);
}

fn routers_cannot_be_pretended(world: &mut World) {
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        eprintln!("SKIPPED: ipv6::routers_cannot_be_pretended: python3 is missing");
        return;
    }
    // Without a second family, and with one; the machine listens to routers on every interface, new ones too.
    sh("echo 2 > /proc/sys/net/ipv6/conf/default/accept_ra; echo 2 > /proc/sys/net/ipv6/conf/all/accept_ra");
    for second in [false, true] {
        if second {
            world.second_family();
        }
        let pod = world.pod(if second { "second" } else { "first" });
        world.apply(Desired { pods: models(&[&pod]), ..Desired::default() });
        announce(&pod);
        let routes = sh("ip -6 route show default");
        assert!(!routes.contains("proto ra"), "a pod became the machine's router: {routes}");
    }
}

fn a_machine_that_has_it_off_has_pods_with_it(world: &mut World) {
    sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    world.second_family();
    let (a, b) = (served(world, "a", &[]), served(world, "b", &[]));
    let mut off = world.pod_in("off", &[]);
    world.apply(Desired { services: vec![both(&[&b])], pods: models(&[&a, &b, &off]), ..Desired::default() });
    assert_eq!(who(&a.netns.reach((six(&b), 80))), "b");
    assert_eq!(who(&a.netns.reach((VIP6, 80))), "b");
    assert_eq!(
        sh("cat /proc/sys/net/ipv6/conf/wire0/disable_ipv6").trim(),
        "1",
        "the machine's own links stay as they are"
    );
    // A pod whose own parameters turn it off has none.
    let netns = crate::world::Netns::new();
    netns.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    off.netns = netns;
    let attached = world.attach_again(&off);
    assert_eq!((attached.address.v4, attached.address.v6), (off.address, None));
}

fn what_was_changed_is_given_back(world: &mut World) {
    let read = |name: &str| sh(&format!("cat /proc/sys/net/ipv6/conf/{name}")).trim().to_owned();
    sh("cd /proc/sys/net/ipv6/conf; ip link add router type veth peer name router2; echo 1 > wire0/accept_ra; \
        echo 0 > router/accept_ra; echo 1 > router/forwarding");
    let dir = tempfile::tempdir().unwrap();
    let block = crate::world::second_family().pod_subnet;
    let before = HostRecord::open(dir.path(), None).unwrap();
    assert_eq!(before.six, None, "nothing of IPv6 is noted before it is touched");
    let record = HostRecord::open(dir.path(), Some(block)).unwrap().six.unwrap();
    assert!(!record.forwarding && record.announced.contains(&"wire0".to_owned()), "{record:?}");
    assert_eq!(record.forwarded, ["router"]);
    world.second_family();
    let _pod = world.pod("a");
    assert_eq!(
        (read("all/forwarding"), read("wire0/accept_ra"), read("router/accept_ra")),
        ("1".into(), "2".into(), "0".into())
    );
    let again = HostRecord::open(dir.path(), Some(block)).unwrap().six.unwrap();
    assert_eq!(again, record, "what is noted once stays");
    let left = world.block_on(naru_network::uninstall(dir.path(), world.node.pod_subnet));
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(
        (read("all/forwarding"), read("wire0/accept_ra"), read("router/forwarding")),
        ("0".into(), "1".into(), "1".into())
    );
    assert_eq!(sh("ip -6 route show table all proto 110").trim(), "", "no route of ours is left");
    assert_eq!(sh("ip -6 addr show scope global | grep fd00:42 || true").trim(), "");
}

fn other_firewalls_have_doors_for_it(world: &mut World) {
    world.second_family();
    let (a, b) = (served(world, "a", &[]), served(world, "b", &[]));
    world.apply(Desired { pods: models(&[&a, &b]), ..Desired::default() });
    sh(DOCKER);
    let reached = || who(&a.netns.ask((six(&b), 80))) == "b";
    assert!(!reached(), "Docker's policy drops what is forwarded");
    let found = firewall::obstacles(
        None,
        world.node.six.map(|six| six.cluster_cidr),
        &naru_network::peers::ClusterNetwork::default(),
    )
    .unwrap();
    assert_eq!(found.iter().map(|found| found.table.as_str()).collect::<Vec<_>>(), ["ip6 filter"]);
    let pods = world.node.six.unwrap().cluster_cidr;
    for _ in 0..2 {
        assert_eq!(
            firewall::allow_second(pods, &naru_network::peers::ClusterNetwork::default()).unwrap(),
            ["ip6 filter DOCKER-USER"]
        );
        assert_eq!(sh("nft list chain ip6 filter DOCKER-USER").matches(firewall::TAG).count(), 4);
    }
    assert!(reached());
    let found = firewall::obstacles(None, Some(pods), &naru_network::peers::ClusterNetwork::default()).unwrap();
    assert_eq!(found, [], "nor is anything named that has a door");
    firewall::forget_pods().unwrap();
    assert!(!sh("nft list ruleset").contains(firewall::TAG), "and nothing is left behind");
}

fn pods_of_several_machines(_: &mut World) {
    let mut cluster = Cluster::new();
    for (n, machine) in cluster.machines.iter_mut().enumerate() {
        machine.second_family(n as u8 + 1);
    }
    let mut n = 0;
    let pods: [TestPod; 3] = cluster.machines.each_mut().map(|machine| {
        n += 1;
        let mut pod = machine.pod(&format!("p{n}"));
        pod.serve(80);
        pod
    });
    let all = models(&pods.each_ref());
    let mut web = both(&[&pods[1]]);
    web.published = vec![Published { host_ip: None, host_port: 8080, protocol: Protocol::Tcp, target_port: 80 }];
    let desired = Desired { services: vec![web], pods: all, ..Desired::default() };
    cluster.apply(&desired);
    let converged = cluster.converge();
    assert_eq!(converged.each_ref().map(|outcome| outcome.problems.len()), [0; 3], "{converged:?}");
    assert_eq!(converged[0].plan.modes["m2"], Mode::Route, "the first family needs no tunnel on a wire");
    assert!(cluster.converge().iter().all(|outcome| outcome.changed == 0), "a second look finds nothing to do");
    for from in &pods {
        for to in &pods {
            assert_eq!(seen_as(&from.netns.reach((six(to), 80))), six(from), "{} to {}", from.name, to.name);
            assert_eq!(seen_as(&from.netns.reach_udp((six(to), 80))), six(from), "{} to {}", from.name, to.name);
        }
        assert_eq!(who(&from.netns.reach((VIP6, 80))), "p2", "a service, from {}", from.name);
    }
    let gateway = IpAddr::V6(cluster.machines[0].node.six.unwrap().gateway);
    assert_eq!(seen_as(&cluster.machines[0].netns.reach((six(&pods[1]), 80))), gateway, "the machine itself");
    // A port of a machine without such a pod: clients are led on, and come back the same way.
    cluster.machines[0].netns.sh("ip -6 addr add 2001:db8:2::1/64 dev eth0 nodad");
    cluster.stranger.sh("ip -6 addr add 2001:db8:2::9/64 dev eth0 nodad");
    let port: SocketAddr = "[2001:db8:2::1]:8080".parse().unwrap();
    assert_eq!(who(&cluster.stranger.reach(port)), "p2");
    large_packets_pass(&pods[0], &pods[1]);
    large_packets_pass(&pods[0], &pods[2]);
    // The receiver's machine judges by its policies.
    let friend = Peers::Of { pods: [six(&pods[2])].into(), blocks: vec![] };
    let policy = Policy {
        namespace: "shop".into(),
        name: "p".into(),
        pods: pods[1].model().addresses().collect(),
        ingress: Some(vec![PolicyRule { peers: friend, ports: vec![] }]),
        egress: None,
    };
    cluster.apply(&Desired { policies: vec![policy], ..desired });
    assert!(pods[0].netns.ask((six(&pods[1]), 80)).is_err());
    assert_eq!(who(&pods[2].netns.reach((six(&pods[1]), 80))), "p2");
    // Nothing is left of the ways when a machine leaves.
    let first = &mut cluster.machines[0];
    let left = first.uninstall();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(first.netns.sh("ip -6 route show table all proto 110").trim(), "");
}

fn encryption_is_for_both_families(_: &mut World) {
    if !std::path::Path::new("/dev/net/tun").exists() {
        eprintln!("SKIPPED: ipv6::encryption_is_for_both_families: /dev/net/tun is missing");
        return;
    }
    const MARKER: &str = "plaintext-marker-of-the-second-family";
    let mut cluster = Cluster::new();
    for (n, machine) in cluster.machines.iter_mut().enumerate() {
        machine.second_family(n as u8 + 1);
        machine.encrypt(Preference::Userspace);
        machine.encryption.everywhere = true;
    }
    let mut n = 0;
    let pods: [TestPod; 3] = cluster.machines.each_mut().map(|machine| {
        n += 1;
        let mut pod = machine.pod(&format!("p{n}"));
        pod.serve(80);
        pod
    });
    cluster.apply(&Desired { pods: models(&pods.each_ref()), ..Desired::default() });
    let converged = cluster.converge();
    assert_eq!(converged.each_ref().map(|outcome| outcome.problems.len()), [0; 3], "{converged:?}");
    assert_eq!(converged[0].plan.modes["m2"], Mode::Wireguard);
    assert!(converged[0].plan.neighbours.is_empty(), "no tunnel beside it");
    for (from, to) in [(0, 1), (0, 2), (2, 0)] {
        assert_eq!(seen_as(&pods[from].netns.reach((six(&pods[to]), 80))), six(&pods[from]), "{from} to {to}");
    }
    let capture = cluster.fabric.capture();
    let heard = pods[1].netns.run(|| UdpSocket::bind("[::]:7779").unwrap());
    heard.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let socket = pods[0].netns.run(|| UdpSocket::bind("[::]:0").unwrap());
    socket.send_to(MARKER.as_bytes(), (six(&pods[1]), 7779)).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(heard.recv(&mut buffer).unwrap(), MARKER.len());
    assert!(!capture.end().contain(MARKER), "the wire shows what pods say");
}

/// More than one packet's worth arrives whole, though the tunnel takes smaller ones than the pods send.
fn large_packets_pass(from: &TestPod, to: &TestPod) {
    const LENGTH: usize = 300_000;
    let listener = to.netns.run(|| TcpListener::bind("[::]:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let received = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map(|_| all.len())
    });
    from.netns.run(|| {
        let to = SocketAddr::new(six(to), port);
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
        stream.write_all(&vec![7; LENGTH]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(received.join().unwrap().unwrap(), LENGTH, "{} to {}", from.name, to.name);
    // A datagram that is too large for the tunnel comes through after the sender was told.
    let heard = to.netns.run(|| UdpSocket::bind("[::]:0").unwrap());
    heard.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let at = SocketAddr::new(six(to), heard.local_addr().unwrap().port());
    let socket = from.netns.run(|| UdpSocket::bind("[::]:0").unwrap());
    let mut buffer = [0; 2000];
    let arrived = (0..20).any(|_| {
        let _ = socket.send_to(&[7; 1440], at);
        heard.recv(&mut buffer).is_ok_and(|read| read == 1440)
    });
    assert!(arrived, "large datagrams from {} to {}", from.name, to.name);
}
