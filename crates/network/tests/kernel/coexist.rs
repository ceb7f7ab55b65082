//! Beside other firewalls, and on machines that are set up otherwise.

use std::net::Ipv4Addr;
use std::time::Duration;

use naru_network::firewall;
use naru_network::model::{Desired, Protocol, Published};
use naru_network::peers::ClusterNetwork;

use crate::Test;
use crate::world::{HOST, OUTSIDE, TestPod, World, ask, service, sh, who};

pub const TESTS: &[Test] = &[
    ("coexist::docker_s_drop_policy_is_passed_through_its_own_door", docker_s_drop_policy_is_passed),
    ("coexist::ufw_s_drop_policies_are_passed_through_its_own_doors", ufw_s_drop_policies_are_passed),
    ("coexist::what_others_change_is_told", what_others_change_is_told),
    ("coexist::a_drop_without_a_door_is_named", a_drop_without_a_door_is_named),
    ("coexist::bridge_netfilter_makes_no_difference", bridge_netfilter_makes_no_difference),
    ("coexist::guarded_interfaces_do_not_become_a_router", guarded_interfaces_do_not_become_a_router),
    ("coexist::a_foreign_change_is_repaired_by_the_next_one", a_foreign_change_is_repaired_by_the_next_one),
];

const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 6, 6);

/// A pod behind a service and a published port, and a client.
fn shop(world: &mut World) -> (TestPod, TestPod) {
    let mut web = world.pod("web");
    web.serve(80);
    let client = world.pod("client");
    let mut published = service("web", VIP, &[&web]);
    published.published = vec![Published { host_ip: None, host_port: 8080, protocol: Protocol::Tcp, target_port: 80 }];
    world.apply(Desired { services: vec![published], pods: vec![web.model(), client.model()], ..Desired::default() });
    world.serve_outside(7001);
    (web, client)
}

/// Which of the ways that must work do.
fn ways(world: &World, client: &TestPod) -> [bool; 5] {
    [
        client.reaches(VIP, 80),
        client.reaches(OUTSIDE, 7001),
        who(&world.outside.ask((HOST, 8080))) == "web",
        who(&ask((Ipv4Addr::LOCALHOST, 8080).into())) == "web",
        who(&ask((VIP, 80).into())) == "web",
    ]
}

const ALL: [bool; 5] = [true; 5];

fn obstacles() -> Result<Vec<firewall::Obstacle>, firewall::FirewallError> {
    firewall::obstacles(None, None, &ClusterNetwork::default())
}

fn allow(world: &World) -> Result<Vec<String>, firewall::FirewallError> {
    firewall::allow_pods(world.node.cluster_cidr, &ClusterNetwork::default())
}

fn docker_s_drop_policy_is_passed(world: &mut World) {
    let (_web, client) = shop(world);
    sh(
        "nft 'table ip filter { chain DOCKER-USER { counter return; }; chain FORWARD { type filter hook forward priority 0; policy drop; \
        jump DOCKER-USER; }; }'",
    );
    assert_eq!(ways(world, &client), [false, false, false, true, true], "Docker's policy drops what is forwarded");
    assert_eq!(obstacles().unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(allow(world).unwrap(), ["ip filter DOCKER-USER"]);
        assert_eq!(sh("nft list chain ip filter DOCKER-USER").matches(firewall::TAG).count(), 4);
    }
    assert_eq!(ways(world, &client), ALL);
    assert_eq!(obstacles().unwrap(), []);
    firewall::forget_pods().unwrap();
    assert!(!sh("nft list ruleset").contains(firewall::TAG), "and nothing is left behind");
    assert_eq!(ways(world, &client), [false, false, false, true, true]);
}

fn ufw_s_drop_policies_are_passed(world: &mut World) {
    let (_web, client) = shop(world);
    world.serve_host(7000);
    sh(
        "nft 'table ip filter { chain ufw-before-forward { counter; }; chain ufw-before-input { ct state established accept; iifname lo accept; }; \
        chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }; \
        chain INPUT { type filter hook input priority 0; policy drop; jump ufw-before-input; }; }'",
    );
    assert!(!client.reaches(world.node.gateway, 7000) && !client.reaches(VIP, 80));
    let hooks: Vec<String> = obstacles().unwrap().into_iter().map(|obstacle| obstacle.hook).collect();
    assert_eq!(hooks, ["forward", "input"]);
    assert_eq!(allow(world).unwrap().len(), 2);
    assert!(client.reaches(world.node.gateway, 7000), "pods may ask the node");
    assert_eq!(ways(world, &client), ALL);
    assert_eq!(world.outside.ask((HOST, 7000)).ok(), None, "what ufw closes stays closed");
    assert_eq!(obstacles().unwrap(), []);
}

fn what_others_change_is_told(world: &mut World) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let mut changes = firewall::Changes::open().unwrap();
    let mut told =
        |within: Duration| runtime.block_on(async { tokio::time::timeout(within, changes.changed()).await.is_ok() });
    // Our own rules are no news: what comes first is somebody else's.
    shop(world);
    assert!(!told(Duration::from_millis(200)));
    sh("nft 'table ip filter { chain ufw-before-forward { }; }'");
    assert!(told(Duration::from_secs(10)));
}

fn a_drop_without_a_door_is_named(world: &mut World) {
    let (_web, client) = shop(world);
    sh(
        "nft 'table inet mine { chain fence { type filter hook forward priority 10; policy drop; ct state established accept; }; }'",
    );
    assert!(!client.reaches(VIP, 80), "a table that accepts does not overrule one that drops");
    assert_eq!(allow(world).unwrap(), Vec::<String>::new());
    let found = obstacles().unwrap();
    let [obstacle] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((obstacle.table.as_str(), obstacle.chain.as_str()), ("inet mine", "fence"));
    let command = obstacle.advice.strip_prefix("run: ").unwrap();
    sh(command);
    assert_eq!(ways(world, &client), ALL, "the advice works: {command}");
    assert_eq!(obstacles().unwrap(), []);
}

fn bridge_netfilter_makes_no_difference(world: &mut World) {
    let (web, client) = shop(world);
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !std::path::Path::new(switch).exists() {
        eprintln!("SKIPPED: bridge netfilter is not loaded; only its absence was tested");
        assert_eq!(ways(world, &client), ALL);
        return;
    }
    for value in ["0", "1"] {
        std::fs::write(switch, value).unwrap();
        assert_eq!(ways(world, &client), ALL, "{switch} = {value}");
        assert!(client.reaches(web.address, 80));
    }
}

/// Forwarding was off before: turning it on for pods must not connect the machine's networks with one another.
fn guarded_interfaces_do_not_become_a_router(world: &mut World) {
    let beyond = crate::world::Netns::new();
    world.wire(&beyond, "wire2", Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
    world.outside.sh(&format!("ip route add 203.0.113.0/24 via {HOST}"));
    beyond.sh("ip route add default via 203.0.113.1");
    let reach = |world: &World| {
        world.outside.ask((Ipv4Addr::new(203, 0, 113, 2), 9)) == Err(std::io::ErrorKind::ConnectionRefused)
    };
    assert!(reach(world), "the kernel forwards by itself now");
    world.node.guarded = vec!["wire0".into(), "wire2".into()];
    let (_web, client) = shop(world);
    assert!(!reach(world), "the machine became a router");
    assert_eq!(ways(world, &client), ALL);
}

fn a_foreign_change_is_repaired_by_the_next_one(world: &mut World) {
    let (web, client) = shop(world);
    sh("nft flush ruleset");
    assert!(!client.reaches(VIP, 80));
    let mut other = service("web", VIP, &[&web]);
    other.ports.truncate(1);
    world.apply(Desired { services: vec![other], pods: vec![web.model(), client.model()], ..Desired::default() });
    assert!(client.reaches(VIP, 80), "a change that does not fit what is there replaces everything");
}
