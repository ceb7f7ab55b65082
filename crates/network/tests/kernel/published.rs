//! Published ports: from the host, from another machine, from pods.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use naru_network::model::{Desired, Network, Protocol, Published, Service};

use crate::Test;
use crate::world::{HOST, OUTSIDE, World, ask, ask_udp, seen_as, service, sh, who};

pub const TESTS: &[Test] = &[
    ("published::a_port_answers_everywhere_and_keeps_the_client", a_port_answers_everywhere_and_keeps_the_client),
    ("published::a_port_of_one_host_address_answers_only_there", a_port_of_one_host_address_answers_only_there),
    ("published::loopback_stays_loopback", loopback_stays_loopback),
    ("published::a_pods_own_host_port_answers", a_pods_own_host_port_answers),
    ("published::networks_do_not_close_published_ports", networks_do_not_close_published_ports),
    ("published::nobody_behind_a_port_means_refused", nobody_behind_a_port_means_refused),
];

const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 8, 8);

fn published(host_ip: Option<Ipv4Addr>, host_port: u16, protocol: Protocol) -> Published {
    Published { host_ip: host_ip.map(Into::into), host_port, protocol, target_port: 80 }
}

fn with_ports(service: Service, published: Vec<Published>) -> Service {
    Service { published, ..service }
}

fn a_port_answers_everywhere_and_keeps_the_client(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let client = world.pod("client");
    let ports = vec![published(None, 8080, Protocol::Tcp), published(None, 8080, Protocol::Udp)];
    world.apply(Desired {
        services: vec![with_ports(service("web", VIP, &[&web]), ports)],
        pods: vec![web.model(), client.model()],
        ..Desired::default()
    });
    let from_outside = world.outside.ask((HOST, 8080));
    assert_eq!((who(&from_outside), seen_as(&from_outside)), ("web", OUTSIDE.into()));
    assert_eq!(seen_as(&world.outside.ask_udp((HOST, 8080))), OUTSIDE);
    let from_pod = client.netns.ask((HOST, 8080));
    assert_eq!((who(&from_pod), seen_as(&from_pod)), ("web", client.address.into()));
    assert_eq!(who(&client.netns.ask((world.node.gateway, 8080))), "web", "by the name host.docker.internal has");
    assert_eq!(who(&web.netns.ask((HOST, 8080))), "web", "a pod reaches itself through the port it publishes");
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 1, 1), HOST] {
        assert_eq!(who(&ask((address, 8080).into())), "web", "{address} on the host");
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(who(&ask_udp(&socket, (Ipv4Addr::LOCALHOST, 8080).into())), "web");
}

fn a_port_of_one_host_address_answers_only_there(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let ports =
        vec![published(Some(Ipv4Addr::LOCALHOST), 8081, Protocol::Tcp), published(Some(HOST), 8082, Protocol::Tcp)];
    world.apply(Desired { services: vec![with_ports(service("web", VIP, &[&web]), ports)], ..Desired::default() });
    assert_eq!(who(&ask((Ipv4Addr::LOCALHOST, 8081).into())), "web");
    assert_eq!(world.outside.ask((HOST, 8081)), Err(ErrorKind::ConnectionRefused));
    assert_eq!(who(&world.outside.ask((HOST, 8082))), "web");
    assert_eq!(ask((Ipv4Addr::LOCALHOST, 8082).into()), Err(ErrorKind::ConnectionRefused));
}

/// The classic hole of publishing on the loopback: another machine on the wire sends packets to 127.0.0.1.
fn loopback_stays_loopback(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let ports = vec![published(Some(Ipv4Addr::LOCALHOST), 8081, Protocol::Tcp)];
    world.apply(Desired { services: vec![with_ports(service("web", VIP, &[&web]), ports)], ..Desired::default() });
    world.outside.sh(&format!(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; \
         ip route add 127.0.0.1/32 via {HOST} src {OUTSIDE}"
    ));
    assert_eq!(who(&world.outside.ask((Ipv4Addr::LOCALHOST, 8081))), "nobody");
    assert_eq!(sh("cat /proc/sys/net/ipv4/conf/all/route_localnet").trim(), "0");
}

fn a_pods_own_host_port_answers(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let mut model = web.model();
    model.host_ports = vec![published(None, 9090, Protocol::Tcp)];
    world.apply(Desired { pods: vec![model], ..Desired::default() });
    assert_eq!(who(&world.outside.ask((HOST, 9090))), "web");
    assert_eq!(who(&ask((Ipv4Addr::LOCALHOST, 9090).into())), "web");
}

fn networks_do_not_close_published_ports(world: &mut World) {
    let mut web = world.pod_in("web", &["shop_default"]);
    web.serve(80);
    let mut hidden = world.pod_in("hidden", &["shop_inner"]);
    hidden.serve(80);
    let (stranger, flat) = (world.pod_in("stranger", &["other_default"]), world.pod("flat"));
    let network = |name: &str, internal| Network { name: name.into(), internal };
    world.apply(Desired {
        services: vec![
            with_ports(service("web", VIP, &[&web]), vec![published(None, 8080, Protocol::Tcp)]),
            with_ports(
                service("hidden", Ipv4Addr::new(10, 43, 8, 9), &[&hidden]),
                vec![published(None, 8083, Protocol::Tcp)],
            ),
        ],
        pods: [&web, &hidden, &stranger, &flat].map(|pod| pod.model()).to_vec(),
        networks: vec![network("shop_default", false), network("shop_inner", true), network("other_default", false)],
        ..Desired::default()
    });
    assert_eq!(who(&stranger.netns.ask((VIP, 80))), "nobody", "another network's virtual address is closed");
    assert_eq!(who(&stranger.netns.ask((HOST, 8080))), "web", "what is published is for everybody");
    assert_eq!(who(&flat.netns.ask((HOST, 8080))), "web");
    assert_eq!(who(&world.outside.ask((HOST, 8080))), "web");
    assert_eq!(who(&world.outside.ask((HOST, 8083))), "nobody", "internal networks are not published");
    assert_eq!(who(&hidden.netns.ask((HOST, 8080))), "nobody", "and have no way out");
}

fn nobody_behind_a_port_means_refused(world: &mut World) {
    let ports = vec![published(None, 8080, Protocol::Tcp)];
    world.apply(Desired { services: vec![with_ports(service("web", VIP, &[]), ports)], ..Desired::default() });
    assert_eq!(world.outside.ask((HOST, 8080)), Err(ErrorKind::ConnectionRefused));
    assert_eq!(ask((Ipv4Addr::LOCALHOST, 8080).into()), Err(ErrorKind::ConnectionRefused));
}
