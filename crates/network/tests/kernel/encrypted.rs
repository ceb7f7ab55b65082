//! Encryption between machines: what the wire shows, and what changes meanwhile. Every test runs with each engine that this
//! machine has.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use naru_network::model::Desired;
use naru_network::peers::{Converged, Mode, Wish};
use naru_network::wireguard::{EngineKind, Keys, Preference, kernel_has_it};

use crate::Test;
use crate::machines::{Cluster, Fabric, Machine};
use crate::world::{Netns, TestPod, World, eventually, eventually_within, seen_as, who};

pub const TESTS: &[Test] = &[
    ("encrypted::the_wire_shows_nothing", the_wire_shows_nothing),
    ("encrypted::large_packets_pass", large_packets_pass),
    ("encrypted::keys_change_and_others_notice_nothing", keys_change_and_others_notice_nothing),
    ("encrypted::an_engine_that_dies_comes_back", an_engine_that_dies_comes_back),
    ("encrypted::plain_becomes_encrypted_under_load", plain_becomes_encrypted_under_load),
    ("encrypted::nothing_leaves_in_plain_when_it_cannot", nothing_leaves_in_plain_when_it_cannot),
    ("encrypted::nobody_gets_in_past_it", nobody_gets_in_past_it),
    ("encrypted::any_state_converges", any_state_converges),
    ("encrypted::a_machine_behind_nat_reaches_others", a_machine_behind_nat_reaches_others),
    ("encrypted::leaving_leaves_nothing", leaving_leaves_nothing),
];

const MARKER: &str = "plaintext-marker-8d1f";

/// Runs a test once for each engine.
fn each(test: impl Fn(Preference)) {
    if std::path::Path::new("/dev/net/tun").exists() {
        test(Preference::Userspace);
    } else {
        eprintln!("SKIPPED: encryption by the helper: /dev/net/tun is missing");
    }
    if kernel_has_it() {
        test(Preference::Automatic);
    } else {
        eprintln!("SKIPPED: encryption by the kernel: this one has no WireGuard (module wireguard)");
    }
}

fn cluster(preference: Preference) -> Cluster {
    let mut cluster = Cluster::new();
    for machine in &mut cluster.machines {
        machine.encrypt(preference);
        machine.encryption.everywhere = true;
    }
    cluster
}

fn pods_on(cluster: &mut Cluster) -> [TestPod; 3] {
    let mut n = 0;
    let pods = cluster.machines.each_mut().map(|machine| {
        n += 1;
        let mut pod = machine.pod_with(&format!("p{n}"), &[], Some(1420));
        pod.serve(80);
        pod
    });
    cluster.apply(&Desired { pods: pods.each_ref().map(|pod| pod.model()).to_vec(), ..Desired::default() });
    pods
}

/// Puts one wish of the whole cluster in force: rules first, as ways follow them.
fn turn(cluster: &mut Cluster, pods: &[TestPod; 3], everywhere: bool) -> [Converged; 3] {
    for machine in &mut cluster.machines {
        machine.encryption.everywhere = everywhere;
    }
    cluster.apply(&Desired { pods: pods.each_ref().map(|pod| pod.model()).to_vec(), ..Desired::default() });
    let converged = cluster.converge();
    well(&converged);
    converged
}

fn well(converged: &[Converged; 3]) {
    for outcome in converged {
        assert_eq!((outcome.problems.len(), outcome.incomplete), (0, false), "{:?}", outcome.problems);
    }
}

fn reaches(from: &TestPod, to: &TestPod) -> bool {
    who(&from.netns.ask((to.address, 80))) == to.name
}

fn all_reach_all(pods: &[TestPod]) {
    for from in pods {
        for to in pods.iter().filter(|to| to.name != from.name) {
            let what = format!("{} to {}", from.name, to.name);
            eventually(&what, || reaches(from, to));
            assert_eq!(seen_as(&from.netns.reach((to.address, 80))), from.address, "{what} keeps its address");
        }
    }
}

/// Sends the marker until it was received, there and back.
fn whisper(from: &TestPod, to: &TestPod) {
    let server = to.netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5005)).unwrap());
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let client = from.netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    eventually("the marker arrives and returns", || {
        let mut buffer = [0; 64];
        client.send_to(MARKER.as_bytes(), (to.address, 5005)).is_ok()
            && server.recv_from(&mut buffer).is_ok_and(|(read, back)| {
                buffer[..read] == *MARKER.as_bytes() && server.send_to(MARKER.as_bytes(), back).is_ok()
            })
            && client.recv(&mut buffer).is_ok()
    });
}

fn the_wire_shows_nothing(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        // That the test can see it at all: the plain way shows it.
        turn(&mut cluster, &pods, false);
        let open = cluster.fabric.capture();
        whisper(&pods[0], &pods[1]);
        whisper(&pods[0], &pods[2]);
        assert!(open.end().contain(MARKER), "the plain way is seen");
        let converged = turn(&mut cluster, &pods, true);
        for outcome in &converged {
            assert!(outcome.plan.modes.values().all(|mode| *mode == Mode::Wireguard), "{:?}", outcome.plan.modes);
            assert_eq!(outcome.plan.mtu, 1420);
        }
        let closed = cluster.fabric.capture();
        all_reach_all(&pods);
        for (from, to) in [(0, 1), (0, 2), (2, 1)] {
            whisper(&pods[from], &pods[to]);
        }
        // Machines themselves, and through a port of one of them.
        for (machine, to) in [(0, 1), (2, 0)] {
            let host = cluster.machines[machine].netns.reach((pods[to].address, 80));
            assert_eq!(seen_as(&host), cluster.machines[machine].node.gateway);
        }
        let seen = closed.end();
        assert!(!seen.contain(MARKER) && !seen.contain("p2 10.42."), "plain text on the wire");
        assert!(seen.of_port(51820) > 20, "and yet something was carried");
        assert_eq!(seen.of_network([10, 42]), 0, "no packet with a pod's address is seen on the wire");
        let again = cluster.converge();
        assert_eq!(again.each_ref().map(|outcome| outcome.changed), [0; 3], "nothing is left to do");
        let expected = if preference == Preference::Userspace { EngineKind::Userspace } else { EngineKind::Kernel };
        for outcome in &again {
            assert_eq!(outcome.encrypted.len(), 2);
            assert!(outcome.encrypted.values().all(|peer| peer.engine == expected && peer.handshake.is_some()));
        }
    });
}

/// A stream and datagrams of every size, there and back.
fn large_packets_pass(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        well(&cluster.converge());
        for (from, to) in [(0, 1), (2, 0)] {
            crate::overlay::carry(&pods[from], &pods[to], 3_000_000);
            for size in [1, 1392, 1393, 4000, 60_000] {
                let passes = || crate::overlay::datagram(&pods[from], &pods[to], size);
                eventually(&format!("{size} bytes pass"), passes);
            }
        }
        let mut large = cluster.machines[0].pod_with("of-before", &[], Some(1500));
        large.serve(80);
        crate::overlay::carry(&large, &pods[1], 300_000);
    });
}

/// Connections one after the other, counted, until it is dropped.
struct Load<'a> {
    stop: &'a AtomicBool,
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn keys_change_and_others_notice_nothing(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        well(&cluster.converge());
        all_reach_all(&pods);
        let (stop, count, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _load = Load { stop: &stop };
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let counter =
                        if who(&pods[1].netns.reach((pods[2].address, 80))) == "p3" { &count } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut keys = Keys::open_or_create(cluster.machines[0].state.path()).unwrap();
            let before = keys.newest();
            assert!(keys.rotate("now").unwrap());
            cluster.machines[0].use_key(&keys);
            well(&cluster.converge());
            assert_ne!(keys.newest(), before);
            eventually("the new key is agreed on", || reaches(&pods[0], &pods[1]) && reaches(&pods[2], &pods[0]));
            // A machine that goes, and comes back.
            let peers = cluster.machines.each_ref().map(Machine::peer);
            let gone = cluster.machines[1].converge(&peers[1..]);
            assert_eq!(gone.problems, Vec::<String>::new());
            assert_eq!(who(&pods[1].netns.ask((pods[0].address, 80))), "nobody");
            well(&cluster.converge());
            eventually("it is back", || reaches(&pods[1], &pods[0]));
            let so_far = count.load(Ordering::Relaxed);
            eventually("load goes on", || count.load(Ordering::Relaxed) > so_far + 20);
        });
        assert_eq!(failed.load(Ordering::Relaxed), 0, "two others noticed of {}", count.load(Ordering::Relaxed));
    });
}

fn an_engine_that_dies_comes_back(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        well(&cluster.converge());
        // Nobody converges: it remembers by itself, from the moment it has said that it did what it was told.
        for so_far in ["was just told", "has carried"] {
            cluster.machines[1].kill_helper();
            // A greeting that is lost is said again after five seconds, as WireGuard has it.
            for (from, to) in [(1, 0), (0, 1), (2, 1)] {
                let what = format!("one that {so_far} and died: {from} to {to}");
                eventually_within(Duration::from_secs(40), &what, || reaches(&pods[from], &pods[to]));
            }
            all_reach_all(&pods);
        }
        // Its secret is not among what it remembers.
        let remembered = std::fs::read_to_string(cluster.machines[1].state.path().join("helper.json"));
        let keys = std::fs::read_to_string(cluster.machines[1].state.path().join("wireguard.key")).unwrap();
        let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
        assert!(!remembered.unwrap_or_default().contains(keys["keys"][0].as_str().unwrap()));
        assert_eq!(cluster.converge().map(|outcome| outcome.changed), [0; 3]);
    });
}

fn plain_becomes_encrypted_under_load(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        turn(&mut cluster, &pods, false);
        let (stop, count, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _load = Load { stop: &stop };
            for (from, to) in [(0, 1), (2, 0)] {
                let (from, to, stop, count, failed) = (&pods[from], &pods[to], &stop, &count, &failed);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let good = who(&from.netns.reach((to.address, 80))) == to.name;
                        if good { count } else { failed }.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let more = || {
                let so_far = count.load(Ordering::Relaxed);
                eventually("load goes on", || count.load(Ordering::Relaxed) > so_far + 20);
            };
            more();
            // One by annotation, which is enough for its own ways; then all of them.
            cluster.machines[0].wish = Wish::Wireguard;
            let converged = turn(&mut cluster, &pods, false);
            assert_eq!(converged[1].plan.modes["m1"], Mode::Wireguard);
            assert_eq!(converged[1].plan.modes["m3"], Mode::Vxlan);
            more();
            turn(&mut cluster, &pods, true);
            let closed = cluster.fabric.capture();
            more();
            assert_eq!(closed.end().of_network([10, 42]), 0);
            // And back.
            cluster.machines[0].wish = Wish::Automatic;
            turn(&mut cluster, &pods, false);
            more();
        });
        assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", count.load(Ordering::Relaxed));
        assert!(!cluster.machines[0].netns.sh("ip link").contains("naru-wg"), "nobody is behind it any more");
    });
}

fn nothing_leaves_in_plain_when_it_cannot(_: &mut World) {
    let mut cluster = Cluster::new();
    let pods = pods_on(&mut cluster);
    well(&cluster.converge());
    assert!(reaches(&pods[0], &pods[1]));
    // Wished for by one of two, with no keys anywhere; then with keys, and nobody to encrypt.
    cluster.machines[1].wish = Wish::Wireguard;
    let silent = |cluster: &Cluster, why: &str| {
        let converged = cluster.converge();
        let watch = cluster.fabric.capture();
        for (from, to) in [(0, 1), (1, 0), (1, 2)] {
            assert_eq!(who(&pods[from].netns.ask((pods[to].address, 80))), "nobody");
            let _ = pods[from].netns.ask_udp((pods[to].address, 80));
        }
        assert_eq!(watch.end().of_network([10, 42]), 0);
        assert!(converged[0].problems.iter().any(|problem| problem.contains(why)), "{:?}", converged[0].problems);
        assert!(reaches(&pods[0], &pods[2]), "others are not concerned");
    };
    silent(&cluster, "no key");
    for machine in &mut cluster.machines {
        let keys = Keys::open_or_create(machine.state.path()).unwrap();
        machine.use_key(&keys);
        machine.encryption.preference = Preference::Userspace;
        machine.encryption.helper = machine.state.path().join("nobody.sock");
    }
    silent(&cluster, "naru-wg cannot be made");
    cluster.machines[1].encryption.own.key = None;
    silent(&cluster, "has not told its key");
    cluster.machines[1].encryption.own.key = cluster.machines[2].encryption.own.key;
    let converged = cluster.converge();
    assert!(converged[0].problems.iter().any(|p| p.contains("naru-wg") || p.contains("key of node")), "{converged:?}");
}

fn nobody_gets_in_past_it(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        well(&cluster.converge());
        all_reach_all(&pods);
        let target = pods[0].netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5002)).unwrap());
        target.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        // Everything right but the key: a pod of another machine, and that machine itself, from the wire.
        let here = &cluster.machines[0];
        cluster.stranger.sh(&format!("ip route add {} via {}", here.node.pod_subnet, here.address));
        for source in [pods[1].address, cluster.machines[1].node.gateway, pods[2].address] {
            cluster.stranger.sh(&format!("ip addr add {source}/32 dev lo"));
            cluster.stranger.run(|| {
                let socket = UdpSocket::bind((source, 0)).unwrap();
                let _ = socket.send_to(b"forged", (pods[0].address, 5002));
            });
        }
        // A machine with a key that nobody was told of.
        let mut other = Machine::new(&cluster.fabric, 9, "198.51.100.77");
        other.encrypt(preference);
        other.encryption.everywhere = true;
        let liar = other.pod_with("liar", &[], Some(1420));
        other.converge(&[here.peer()]);
        let _ = liar.netns.ask_udp((pods[0].address, 5002));
        assert!(target.recv(&mut [0; 64]).is_err(), "something came in");
        // One of the cluster with an address that is not its own, and nothing there to keep it from that.
        cluster.machines[1].netns.sh("nft delete table inet naru; ip addr add 10.42.3.99/32 dev lo; ip route replace 10.42.1.0/24 via 10.42.1.1 dev naru-wg onlink proto 110 src 10.42.3.99");
        cluster.machines[1].netns.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::new(10, 42, 3, 99), 0)).unwrap();
            let _ = socket.send_to(b"forged", (pods[0].address, 5002));
        });
        assert!(target.recv(&mut [0; 64]).is_err(), "an address of another machine came in");
    });
}

/// Everything of ours, as the system's own tools tell it.
fn state(machine: &Machine) -> String {
    machine.netns.sh("ip route show proto 110 | sort; ip link show dev naru-wg | grep -o 'mtu [0-9]*' || true; \
         ip link show up dev naru-wg | grep -c naru-wg || true")
}

fn any_state_converges(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        well(&cluster.converge());
        let machine = &cluster.machines[0];
        let (good, peers) = (state(machine), cluster.machines.each_ref().map(Machine::peer));
        for damage in [
            "ip route del 10.42.2.0/24",
            "ip route replace 10.42.2.0/24 via 198.51.100.2 dev eth0 proto 110",
            "ip link set naru-wg down",
            "ip link set naru-wg mtu 1200",
            "ip link del naru-wg",
            "ip link del naru-wg; ip link add naru-wg type veth peer name other",
        ] {
            machine.netns.sh(damage);
            assert_ne!(state(machine), good, "no damage: {damage}");
            let outcome = machine.converge(&peers);
            assert_eq!((outcome.problems, state(machine)), (vec![], good.clone()), "after {damage}");
            assert_eq!(machine.converge(&peers).changed, 0, "after {damage}");
            eventually(damage, || reaches(&pods[0], &pods[1]) && reaches(&pods[2], &pods[0]));
        }
        // A machine that moves, and another port.
        let lan = &cluster.machines[1].netns;
        lan.sh("ip addr del 198.51.100.2/24 dev eth0; ip addr add 198.51.100.22/24 dev eth0; ip route replace default via 198.51.100.254");
        cluster.machines[1].address = Ipv4Addr::new(198, 51, 100, 22);
        well(&cluster.converge());
        eventually("it is found again", || reaches(&pods[0], &pods[1]) && reaches(&pods[1], &pods[2]));
        for machine in &mut cluster.machines {
            machine.encryption.port = 51999;
        }
        well(&cluster.converge());
        eventually("through another port", || reaches(&pods[0], &pods[1]) && reaches(&pods[1], &pods[2]));
    });
}

/// One machine in a network of its own, behind a translator; the two others can be reached.
fn a_machine_behind_nat_reaches_others(_: &mut World) {
    each(|preference| {
        let mut cluster = Cluster::new();
        let home = Netns::new();
        cluster.fabric.join(&home, Ipv4Addr::new(198, 51, 100, 50));
        home.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; \
                 nft 'table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade random; }; }; \
                 table ip filter { chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname != eth0 accept; }; }'");
        let inside = Fabric::between(&home, "192.0.2.254", 4, "192.0.2.4");
        let mut hidden = inside;
        for machine in cluster.machines.iter_mut().chain([&mut hidden]) {
            machine.encrypt(preference);
        }
        hidden.encryption.own.behind_nat = true;
        let pods = pods_on(&mut cluster);
        let mut far = hidden.pod_with("p4", &[], Some(1420));
        far.serve(80);
        let all: Vec<_> = cluster.machines.iter().chain([&hidden]).map(Machine::peer).collect();
        let mut nodes: Vec<_> = cluster.machines.iter().chain([&hidden]).map(Machine::as_node).collect();
        nodes.sort();
        for machine in cluster.machines.iter_mut().chain([&mut hidden]) {
            machine.apply(Desired { nodes: nodes.clone(), ..Desired::default() });
        }
        let modes = |machine: &Machine| {
            let outcome = machine.converge(&all);
            assert_eq!(outcome.problems, Vec::<String>::new());
            outcome.plan.modes
        };
        for machine in &cluster.machines {
            assert_eq!(modes(machine)["m4"], Mode::Wireguard, "encryption is what finds the way back");
        }
        assert!(modes(&hidden).values().all(|mode| *mode == Mode::Wireguard));
        assert_eq!(modes(&cluster.machines[0])["m2"], Mode::Route, "others are not concerned");
        eventually("from inside", || reaches(&far, &pods[0]) && reaches(&far, &pods[2]));
        assert_eq!(seen_as(&far.netns.reach((pods[0].address, 80))), far.address);
        eventually("from outside", || reaches(&pods[0], &far) && reaches(&pods[2], &far));
        // The translator forgets everything: the next sign of life makes a new way.
        home.sh("nft delete table ip nat; nft 'table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade random; }; }'; conntrack -F 2>/dev/null || true");
        eventually("from inside again", || reaches(&far, &pods[0]));
        eventually("from outside again", || reaches(&pods[0], &far));
        // Two behind translators cannot meet, and it is said.
        cluster.machines[2].encryption.own.behind_nat = true;
        let all: Vec<_> = cluster.machines.iter().chain([&hidden]).map(Machine::peer).collect();
        let outcome = hidden.converge(&all);
        let said = outcome.problems.join("\n");
        assert!(said.contains("node m3") && said.contains("both nodes are behind address translation"), "{said}");
        assert!(said.contains("naru.io/wireguard-endpoint"), "{said}");
        // Unless one of them has a door.
        cluster.machines[2].encryption.own.endpoint = Some((cluster.machines[2].address, 51820).into());
        let all: Vec<_> = cluster.machines.iter().chain([&hidden]).map(Machine::peer).collect();
        assert_eq!(hidden.converge(&all).problems, Vec::<String>::new());
        assert_eq!(cluster.machines[2].converge(&all).problems, Vec::<String>::new());
        eventually("through the door", || reaches(&far, &pods[2]) && reaches(&pods[2], &far));
    });
}

fn leaving_leaves_nothing(_: &mut World) {
    each(|preference| {
        let mut cluster = cluster(preference);
        let pods = pods_on(&mut cluster);
        well(&cluster.converge());
        drop(pods);
        let begun = Instant::now();
        let machine = &mut cluster.machines[0];
        assert!(machine.state.path().join("wireguard.key").exists());
        machine.stop_helper();
        assert_eq!(machine.uninstall(), Vec::<String>::new());
        assert!(!machine.netns.sh("ip link; ip route show table all; nft list tables").contains("naru"));
        assert!(!machine.state.path().join("wireguard.key").exists(), "after {:?}", begun.elapsed());
    });
}
