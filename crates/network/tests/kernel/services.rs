//! Virtual addresses: balancing, refusal, affinity, forgetting the dead.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};

use naru_network::model::{Desired, EndpointState, Service};

use crate::Test;
use crate::world::{World, ask, ask_udp, seen_as, service, who};

pub const TESTS: &[Test] = &[
    ("services::connections_spread_over_the_endpoints", connections_spread_over_the_endpoints),
    ("services::the_client_address_is_kept", the_client_address_is_kept),
    ("services::without_endpoints_connections_are_refused_at_once", without_endpoints_connections_are_refused_at_once),
    ("services::a_pod_reaches_itself_through_its_service", a_pod_reaches_itself_through_its_service),
    ("services::affinity_keeps_a_client_with_one_endpoint", affinity_keeps_a_client_with_one_endpoint),
    ("services::a_dead_endpoint_answers_nobody", a_dead_endpoint_answers_nobody),
    ("services::a_connection_on_its_way_to_the_lost_finds_another", a_connection_on_its_way_to_the_lost_finds_another),
    (
        "services::a_draining_endpoint_serves_only_when_none_is_ready",
        a_draining_endpoint_serves_only_when_none_is_ready,
    ),
    ("services::a_service_without_ports_answers_on_every_port", a_service_without_ports_answers_on_every_port),
    ("services::node_ports_and_load_balancers_answer_on_the_host", node_ports_and_load_balancers_answer_on_the_host),
    ("services::an_endpoint_elsewhere_answers_through_the_node", an_endpoint_elsewhere_answers_through_the_node),
];

const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 7, 7);

fn connections_spread_over_the_endpoints(world: &mut World) {
    let mut pods = [world.pod("w1"), world.pod("w2"), world.pod("w3")];
    pods.iter_mut().for_each(|pod| pod.serve(80));
    let client = world.pod("client");
    world.apply(Desired {
        services: vec![service("web", VIP, &pods.each_ref())],
        pods: pods.iter().map(|pod| pod.model()).collect(),
        ..Desired::default()
    });
    for from_pod in [true, false] {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..150 {
            let answer = if from_pod { client.netns.ask((VIP, 80)) } else { ask((VIP, 80).into()) };
            *counts.entry(who(&answer).to_owned()).or_default() += 1;
        }
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["w1", "w2", "w3"], "{counts:?}");
        assert!(counts.values().all(|count| *count >= 20), "{counts:?}");
    }
    assert_ne!(who(&client.netns.ask_udp((VIP, 80))), "nobody");
}

fn the_client_address_is_kept(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let client = world.pod("client");
    let desired =
        Desired { services: vec![service("web", VIP, &[&web])], pods: vec![web.model()], ..Desired::default() };
    world.apply(desired);
    assert_eq!(seen_as(&client.netns.ask((VIP, 80))), client.address);
    assert_eq!(seen_as(&client.netns.ask_udp((VIP, 80))), client.address);
}

fn without_endpoints_connections_are_refused_at_once(world: &mut World) {
    let client = world.pod("client");
    let external = Ipv4Addr::new(203, 0, 113, 9);
    let mut empty = service("web", VIP, &[]);
    empty.external_ips = vec![external.into()];
    world.apply(Desired { services: vec![empty], pods: vec![client.model()], ..Desired::default() });
    for address in [VIP, external] {
        assert_eq!(client.netns.ask((address, 80)), Err(ErrorKind::ConnectionRefused), "{address} from a pod");
        assert_eq!(ask((address, 80).into()), Err(ErrorKind::ConnectionRefused), "{address} from the host");
        assert_eq!(client.netns.ask_udp((address, 80)), Err(ErrorKind::ConnectionRefused), "{address} over UDP");
    }
    assert_eq!(client.netns.ask((VIP, 81)), Err(ErrorKind::ConnectionRefused), "a port the service does not have");
}

fn a_pod_reaches_itself_through_its_service(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let desired =
        Desired { services: vec![service("web", VIP, &[&web])], pods: vec![web.model()], ..Desired::default() };
    world.apply(desired);
    assert_eq!(who(&web.netns.ask((VIP, 80))), "web");
    assert_eq!(who(&web.netns.ask_udp((VIP, 80))), "web");
}

fn affinity_keeps_a_client_with_one_endpoint(world: &mut World) {
    let mut pods = [world.pod("w1"), world.pod("w2"), world.pod("w3")];
    pods.iter_mut().for_each(|pod| pod.serve(80));
    let clients: Vec<_> = (0..6).map(|n| world.pod(&format!("c{n}"))).collect();
    let mut sticky = service("web", VIP, &pods.each_ref());
    sticky.affinity = true;
    world.apply(Desired { services: vec![sticky], ..Desired::default() });
    let mut met = std::collections::BTreeSet::new();
    for client in &clients {
        let first = who(&client.netns.ask((VIP, 80))).to_owned();
        for _ in 0..8 {
            assert_eq!(who(&client.netns.ask((VIP, 80))), first);
        }
        met.insert(first);
    }
    assert!(met.len() > 1 && !met.contains("nobody"), "{met:?}");
}

fn a_dead_endpoint_answers_nobody(world: &mut World) {
    let (mut dies, mut stays) = (world.pod("dies"), world.pod("stays"));
    dies.serve(80);
    stays.serve(80);
    let client = world.pod("client");
    let with = |pods: &[&crate::world::TestPod]| Desired {
        services: vec![service("web", VIP, pods)],
        pods: pods.iter().map(|pod| pod.model()).collect(),
        ..Desired::default()
    };
    world.apply(with(&[&dies, &stays]));
    // A UDP client that keeps its port is remembered by the kernel and would stay with the dead.
    let sockets: Vec<UdpSocket> = client.netns.run(|| (0..16).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect());
    let before: Vec<String> = sockets.iter().map(|socket| who(&ask_udp(socket, (VIP, 80).into())).to_owned()).collect();
    assert!(before.contains(&"dies".to_owned()) && before.contains(&"stays".to_owned()), "{before:?}");
    world.links.detach(&dies.uid);
    world.apply(with(&[&stays]));
    for socket in &sockets {
        assert_eq!(who(&ask_udp(socket, (VIP, 80).into())), "stays");
    }
    for _ in 0..16 {
        assert_eq!(who(&client.netns.ask((VIP, 80))), "stays");
    }
    let tracked = std::process::Command::new("conntrack").args(["-L", "-d", &dies.address.to_string()]).output();
    if let Ok(tracked) = tracked {
        assert_eq!(String::from_utf8_lossy(&tracked.stdout), "", "the kernel still tracks the dead");
    }
}

fn a_connection_on_its_way_to_the_lost_finds_another(world: &mut World) {
    let (mut lost, mut stays) = (world.pod("lost"), world.pod("stays"));
    lost.serve(80);
    stays.serve(80);
    lost.netns.sh("nft 'table ip deaf { chain in { type filter hook input priority 0; policy drop; }; }'");
    let client = world.pod("client");
    let all = [&lost, &stays].map(|pod| pod.model());
    let only = |pod: &crate::world::TestPod| Desired {
        services: vec![service("web", VIP, &[pod])],
        pods: all.to_vec(),
        ..Desired::default()
    };
    world.apply(only(&lost));
    let socket = client.netns.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // On its way from here on; the kernel repeats it after one second, after two more, after four more.
        let _ = socket.connect(&std::net::SocketAddr::from((VIP, 80)).into());
        socket.set_nonblocking(false).unwrap();
        socket.set_write_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        socket
    });
    world.apply(only(&stays));
    let mut stream = std::net::TcpStream::from(socket);
    // Writing waits for the connection.
    stream.write_all(b"?").expect("a connection");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("stays"), "{text}");
}

fn a_draining_endpoint_serves_only_when_none_is_ready(world: &mut World) {
    let (mut old, mut new) = (world.pod("old"), world.pod("new"));
    old.serve(80);
    new.serve(80);
    let client = world.pod("client");
    let mut web = service("web", VIP, &[&old, &new]);
    for port in &mut web.ports {
        port.backends[0].endpoint.state = EndpointState::Draining;
    }
    world.apply(Desired { services: vec![web.clone()], ..Desired::default() });
    assert!((0..12).all(|_| who(&client.netns.ask((VIP, 80))) == "new"));
    for port in &mut web.ports {
        port.backends.truncate(1);
    }
    world.apply(Desired { services: vec![web], ..Desired::default() });
    assert!((0..4).all(|_| who(&client.netns.ask((VIP, 80))) == "old"));
}

fn a_service_without_ports_answers_on_every_port(world: &mut World) {
    let mut pods = [world.pod("r1"), world.pod("r2")];
    for pod in &mut pods {
        pod.serve(6379);
        pod.serve(9000);
    }
    let client = world.pod("client");
    let redis = Service { ports: Vec::new(), all_ports: true, ..service("redis", VIP, &pods.each_ref()) };
    world.apply(Desired { services: vec![redis], ..Desired::default() });
    for port in [6379, 9000] {
        let met: std::collections::BTreeSet<String> =
            (0..24).map(|_| who(&client.netns.ask((VIP, port))).to_owned()).collect();
        assert_eq!(met.into_iter().collect::<Vec<_>>(), ["r1", "r2"]);
        assert_ne!(who(&client.netns.ask_udp((VIP, port))), "nobody");
    }
    assert_eq!(client.netns.ask((VIP, 1234)), Err(ErrorKind::ConnectionRefused));
}

fn node_ports_and_load_balancers_answer_on_the_host(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let client = world.pod("client");
    let mut exposed = service("web", VIP, &[&web]);
    exposed.ports[0].node_port = Some(30080);
    exposed.load_balancer = true;
    exposed.external_ips = vec![Ipv4Addr::new(203, 0, 113, 9).into()];
    let desired = vec![exposed.clone()];
    world.apply(Desired { services: desired, pods: vec![web.model(), client.model()], ..Desired::default() });
    world.outside.sh(&format!("ip route add 203.0.113.9 via {}", crate::world::HOST));
    for port in [30080, 80] {
        let answer = world.outside.ask((crate::world::HOST, port));
        assert_eq!((who(&answer), seen_as(&answer)), ("web", crate::world::OUTSIDE.into()), "port {port}");
        assert_eq!(who(&client.netns.ask((crate::world::HOST, port))), "web", "port {port} from a pod");
        assert_eq!(who(&ask((crate::world::HOST, port).into())), "web", "port {port} from the host itself");
        assert_eq!(who(&ask((Ipv4Addr::LOCALHOST, port).into())), "web", "port {port} from the host's loopback");
    }
    assert_eq!(who(&world.outside.ask((Ipv4Addr::new(203, 0, 113, 9), 80))), "web");
    assert_eq!(who(&world.outside.ask((crate::world::HOST, 30081))), "nobody");
    // Only some may come through the balanced port; node ports know no such ranges.
    let mut chosen = exposed.clone();
    let model = || vec![web.model(), client.model()];
    chosen.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    world.apply(Desired { services: vec![chosen.clone()], pods: model(), ..Desired::default() });
    assert_eq!(world.outside.ask((crate::world::HOST, 80)), Err(ErrorKind::TimedOut));
    assert_eq!(who(&world.outside.ask((crate::world::HOST, 30080))), "web");
    assert_eq!(who(&ask((crate::world::HOST, 80).into())), "web", "this host itself");
    chosen.source_ranges.push("198.51.100.0/24".parse().unwrap());
    world.apply(Desired { services: vec![chosen], pods: model(), ..Desired::default() });
    assert_eq!(who(&world.outside.ask((crate::world::HOST, 80))), "web");
}

fn an_endpoint_elsewhere_answers_through_the_node(world: &mut World) {
    world.serve_outside(9000);
    let client = world.pod("client");
    let mut away = service("away", VIP, &[]);
    let endpoint = naru_network::model::Endpoint {
        address: crate::world::OUTSIDE.into(),
        local: false,
        state: EndpointState::Ready,
    };
    away.ports[0].backends = vec![naru_network::model::Backend { endpoint, port: 9000 }];
    away.ports[0].node_port = Some(30090);
    world.apply(Desired { services: vec![away.clone()], ..Desired::default() });
    assert_eq!(who(&client.netns.ask((VIP, 80))), "outside");
    assert_eq!(who(&world.outside.ask((crate::world::HOST, 30090))), "outside");
    away.external_local = true;
    world.apply(Desired { services: vec![away], ..Desired::default() });
    assert_eq!(world.outside.ask((crate::world::HOST, 30090)), Err(ErrorKind::ConnectionRefused));
}
