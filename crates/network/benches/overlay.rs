//! What the way between pods costs: one machine's veths, a plain route, the tunnel, and both encrypted by each engine that
//! this machine has; side by side, in turns, one run.
//!
//! `cargo bench -p naru-network --bench overlay`, as root: machines are network namespaces of its own. All of them share
//! this machine's processors, so only the ratios mean something: on real machines the wire is another one.

#[allow(dead_code)]
#[path = "../tests/kernel/machines.rs"]
mod machines;
#[allow(dead_code)]
#[path = "../tests/kernel/world.rs"]
mod world;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use naru_network::model::Desired;
use naru_network::peers::{OverlayConfig, Peer, PeerEncryption, Wish, converge};
use naru_network::wireguard::{Preference, kernel_has_it};

use machines::Cluster;
use world::TestPod;

const ROUNDS: usize = 7;
const STREAM: Duration = Duration::from_millis(700);
const EXCHANGES: usize = 3000;
const CONNECTIONS: usize = 300;
/// What an encrypted packet leaves room for on a wire of 1500 bytes.
const ENCRYPTED_MTU: u32 = 1420;

/// What one round of one way gave.
#[derive(Clone, Copy, Default)]
struct Figures {
    gigabits: f64,
    exchange: Duration,
    connection: Duration,
}

fn main() {
    // The helper, which encrypts where the kernel cannot, is this very program.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("helper") {
        naru_network::helper_main(arguments);
    }
    if let Some(why) = world::missing() {
        eprintln!("SKIPPED: overlay: {why}");
        return;
    }
    let (mut plain, mut forced) = (Cluster::new(), Cluster::new());
    // The same wire with the tunnel: what encapsulation alone costs.
    forced.machines[0].wish = Wish::Vxlan;
    for cluster in [&mut plain, &mut forced] {
        cluster.apply(&Desired::default());
    }
    let mtu = plain.converge()[0].plan.mtu;
    forced.converge();
    let pod =
        |cluster: &mut Cluster, machine: usize, name: &str| cluster.machines[machine].pod_with(name, &[], Some(mtu));
    let (a, b) = (pod(&mut plain, 0, "a"), pod(&mut plain, 0, "b"));
    let (next, far) = (pod(&mut plain, 1, "next"), pod(&mut plain, 2, "far"));
    let (c, beside) = (pod(&mut forced, 0, "c"), pod(&mut forced, 1, "beside"));
    let encrypted = encrypted();
    let mut ways: Vec<(&str, &TestPod, &TestPod)> = vec![
        ("one machine, veth to veth", &a, &b),
        ("two machines, plain route", &a, &next),
        ("two machines, VXLAN on the same wire", &c, &beside),
        ("two machines, VXLAN over a router", &a, &far),
    ];
    ways.extend(encrypted.iter().map(|(name, _, [from, to])| (*name, from, to)));
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, figures) in ways.iter().zip(&mut rounds) {
            figures.push(measure(way.1, way.2));
        }
    }
    let best: Vec<Figures> = rounds.iter().map(|round| median(round)).collect();
    println!("{:38} {:>10} {:>7} {:>12} {:>7} {:>12} {:>7}", "way", "Gbit/s", "", "exchange", "", "connection", "");
    for ((name, ..), figures) in ways.iter().zip(&best) {
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        println!(
            "{name:38} {:>10.2} {:>6.2}x {:>12.1?} {:>6.2}x {:>12.1?} {:>6.2}x",
            figures.gigabits,
            figures.gigabits / best[0].gigabits,
            figures.exchange,
            ratio(figures.exchange, best[0].exchange),
            figures.connection,
            ratio(figures.connection, best[0].connection),
        );
    }
    println!("medians of {ROUNDS} rounds in turns; packets of {mtu} bytes; ratios to the first line");
    many_nodes();
}

/// Two machines on one wire with everything between them encrypted, for each engine that there is.
fn encrypted() -> Vec<(&'static str, Cluster, [TestPod; 2])> {
    let mut engines = Vec::new();
    match kernel_has_it() {
        true => engines.push(("two machines, encrypted by the kernel", Preference::Automatic)),
        false => println!("SKIPPED: encrypted by the kernel: this one has no WireGuard"),
    }
    match std::path::Path::new("/dev/net/tun").exists() {
        true => engines.push(("two machines, encrypted by the helper", Preference::Userspace)),
        false => println!("SKIPPED: encrypted by the helper: /dev/net/tun is missing"),
    }
    let make = |(name, preference)| {
        let mut cluster = Cluster::new();
        for machine in &mut cluster.machines {
            machine.encrypt(preference);
            machine.encryption.everywhere = true;
        }
        let pods = [0, 1].map(|at| cluster.machines[at].pod_with("e", &[], Some(ENCRYPTED_MTU)));
        let model = pods.each_ref().map(TestPod::model).to_vec();
        cluster.apply(&Desired { pods: model, ..Desired::default() });
        for converged in cluster.converge() {
            assert!(converged.problems.is_empty(), "{:?}", converged.problems);
        }
        (name, cluster, pods)
    };
    engines.into_iter().map(make).collect()
}

/// What it costs to look after the ways to many nodes, half of them behind the tunnel.
fn many_nodes() {
    const NODES: u32 = 5000;
    let cluster = Cluster::new();
    let machine = &cluster.machines[0];
    let config = OverlayConfig { cluster_cidr: "10.0.0.0/9".parse().unwrap(), ..machine.config() };
    let block = |n: u32| Ipv4Net::new_assert(Ipv4Addr::from(0x0a2b_0000 + n * 256), 24);
    let address = |n: u32| Ipv4Addr::from(if n.is_multiple_of(2) { 0xc612_0000 } else { 0xcb00_0000 } + n);
    let peer = |n: u32| Peer {
        name: format!("n{n}"),
        pod_cidr: block(n),
        pod_cidr6: None,
        address: address(n),
        wish: Wish::Automatic,
        encryption: PeerEncryption::default(),
    };
    machine.netns.sh("ip addr add 198.18.255.254/16 dev eth0");
    let mut peers: Vec<Peer> = (0..NODES).map(peer).collect();
    let look = |what: &str, peers: &[Peer], expected: usize| {
        let begin = Instant::now();
        let outcome = machine.netns.run(|| converge(&config, peers, machine.state.path()).unwrap());
        let took = begin.elapsed();
        assert!(outcome.problems.is_empty() && outcome.changed >= expected, "{:?}", outcome.problems);
        println!("ways to {NODES} nodes, {what}: {took:.1?}, {} changes", outcome.changed);
    };
    look("from nothing", &peers, NODES as usize);
    look("nothing to do", &peers, 0);
    peers[7].address = Ipv4Addr::new(203, 0, 200, 1);
    look("one moved", &peers, 1);
    look("all gone", &[], 1);
}

fn median(rounds: &[Figures]) -> Figures {
    fn middle<T: Copy>(
        rounds: &[Figures],
        of: impl Fn(&Figures) -> T,
        order: impl Fn(&T, &T) -> std::cmp::Ordering,
    ) -> T {
        let mut all: Vec<T> = rounds.iter().map(of).collect();
        all.sort_by(order);
        all[all.len() / 2]
    }
    Figures {
        gigabits: middle(rounds, |f| f.gigabits, f64::total_cmp),
        exchange: middle(rounds, |f| f.exchange, Duration::cmp),
        connection: middle(rounds, |f| f.connection, Duration::cmp),
    }
}

/// One stream for a while, many exchanges of one byte, many connections.
fn measure(from: &TestPod, to: &TestPod) -> Figures {
    let listener = to.netns.run(|| TcpListener::bind("0.0.0.0:0").unwrap());
    let address = (to.address, listener.local_addr().unwrap().port());
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener));
        from.netns.run(|| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"s").unwrap();
            let (chunk, begin) = (vec![0u8; 256 * 1024], Instant::now());
            let mut sent = 0usize;
            while begin.elapsed() < STREAM {
                sent += stream.write(&chunk).unwrap();
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read(&mut [0]);
            let gigabits = sent as f64 * 8.0 / 1e9 / begin.elapsed().as_secs_f64();

            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(b"e").unwrap();
            let mut byte = [0];
            let begin = Instant::now();
            for _ in 0..EXCHANGES {
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut byte).unwrap();
            }
            let exchange = begin.elapsed() / EXCHANGES as u32;
            drop(stream);

            let begin = Instant::now();
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"c").unwrap();
                stream.read_exact(&mut byte).unwrap();
            }
            let connection = begin.elapsed() / CONNECTIONS as u32;
            TcpStream::connect(address).unwrap().write_all(b"q").unwrap();
            Figures { gigabits, exchange, connection }
        })
    })
}

/// Does what the first byte of each connection asks for, until one asks to end.
fn serve(listener: &TcpListener) {
    let mut chunk = vec![0u8; 256 * 1024];
    while let Ok((mut stream, _)) = listener.accept() {
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        match first[0] {
            b's' => while stream.read(&mut chunk).is_ok_and(|read| read > 0) {},
            b'e' => {
                stream.set_nodelay(true).unwrap();
                while stream.read_exact(&mut first).is_ok() {
                    stream.write_all(&first).unwrap();
                }
            }
            b'c' => stream.write_all(b"c").unwrap(),
            _ => return,
        }
    }
}
