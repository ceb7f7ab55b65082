//! Names through real sockets: the helper as a process of its own, asked from pods.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use naru_network::dns::{Member, PodNames, ServiceNames, Zone};
use naru_network::model::{Desired, Protocol, Published};
use naru_network::{Helper, HelperConfig, HelperOptions, HelperProgram, PodResolver, Relay};

use crate::Test;
use crate::world::{HOST, Netns, OUTSIDE, TestPod, World, ask, eventually, service, who};

pub const TESTS: &[Test] = &[
    ("names::pods_find_services_over_udp_and_tcp", pods_find_services_over_udp_and_tcp),
    ("names::docker_s_resolver_address_answers_and_leaves_port_53_free", docker_s_resolver_address_answers),
    ("names::names_survive_the_daemon_and_the_helper_comes_back", names_survive_the_daemon_and_the_helper_comes_back),
    ("names::another_program_takes_over_and_no_question_is_lost", another_program_takes_over),
    ("names::foreign_names_are_asked_upstream", foreign_names_are_asked_upstream),
    ("names::published_ports_answer_on_ipv6", published_ports_answer_on_ipv6),
    ("names::strangers_get_no_answer", strangers_get_no_answer),
];

const PATIENCE: Duration = Duration::from_secs(15);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 10);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 43, 4, 4);

/// A helper of this test, ended with it.
struct Running {
    helper: Option<Helper>,
    dir: tempfile::TempDir,
}

impl Running {
    fn start(world: &World) -> Self {
        let mut running = Self { helper: None, dir: tempfile::tempdir().unwrap() };
        std::fs::write(running.dir.path().join("resolv.conf"), format!("nameserver {DNS}\nnameserver {OUTSIDE}\n"))
            .unwrap();
        running.helper = Some(running.reach(world));
        running
    }

    fn options(&self) -> HelperOptions {
        let dir = self.dir.path();
        HelperOptions {
            socket: dir.join("helper.sock"),
            snapshot: dir.join("helper.json"),
            dns: SocketAddr::new(DNS.into(), 53),
            resolv_conf: dir.join("resolv.conf"),
        }
    }

    fn reach(&self, world: &World) -> Helper {
        self.reach_of(world, std::env::current_exe().unwrap())
    }

    /// The same by a daemon of this program.
    fn reach_of(&self, world: &World, program: PathBuf) -> Helper {
        let config = HelperConfig {
            program: HelperProgram { path: program, args: vec!["helper".into()] },
            options: self.options(),
            log: self.dir.path().join("helper.log"),
        };
        world.block_on(async { Helper::start(config) })
    }

    fn helper(&self) -> &Helper {
        self.helper.as_ref().unwrap()
    }

    fn tell(&self, world: &World, revision: u64, zone: Zone) {
        self.helper().set_zone(revision, Arc::new(zone));
        self.wait(world, |state| state.revision >= revision);
    }

    fn wait(&self, world: &World, condition: impl FnMut(&naru_network::HelperState) -> bool) -> u32 {
        let mut state = self.helper().state();
        world.block_on(async {
            let wait = tokio::time::timeout(Duration::from_secs(15), state.wait_for(condition));
            wait.await.expect("the helper did not get there").unwrap().pid.unwrap_or(0)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First the handle, whose task would start another helper; then every helper there is, by its own socket.
        self.helper = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut absent = 0;
        while absent < 3 && Instant::now() < deadline {
            match std::os::unix::net::UnixStream::connect(self.options().socket) {
                Ok(mut stream) => {
                    absent = 0;
                    let _ = stream.write_all(b"\"stop\"\n");
                    let _ = stream.read(&mut [0; 64]);
                }
                Err(_) => absent += 1,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn zone(pods: &[&TestPod]) -> Zone {
    let members =
        pods.iter().map(|pod| Member { address: pod.address.into(), hostname: None, ready: true, terminating: false });
    Zone {
        domain: "cluster.local".into(),
        host: Some(Ipv4Addr::new(10, 42, 0, 1)),
        host6: None,
        services: vec![ServiceNames {
            namespace: "shop".into(),
            name: "web".into(),
            addresses: vec![VIP.into()],
            members: members.collect(),
            ..ServiceNames::default()
        }],
        pods: pods
            .iter()
            .map(|pod| PodNames {
                namespace: "shop".into(),
                name: pod.name.clone(),
                address: Some(pod.address),
                ..PodNames::default()
            })
            .collect(),
    }
}

fn resolver(pod: &TestPod) -> PodResolver {
    PodResolver { uid: pod.uid.clone(), netns: pod.netns.path(), inode: 0, address: pod.address }
}

/// Asks `server` from inside `netns`; the response code and the addresses.
fn lookup(netns: &Netns, server: Ipv4Addr, name: &str, tcp: bool) -> Option<(ResponseCode, Vec<Ipv4Addr>)> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.metadata.id = 4711;
    query.add_query(Query::query(Name::from_utf8(name).unwrap(), RecordType::A));
    let bytes = query.to_vec().unwrap();
    let answer = netns.run(|| if tcp { over_tcp(server, &bytes) } else { over_udp(server, &bytes) })?;
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.metadata.id, 4711);
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(a.0),
        _ => None,
    });
    Some((message.metadata.response_code, addresses.collect()))
}

fn over_udp(server: Ipv4Addr, query: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    socket.connect((server, 53)).ok()?;
    socket.send(query).ok()?;
    let mut buffer = vec![0; 4096];
    let read = socket.recv(&mut buffer).ok()?;
    buffer.truncate(read);
    Some(buffer)
}

fn over_tcp(server: Ipv4Addr, query: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&(server, 53).into(), Duration::from_millis(900)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(&(query.len() as u16).to_be_bytes()).ok()?;
    stream.write_all(query).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

fn found(addresses: &[Ipv4Addr]) -> Option<(ResponseCode, Vec<Ipv4Addr>)> {
    Some((ResponseCode::NoError, addresses.to_vec()))
}

fn pods_find_services_over_udp_and_tcp(world: &mut World) {
    let (web, client) = (world.pod("web"), world.pod("client"));
    world.apply(Desired { pods: vec![web.model(), client.model()], ..Desired::default() });
    let running = Running::start(world);
    running.tell(world, 1, zone(&[&web, &client]));
    for tcp in [false, true] {
        assert_eq!(lookup(&client.netns, DNS, "web", tcp), found(&[VIP]));
        assert_eq!(lookup(&client.netns, DNS, "web.shop.svc.cluster.local.", tcp), found(&[VIP]));
        assert_eq!(lookup(&client.netns, DNS, "tasks.web", tcp).unwrap().1.len(), 2);
        let missing = lookup(&client.netns, DNS, "nope.shop.svc.cluster.local", tcp).unwrap();
        assert_eq!(missing, (ResponseCode::NXDomain, vec![]));
    }
    let mut changed = zone(&[&web, &client]);
    changed.services[0].addresses = vec![Ipv4Addr::new(10, 43, 4, 5).into()];
    running.tell(world, 2, changed);
    assert_eq!(lookup(&client.netns, DNS, "web", false), found(&[Ipv4Addr::new(10, 43, 4, 5)]));
}

fn docker_s_resolver_address_answers(world: &mut World) {
    let client = world.pod("client");
    let running = Running::start(world);
    running.tell(world, 1, zone(&[&client]));
    let docker = Ipv4Addr::new(127, 0, 0, 11);
    assert_eq!(lookup(&client.netns, docker, "web", false), None);
    let pid = running.wait(world, |state| state.pid.is_some());
    let before = sockets_of(pid);
    for _ in 0..2 {
        world.block_on(running.helper().attach(resolver(&client), PATIENCE)).unwrap();
        for tcp in [false, true] {
            assert_eq!(lookup(&client.netns, docker, "web", tcp), found(&[VIP]), "the asker is known by its namespace");
        }
    }
    // A name server in a container of its own.
    client.netns.run(|| {
        UdpSocket::bind("0.0.0.0:53").unwrap();
        TcpListener::bind("0.0.0.0:53").unwrap();
    });
    world.block_on(running.helper().detach(&client.uid)).unwrap();
    assert_eq!(lookup(&client.netns, docker, "web", false), None);
    eventually("a gone pod's namespace is let go", || sockets_of(pid) == before);
    let nonsense = PodResolver { netns: "/proc/1/ns/nothing".into(), ..resolver(&client) };
    let error = world.block_on(running.helper().attach(nonsense, Duration::from_secs(2))).unwrap_err();
    assert!(error.to_string().contains("/proc/1/ns/nothing"), "{error}");
    // What could not be done is tried again by itself.
    let late = running.dir.path().join("late");
    let pod = PodResolver { netns: late.clone(), ..resolver(&client) };
    world.block_on(running.helper().attach(pod, Duration::from_millis(500))).unwrap_err();
    std::os::unix::fs::symlink(client.netns.path(), &late).unwrap();
    eventually("it answers after all", || lookup(&client.netns, docker, "web", false) == found(&[VIP]));
}

fn sockets_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

fn names_survive_the_daemon_and_the_helper_comes_back(world: &mut World) {
    let (web, client) = (world.pod("web"), world.pod("client"));
    let mut running = Running::start(world);
    running.tell(world, 1, zone(&[&web]));
    world.block_on(running.helper().attach(resolver(&client), PATIENCE)).unwrap();
    let first = running.wait(world, |state| state.pid.is_some());
    let snapshot = running.options().snapshot;
    eventually("the names are on disk", || {
        std::fs::read_to_string(&snapshot).is_ok_and(|text| text.contains("\"web\"") && text.contains("netns"))
    });
    // The daemon goes away: the handle is dropped, and nobody talks to the helper.
    running.helper = None;
    world.block_on(tokio::task::yield_now());
    assert_eq!(lookup(&client.netns, DNS, "web.shop", false), found(&[VIP]));
    // It comes back and adopts the helper as it is, before it knows any names itself.
    running.helper = Some(running.reach(world));
    assert_eq!(running.wait(world, |state| state.pid.is_some()), first, "adopted, not replaced");
    assert_eq!(lookup(&client.netns, DNS, "web.shop", false), found(&[VIP]));
    // The helper dies: another one takes its place and knows everything.
    let pid = rustix::process::Pid::from_raw(first as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    running.wait(world, |state| state.pid.is_some_and(|pid| pid != first));
    assert_eq!(lookup(&client.netns, DNS, "web.shop", false), found(&[VIP]));
    let docker = Ipv4Addr::new(127, 0, 0, 11);
    eventually("the pod is answered again", || lookup(&client.netns, docker, "web.shop", false) == found(&[VIP]));
    // Told to stop, it leaves nothing.
    let helper = running.helper.take().unwrap();
    world.block_on(helper.stop()).unwrap();
    let options = running.options();
    eventually("the helper is gone", || !Path::new(&options.socket).exists() && !options.snapshot.exists());
    assert_eq!(lookup(&client.netns, DNS, "web.shop", false), None);
}

/// What a pod that asks all the time notices of another helper.
#[derive(Default)]
struct Asked {
    questions: usize,
    lost: usize,
    longest: Duration,
}

fn ask_until(netns: &Netns, server: Ipv4Addr, tcp: bool, stop: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        asked.lost += usize::from(lookup(netns, server, "web.shop", tcp) != found(&[VIP]));
        asked.longest = asked.longest.max(begun.elapsed());
        asked.questions += 1;
    }
    asked
}

fn another_program_takes_over(world: &mut World) {
    let (web, client) = (world.pod("web"), world.pod("client"));
    let mut running = Running::start(world);
    running.tell(world, 1, zone(&[&web]));
    world.block_on(running.helper().attach(resolver(&client), PATIENCE)).unwrap();
    let first = running.wait(world, |state| state.pid.is_some());
    let snapshot = running.options().snapshot;
    eventually("the names are on disk", || {
        std::fs::read_to_string(&snapshot).is_ok_and(|text| text.contains("\"web\"") && text.contains("netns"))
    });
    let other = running.dir.path().join("other");
    std::fs::copy(std::env::current_exe().unwrap(), &other).unwrap();
    let stop = AtomicBool::new(false);
    let docker = Ipv4Addr::new(127, 0, 0, 11);
    let (mut before, mut turns) = (first, 0);
    std::thread::scope(|scope| {
        let ask = |server, tcp| {
            let (netns, stop) = (&client.netns, &stop);
            scope.spawn(move || ask_until(netns, server, tcp, stop))
        };
        let asking =
            [(DNS, false), (docker, false), (docker, true)].map(|(server, tcp)| (server, tcp, ask(server, tcp)));
        for program in [other, std::env::current_exe().unwrap()] {
            running.helper = None;
            world.block_on(tokio::task::yield_now());
            running.helper = Some(running.reach_of(world, program.clone()));
            let pid = running.wait(world, |state| state.pid.is_some_and(|pid| pid != before));
            assert_eq!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap(), program);
            (before, turns) = (pid, turns + 1);
            let old = format!("/proc/{}", if turns == 1 { first } else { 0 });
            if turns == 1 {
                // Its own parent is this test, which collects nothing.
                eventually("the old one ends", || {
                    std::fs::read_to_string(format!("{old}/stat")).map_or(true, |stat| stat.contains(") Z"))
                });
            }
        }
        stop.store(true, Ordering::Relaxed);
        for (server, tcp, asking) in asking {
            let asked = asking.join().unwrap();
            let way = if tcp { "TCP" } else { "UDP" };
            eprintln!("{way} {server}: {} questions, the longest took {:?}", asked.questions, asked.longest);
            // Datagrams may be lost on a busy machine at any time; resolvers repeat them.
            let most = if tcp { 0 } else { asked.questions / 1000 };
            assert!(asked.lost <= most, "{way} {server}: {} of {} questions", asked.lost, asked.questions);
        }
    });
}

fn foreign_names_are_asked_upstream(world: &mut World) {
    let client = world.pod("client");
    world.apply(Desired { pods: vec![client.model()], ..Desired::default() });
    let running = Running::start(world);
    let mut names = zone(&[&client]);
    names.services.push(ServiceNames {
        namespace: "shop".into(),
        name: "away".into(),
        external_name: Some("www.example.org".into()),
        ..ServiceNames::default()
    });
    running.tell(world, 1, names);
    // The machine's resolver lists this very server first: it must not ask itself for ever.
    let before = Instant::now();
    let failed = lookup(&client.netns, DNS, "www.example.org", true).unwrap();
    assert_eq!(failed.0, ResponseCode::ServFail, "after {:?}", before.elapsed());
    let _upstream = UpstreamServer::start(&world.outside);
    eventually("the upstream server is asked again", || {
        lookup(&client.netns, DNS, "www.example.org", false) == found(&[Ipv4Addr::new(192, 0, 2, 80)])
    });
    assert_eq!(lookup(&client.netns, DNS, "WWW.example.org", true), found(&[Ipv4Addr::new(192, 0, 2, 80)]));
    let chased = lookup(&client.netns, DNS, "away", false).unwrap();
    assert_eq!(chased.1, [Ipv4Addr::new(192, 0, 2, 80)], "an external name is followed");
}

/// Answers every question with 192.0.2.80.
struct UpstreamServer(Arc<std::sync::atomic::AtomicBool>);

impl UpstreamServer {
    fn start(netns: &Netns) -> Self {
        let socket = netns.run(|| UdpSocket::bind((OUTSIDE, 53)).unwrap());
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let Ok((read, client)) = socket.recv_from(&mut buffer) else { continue };
                let mut message = Message::from_vec(&buffer[..read]).unwrap().into_response();
                let name = message.queries[0].name().clone();
                let address = RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, 80));
                message.add_answer(hickory_proto::rr::Record::from_rdata(name, 30, address));
                let _ = socket.send_to(&message.to_vec().unwrap(), client);
            }
        });
        Self(stop)
    }
}

impl Drop for UpstreamServer {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn published_ports_answer_on_ipv6(world: &mut World) {
    let mut web = world.pod("web");
    web.serve(80);
    let mut published = service("web", VIP, &[&web]);
    published.published = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| Published { host_ip: None, host_port: 8080, protocol, target_port: 80 })
        .to_vec();
    world.apply(Desired { services: vec![published], pods: vec![web.model()], ..Desired::default() });
    let running = Running::start(world);
    let relay = |protocol| Relay {
        listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8080),
        protocol,
        to: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080),
    };
    let _taken = TcpListener::bind("[::1]:8081").unwrap();
    let taken = Relay { listen: "[::1]:8081".parse().unwrap(), ..relay(Protocol::Tcp) };
    running.helper().set_relays(vec![relay(Protocol::Tcp), relay(Protocol::Udp), taken]);
    running.tell(world, 1, zone(&[]));
    running.wait(world, |state| state.failed_relays.len() == 1);
    assert_eq!(running.helper().state().borrow().failed_relays[0].0, taken);
    assert_eq!(who(&ask("[::1]:8080".parse().unwrap())), "web");
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    assert_eq!(who(&crate::world::ask_udp(&socket, "[::1]:8080".parse().unwrap())), "web");
    assert_eq!(who(&ask((Ipv4Addr::LOCALHOST, 8080).into())), "web", "IPv4 stays in the kernel");
    running.helper().set_relays(vec![]);
    eventually("the relay ends", || who(&ask("[::1]:8080".parse().unwrap())) == "nobody");
}

fn strangers_get_no_answer(world: &mut World) {
    let client = world.pod("client");
    world.apply(Desired { pods: vec![client.model()], ..Desired::default() });
    let running = Running::start(world);
    running.tell(world, 1, zone(&[&client]));
    world.outside.sh(&format!("ip route add 10.43.0.0/16 via {HOST}"));
    assert_eq!(lookup(&world.outside, DNS, "web.shop", false), None);
    assert_eq!(lookup(&client.netns, DNS, "web.shop", false), found(&[VIP]));
}
