//! Whatever state the kernel is in: what is ours converges, what is not stays, and nothing is left behind.

use std::time::Duration;

use naru_network::model::Desired;
use naru_network::peers::{Events, OverlapError, check_overlap};

use crate::Test;
use crate::machines::{Cluster, Machine};
use crate::world::{Netns, World, seen_as, who};

pub const TESTS: &[Test] = &[
    ("overlay::any_state_converges", any_state_converges),
    ("overlay::what_is_not_ours_is_never_touched", what_is_not_ours_is_never_touched),
    ("overlay::leaving_leaves_nothing", leaving_leaves_nothing),
    ("overlay::changes_of_the_machine_are_told", changes_of_the_machine_are_told),
    ("overlay::overlapping_networks_are_refused", overlapping_networks_are_refused),
];

/// Everything of ours, as the system's own tools tell it.
fn state(machine: &Machine) -> String {
    machine.netns.sh(
        "ip route show proto 110 | sort; ip -d link show naru-vx | grep -o 'mtu [0-9]*\\|vxlan id.*nolearning\\|ether [0-9a-f:]*' || true; \
         ip link show up dev naru-vx | grep -c naru-vx || true; ip neigh show dev naru-vx nud permanent | sort; \
         bridge fdb show dev naru-vx | sort; cat /proc/sys/net/ipv4/conf/*/route_localnet",
    )
}

fn any_state_converges(_: &mut World) {
    let mut cluster = Cluster::new();
    let mut pods = cluster.machines.each_mut().map(|machine| machine.pod("pod"));
    pods.iter_mut().for_each(|pod| pod.serve(80));
    cluster.apply(&Desired { pods: pods.each_ref().map(|pod| pod.model()).to_vec(), ..Desired::default() });
    cluster.converge();
    let peers = cluster.machines.each_ref().map(Machine::peer);
    let machine = &cluster.machines[0];
    let good = state(machine);
    for damage in [
        "ip route del 10.42.2.0/24",
        "ip route del 10.42.3.0/24; ip route del unreachable 10.42.0.0/16",
        "ip route replace 10.42.3.0/24 via 198.51.100.77 dev eth0 proto 110",
        "ip route add 10.42.9.0/24 via 198.51.100.77 dev eth0 proto 110; ip route add unreachable 10.99.0.0/16 proto 110 metric 4278198272",
        "ip neigh del 10.42.3.1 dev naru-vx",
        "ip neigh replace 10.42.3.1 lladdr 02:00:00:00:00:01 dev naru-vx; ip neigh add 10.42.8.1 lladdr 02:00:00:00:00:02 dev naru-vx",
        "bridge fdb del $(bridge fdb show dev naru-vx | cut -d' ' -f1) dev naru-vx",
        "bridge fdb replace $(bridge fdb show dev naru-vx | cut -d' ' -f1) dev naru-vx dst 198.51.100.77",
        "bridge fdb append 02:00:00:00:00:03 dev naru-vx dst 198.51.100.78",
        "ip link set naru-vx down",
        "ip link set naru-vx mtu 1200 address 02:00:00:00:00:09",
        "ip link del naru-vx",
        "ip link del naru-vx; ip link add naru-vx type vxlan id 7 dstport 8472 nolearning local 198.51.100.1",
        "ip link del naru-vx; ip link add naru-vx type vxlan id 4242 dstport 8472 local 198.51.100.1; ip link set naru-vx up",
        "ip link del naru-vx; ip link add naru-vx type veth peer name other",
        "echo 0 > /proc/sys/net/ipv4/conf/eth0/route_localnet",
    ] {
        machine.netns.sh(damage);
        assert_ne!(state(machine), good, "no damage: {damage}");
        let outcome = machine.converge(&peers);
        assert_eq!((outcome.problems, state(machine)), (vec![], good.clone()), "after {damage}");
        assert_eq!(machine.converge(&peers).changed, 0, "after {damage}");
    }
    for to in &pods {
        assert_eq!(seen_as(&pods[0].netns.reach((to.address, 80))), pods[0].address);
    }
    // A peer that goes takes everything of its with it, the last one behind the tunnel the tunnel itself.
    let outcome = machine.converge(&peers[..2]);
    assert_eq!((outcome.problems.len(), outcome.plan.mtu), (0, 1500));
    assert!(!machine.netns.sh("ip link; ip route").contains("naru-vx"));
    assert_eq!(who(&pods[0].netns.reach((pods[1].address, 80))), "pod");
}

fn what_is_not_ours_is_never_touched(_: &mut World) {
    let cluster = Cluster::new();
    let machine = &cluster.machines[0];
    machine.netns.sh(
        "ip link add flannel.1 type vxlan id 1 dstport 8472 nolearning local 198.51.100.1; ip link set flannel.1 up; \
         bridge fdb append 02:00:00:00:00:05 dev flannel.1 dst 198.51.100.55; \
         ip route add 10.99.0.0/24 via 198.51.100.77; ip route add 10.98.0.0/24 dev flannel.1 proto 99; \
         ip route add 10.42.2.0/24 via 198.51.100.66; ip rule add pref 77 lookup main; \
         ip route add 10.42.3.0/24 via 198.51.100.66 table 100 proto 110",
    );
    let foreign = || {
        machine
            .netns
            .sh("ip route show table all | grep -v 'proto 110\\|naru' | sort; ip route show table 100; ip rule; \
             bridge fdb show dev flannel.1; ip -d link show flannel.1")
    };
    let before = foreign();
    let peers = cluster.machines.each_ref().map(Machine::peer);
    let outcome = machine.converge(&peers);
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert!(outcome.problems[0].contains("node m2") && outcome.problems[0].contains("10.42.2.0/24"), "{outcome:?}");
    assert_eq!(foreign(), before);
    machine.netns.run(naru_network::peers::remove).unwrap();
    assert_eq!(foreign(), before);
    // The number and the port of somebody else's tunnel: said, and left alone.
    machine.netns.sh("ip link add theirs type vxlan id 4242 dstport 8472 nolearning local 198.51.100.1");
    let outcome = machine.converge(&peers);
    assert!(
        outcome.incomplete && outcome.problems.iter().any(|p| p.contains("another tunnel with number 4242")),
        "{outcome:?}"
    );
    machine.netns.sh("ip link show theirs; ip link del theirs");
    assert!(!machine.converge(&peers).incomplete);
    assert_eq!(foreign(), before);
}

fn leaving_leaves_nothing(_: &mut World) {
    let mut cluster = Cluster::new();
    let pod = cluster.machines[0].pod("pod");
    cluster.converge();
    let machine = &mut cluster.machines[0];
    assert_eq!(machine.parameter("net/ipv4/conf/eth0/route_localnet"), "1");
    drop(pod);
    assert_eq!(machine.uninstall(), Vec::<String>::new());
    assert!(!machine.netns.sh("ip link; ip route show table all; nft list tables").contains("naru"));
    assert!(!machine.netns.sh("ip route show table all").contains("10.42."));
    assert_eq!(machine.parameter("net/ipv4/conf/eth0/route_localnet"), "0");
    assert_eq!(machine.uninstall(), Vec::<String>::new(), "leaving twice is leaving once");
}

fn changes_of_the_machine_are_told(_: &mut World) {
    let cluster = Cluster::new();
    let machine = &cluster.machines[0];
    let peers = cluster.machines.each_ref().map(Machine::peer);
    let told = |script: &str| {
        machine.netns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                machine.converge(&peers);
                let mut events = Events::open().unwrap();
                while tokio::time::timeout(Duration::from_millis(100), events.changed()).await.is_ok() {}
                crate::world::sh(script);
                tokio::time::timeout(Duration::from_millis(1500), events.changed()).await.is_ok()
            })
        })
    };
    for script in [
        "ip route del 10.42.2.0/24",
        "bridge fdb del $(bridge fdb show dev naru-vx | cut -d' ' -f1) dev naru-vx",
        "ip neigh del 10.42.3.1 dev naru-vx",
        "ip link set naru-vx down",
        "ip link set eth0 mtu 1400",
        "ip addr add 192.0.2.7/24 dev eth0",
        "ip route add 192.0.3.0/24 via 198.51.100.2",
    ] {
        assert!(told(script), "{script} was not told");
    }
    for script in [
        "ip route add 10.42.1.77/32 dev naru-dns proto 110",
        "ip neigh add 198.51.100.88 lladdr 02:00:00:00:00:07 dev eth0",
    ] {
        assert!(!told(script), "{script} is no reason to look");
    }
}

fn overlapping_networks_are_refused(_: &mut World) {
    let netns = Netns::new();
    let check = || {
        let node = naru_network::model::NodeConfig::default();
        netns.run(|| check_overlap(node.cluster_cidr, node.service_cidr))
    };
    assert!(check().is_ok());
    netns.sh("ip link add eth0 type veth peer name other; ip addr add 10.42.3.7/24 dev eth0; ip link set eth0 up; \
         ip link set other up");
    let refused = check().unwrap_err();
    let text = refused.to_string();
    assert!(
        matches!(refused, OverlapError::Taken(_)) && text.contains("10.42.3.0/24") && text.contains("eth0"),
        "{text}"
    );
    netns.sh(
        "ip addr del 10.42.3.7/24 dev eth0; ip addr add 192.0.2.1/24 dev eth0; ip route add 10.43.0.0/20 via 192.0.2.9",
    );
    assert!(check().unwrap_err().to_string().contains("--service-network"));
    netns.sh("ip route del 10.43.0.0/20; ip route add 10.0.0.0/8 via 192.0.2.9");
    assert!(check().is_ok(), "a wide route only loses what is ours");
    // A machine that already is a node has our addresses and routes, which are no overlap.
    let cluster = Cluster::new();
    cluster.converge();
    let node = &cluster.machines[0].node;
    cluster.machines[0].netns.run(|| check_overlap(node.cluster_cidr, node.service_cidr)).unwrap();
}
