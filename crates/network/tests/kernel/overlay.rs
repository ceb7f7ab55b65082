//! Pods of different machines: reach, addresses, packet sizes, and machines that move.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use naru_network::model::Desired;
use naru_network::peers::{Mode, Wish};

use crate::Test;
use crate::machines::{Cluster, STRANGER};
use crate::world::{Server, TestPod, World, ask_udp, eventually, seen_as, who};

pub const TESTS: &[Test] = &[
    ("overlay::pods_keep_their_addresses_on_every_way", pods_keep_their_addresses_on_every_way),
    ("overlay::large_packets_pass_on_every_way", large_packets_pass_on_every_way),
    ("overlay::pods_of_before_the_tunnel_reach_through_it", pods_of_before_the_tunnel_reach_through_it),
    ("overlay::a_machine_that_moves_is_found_again", a_machine_that_moves_is_found_again),
    ("overlay::a_wish_for_the_tunnel_is_granted", a_wish_for_the_tunnel_is_granted),
];

fn pods_on(cluster: &mut Cluster) -> [TestPod; 3] {
    let mut n = 0;
    cluster.machines.each_mut().map(|machine| {
        n += 1;
        let mut pod = machine.pod(&format!("p{n}"));
        pod.serve(80);
        pod
    })
}

fn all_reach_all(pods: &[TestPod; 3]) {
    for from in pods {
        for to in pods {
            let answer = from.netns.reach((to.address, 80));
            let what = format!("{} to {}", from.name, to.name);
            assert_eq!((who(&answer), seen_as(&answer)), (to.name.as_str(), from.address.into()), "{what} by TCP");
            assert_eq!(seen_as(&from.netns.reach_udp((to.address, 80))), from.address, "{what} by UDP");
        }
    }
}

fn pods_keep_their_addresses_on_every_way(_: &mut World) {
    let mut cluster = Cluster::new();
    let pods = pods_on(&mut cluster);
    cluster.apply(&Desired { pods: pods.each_ref().map(|pod| pod.model()).to_vec(), ..Desired::default() });
    assert_eq!(who(&pods[0].netns.ask((pods[1].address, 80))), "nobody", "there is no way yet");
    let converged = cluster.converge();
    assert_eq!(converged.each_ref().map(|outcome| outcome.problems.len()), [0; 3], "{converged:?}");
    let modes = |n: usize| converged[n].plan.modes.values().copied().collect::<Vec<_>>();
    assert_eq!((modes(0), modes(2)), (vec![Mode::Route, Mode::Vxlan], vec![Mode::Vxlan, Mode::Vxlan]));
    all_reach_all(&pods);
    for (machine, to) in [(0, 1), (0, 2), (2, 0)] {
        let host = cluster.machines[machine].netns.reach((pods[to].address, 80));
        assert_eq!(seen_as(&host), cluster.machines[machine].node.gateway, "a machine has one address for all pods");
    }
    // Also when a program has chosen another address of its machine, which the tunnel's far end would not believe.
    let bound = cluster.machines[0].netns.run(|| UdpSocket::bind((cluster.machines[0].address, 0)).unwrap());
    assert_eq!(seen_as(&ask_udp(&bound, (pods[2].address, 80).into())), cluster.machines[0].node.gateway);
    for machine in &mut cluster.machines {
        machine.serve(7000);
    }
    for pod in &pods {
        for machine in &cluster.machines {
            for address in [machine.node.gateway, machine.address] {
                assert_eq!(who(&pod.netns.reach((address, 7000))), machine.name, "{} to {address}", pod.name);
            }
        }
    }
    let nobody = pods[0].netns.reach((Ipv4Addr::new(10, 42, 77, 7), 80));
    assert_eq!(nobody, Err(ErrorKind::HostUnreachable), "what no machine has does not leave by the default route");
    let _server = Server::tcp(&cluster.stranger, "stranger", (Ipv4Addr::UNSPECIFIED, 80).into());
    for (pod, machine) in pods.iter().zip(&cluster.machines) {
        let outside = pod.netns.reach((STRANGER, 80));
        assert_eq!(seen_as(&outside), machine.address, "outside the cluster a pod has its machine's address");
    }
    let again = cluster.converge();
    assert_eq!(again.map(|outcome| outcome.changed), [0; 3], "nothing is left to do");
}

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends `bytes` there and back over one connection.
pub fn carry(from: &TestPod, to: &TestPod, bytes: usize) {
    let listener = to.netns.run(|| TcpListener::bind("0.0.0.0:5000").unwrap());
    // The kernel answers for the server: a way that is not there fails here.
    let mut stream = from.netns.run(|| TcpStream::connect_timeout(&(to.address, 5000).into(), PATIENCE)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&stream, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let sent: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut got = Vec::new();
            server.read_to_end(&mut got).unwrap();
            server.write_all(&got).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        });
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == sent, "{} to {}: {} of {bytes} bytes came back whole", from.name, to.name, back.len());
    });
}

/// Whether one datagram of `size` bytes gets through and is answered.
pub fn datagram(from: &TestPod, to: &TestPod, size: usize) -> bool {
    let server = to.netns.run(|| UdpSocket::bind("0.0.0.0:5001").unwrap());
    server.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    from.netns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((to.address, 5001)).unwrap();
        let mut buffer = vec![0; 65536];
        socket.send(&vec![1; size]).is_ok() && server.recv(&mut buffer).is_ok_and(|read| read == size)
    })
}

fn large_packets_pass_on_every_way(_: &mut World) {
    let mut cluster = Cluster::new();
    cluster.apply(&Desired::default());
    let mtus = cluster.converge().map(|outcome| outcome.plan.mtu);
    assert_eq!(mtus, [1450; 3], "every machine has a peer behind the tunnel");
    let mut n = 0;
    let pods = cluster.machines.each_mut().map(|machine| {
        n += 1;
        machine.pod_with(&format!("p{n}"), &[], Some(1450))
    });
    for (from, to) in [(0, 1), (0, 2), (2, 1)] {
        carry(&pods[from], &pods[to], 300_000);
        // Datagrams up to the packet size may not be taken apart on the way (that is Linux' default); larger ones are
        // by the sender.
        for size in [1450 - 28, 4000, 60_000] {
            assert!(datagram(&pods[from], &pods[to], size), "{size} bytes from p{} to p{}", from + 1, to + 1);
        }
    }
}

fn pods_of_before_the_tunnel_reach_through_it(_: &mut World) {
    let mut cluster = Cluster::new();
    let mut n = 0;
    let pods = cluster.machines.each_mut().map(|machine| {
        n += 1;
        machine.pod_with(&format!("p{n}"), &[], Some(1500))
    });
    cluster.apply(&Desired::default());
    cluster.converge();
    assert!(datagram(&pods[0], &pods[1], 1472), "a wire carries its full size");
    for (from, to) in [(0, 2), (2, 0)] {
        // TCP does not need to be told that its packets are too large: many firewalls keep it from that.
        for pod in [&pods[from], &pods[to]] {
            pod.netns
                .sh("nft 'table ip deaf { chain in { type filter hook input priority 0; meta l4proto icmp drop; }; }'");
        }
        carry(&pods[from], &pods[to], 300_000);
        for pod in [&pods[from], &pods[to]] {
            pod.netns.sh("nft delete table ip deaf");
        }
        eventually("the sender learns the packet size of the way", || datagram(&pods[from], &pods[to], 1472));
    }
}

fn a_machine_that_moves_is_found_again(_: &mut World) {
    let mut cluster = Cluster::new();
    let pods = pods_on(&mut cluster);
    let model = Desired { pods: pods.each_ref().map(|pod| pod.model()).to_vec(), ..Desired::default() };
    cluster.apply(&model);
    cluster.converge();
    all_reach_all(&pods);
    cluster.fabric.leave(&cluster.machines[2].netns);
    assert_eq!(who(&pods[0].netns.ask((pods[2].address, 80))), "nobody");
    assert_eq!(who(&pods[0].netns.reach((pods[1].address, 80))), "p2", "the others do not care");
    // It comes back on the other wire, then on its own with another address.
    for (address, mode) in [("198.51.100.33", Mode::Route), ("203.0.113.44", Mode::Vxlan)] {
        if mode == Mode::Vxlan {
            cluster.fabric.leave(&cluster.machines[2].netns);
        }
        cluster.machines[2].address = address.parse().unwrap();
        cluster.fabric.join(&cluster.machines[2].netns, cluster.machines[2].address);
        cluster.apply(&model);
        let converged = cluster.converge();
        assert_eq!(converged[0].plan.modes["m3"], mode);
        assert!(converged.iter().all(|outcome| outcome.problems.is_empty()), "{converged:?}");
        all_reach_all(&pods);
        let socket = pods[0].netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        assert_eq!(who(&ask_udp(&socket, (pods[2].address, 80).into())), "p3");
    }
    let forwarding = cluster.machines[0].netns.sh("bridge fdb show dev naru-vx");
    assert!(forwarding.contains("dst 203.0.113.44") && !forwarding.contains("203.0.113.3 "), "{forwarding}");
}

fn a_wish_for_the_tunnel_is_granted(_: &mut World) {
    let mut cluster = Cluster::new();
    let pods = pods_on(&mut cluster);
    cluster.machines[1].wish = Wish::Vxlan;
    cluster.apply(&Desired { pods: pods.each_ref().map(|pod| pod.model()).to_vec(), ..Desired::default() });
    let converged = cluster.converge();
    assert_eq!((converged[0].plan.modes["m2"], converged[1].plan.modes["m1"]), (Mode::Vxlan, Mode::Vxlan));
    all_reach_all(&pods);
}
