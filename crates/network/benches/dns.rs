//! How many questions a second the DNS server answers, over real sockets on the loopback.
//!
//! `cargo bench -p naru-network --bench dns`. One server thread, as in the helper; clients keep a window of questions
//! in flight. The server and the clients share the machine, so the figure is what one core pair gives, not a core.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use naru_network::dns::{DnsServer, Member, Names, ServiceNames, Upstream, Zone, answer};

const SERVICES: usize = 1000;
const CLIENTS: usize = 2;
const WINDOW: usize = 64;
const DURATION: Duration = Duration::from_secs(3);

fn zone() -> Zone {
    let services = (0..SERVICES).map(|n| ServiceNames {
        namespace: format!("ns-{}", n % 20),
        name: format!("svc-{n}"),
        addresses: vec![Ipv4Addr::new(10, 43, (n / 250) as u8, (n % 250) as u8).into()],
        members: (0..3)
            .map(|m| Member {
                address: Ipv4Addr::new(10, 42, (n / 80) as u8, (n % 80 * 3 + m) as u8).into(),
                hostname: None,
                ready: true,
                terminating: false,
            })
            .collect(),
        ..ServiceNames::default()
    });
    Zone { domain: "cluster.local".into(), services: services.collect(), ..Zone::default() }
}

fn question(n: usize) -> Vec<u8> {
    let name = format!("svc-{}.ns-{}.svc.cluster.local.", n % SERVICES, n % 20);
    let mut message = Message::query();
    message.metadata.id = n as u16;
    message.add_query(Query::query(Name::from_utf8(name).expect("a valid name"), RecordType::A));
    message.to_vec().expect("a short message")
}

fn main() {
    pure();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = udp.local_addr().expect("an address");
    let tcp = std::net::TcpListener::bind(address).expect("the same port");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = DnsServer::new(Upstream::new("/nonexistent".as_ref(), &[]));
            server.set_names(Names::new(zone()));
            let _listener = server.serve(udp, tcp, None).expect("sockets");
            std::future::pending::<()>().await;
        });
    });
    let clients: Vec<_> = (0..CLIENTS).map(|seed| std::thread::spawn(move || client(address, seed * 37))).collect();
    let mut total = 0;
    let mut latencies = Vec::new();
    for client in clients {
        let (count, mut sampled) = client.join().expect("a client");
        total += count;
        latencies.append(&mut sampled);
    }
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "dns/udp: {:.0} questions/s over {SERVICES} services, {} in flight: median {:?}, p99 {:?}",
        total as f64 / DURATION.as_secs_f64(),
        CLIENTS * WINDOW,
        at(0.5),
        at(0.99)
    );
}

/// The function alone.
fn pure() {
    let names = Names::new(zone());
    let queries: Vec<Message> = (0..SERVICES).map(|n| Message::from_vec(&question(n)).expect("a message")).collect();
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let begin = Instant::now();
    let rounds = 20;
    for round in 0..rounds {
        for query in &queries {
            std::hint::black_box(answer(&names, client, query, round));
        }
    }
    let each = begin.elapsed() / (rounds * SERVICES) as u32;
    println!("dns/answer: {each:?} each");
}

fn client(server: SocketAddr, seed: usize) -> (usize, Vec<Duration>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server).expect("the server");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let questions: Vec<Vec<u8>> = (0..SERVICES).map(|n| question(n + seed)).collect();
    let mut sent = [Instant::now(); 1 << 16];
    let mut latencies = Vec::new();
    let mut buffer = [0; 1500];
    let (mut next, mut answered) = (0usize, 0usize);
    let begin = Instant::now();
    let send = |next: &mut usize, sent: &mut [Instant]| {
        let question = &questions[*next % SERVICES];
        sent[usize::from(u16::from_be_bytes([question[0], question[1]]))] = Instant::now();
        socket.send(question).expect("room");
        *next += 1;
    };
    (0..WINDOW).for_each(|_| send(&mut next, &mut sent));
    while begin.elapsed() < DURATION {
        if socket.recv(&mut buffer).is_err() {
            // Lost in a full buffer: begin a new window.
            (0..WINDOW).for_each(|_| send(&mut next, &mut sent));
            continue;
        }
        answered += 1;
        if answered % 16 == 0 {
            latencies.push(sent[usize::from(u16::from_be_bytes([buffer[0], buffer[1]]))].elapsed());
        }
        send(&mut next, &mut sent);
    }
    (answered, latencies)
}
