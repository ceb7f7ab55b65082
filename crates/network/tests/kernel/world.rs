//! One machine, another machine, and pods, all of them network namespaces.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_network::model::{
    Backend, Desired, Endpoint, EndpointState, Ipv6Config, NodeConfig, Pod, Protocol, Service, ServicePort,
};
use naru_network::{Applier, Attached, LinkConfig, Links, PodAddress, PodAttach, PodUid, second_address};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The host's address on the wire, and the other machine's.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The same of the second family.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
pub const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);

/// Why the tests cannot run here, if they cannot.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root is needed".into());
    }
    for program in ["nft", "ip"] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(format!("the program {program} is missing"));
        }
    }
    None
}

/// A network namespace, kept by its file descriptor alone.
pub struct Netns(File);

impl Netns {
    pub fn new() -> Self {
        std::thread::spawn(|| {
            unshare_network();
            Self(File::open("/proc/thread-self/ns/net").unwrap())
        })
        .join()
        .unwrap()
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs `body` on a thread inside the namespace.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                    body()
                })
                .join()
                .unwrap()
        })
    }

    pub fn sh(&self, script: &str) -> String {
        self.run(|| sh(script))
    }

    /// Connects to `to` and returns what the server said; the error's kind otherwise.
    pub fn ask(&self, to: impl Into<SocketAddr>) -> Result<String, std::io::ErrorKind> {
        let to = to.into();
        self.run(|| ask(to))
    }

    /// As [`Netns::ask`], for what must be reached: a busy machine may lose a packet, or all patience.
    pub fn reach(&self, to: impl Into<SocketAddr>) -> Result<String, std::io::ErrorKind> {
        let to = to.into();
        patiently(|| self.ask(to))
    }

    /// As [`Netns::ask_udp`], for what must be reached.
    pub fn reach_udp(&self, to: impl Into<SocketAddr>) -> Result<String, std::io::ErrorKind> {
        let to = to.into();
        patiently(|| self.ask_udp(to))
    }

    pub fn ask_udp(&self, to: impl Into<SocketAddr>) -> Result<String, std::io::ErrorKind> {
        let to = to.into();
        self.run(|| {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
            ask_udp(&socket, to)
        })
    }
}

fn patiently(ask: impl Fn() -> Result<String, std::io::ErrorKind>) -> Result<String, std::io::ErrorKind> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let silent = |answer: &Result<String, _>| matches!(answer, Err(TimedOut | WouldBlock));
    (0..4).map(|_| ask()).find(|answer| !silent(answer)).unwrap_or_else(&ask)
}

pub fn ask_udp(socket: &UdpSocket, to: SocketAddr) -> Result<String, std::io::ErrorKind> {
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    socket.connect(to).map_err(|error| error.kind())?;
    socket.send(b"?").map_err(|error| error.kind())?;
    let mut buffer = [0; 512];
    let read = socket.recv(&mut buffer).map_err(|error| error.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
}

pub fn ask(to: SocketAddr) -> Result<String, std::io::ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(700)).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    stream.write_all(b"?").map_err(|error| error.kind())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.kind())?;
    Ok(text)
}

pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "`{script}` failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Moves the calling thread into a new network namespace.
#[allow(unsafe_code)]
fn unshare_network() {
    // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    sh("ip link set lo up");
}

/// A server that answers every connection with `<name> <address of the client>`.
pub struct Server {
    tcp: Option<TcpListener>,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Server {
    pub fn tcp(netns: &Netns, name: &str, address: SocketAddr) -> Self {
        let listener = netns.run(|| TcpListener::bind(address).unwrap());
        let (name, accepting) = (name.to_owned(), listener.try_clone().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = accepting.accept() {
                let mut one = [0];
                stream.set_read_timeout(Some(Duration::from_secs(1))).ok();
                if stream.read(&mut one).is_ok() {
                    let _ = write!(stream, "{name} {}", peer.ip().to_canonical());
                }
            }
        });
        Self { tcp: Some(listener), stop: Arc::default() }
    }

    fn udp(netns: &Netns, name: &str, address: SocketAddr) -> Self {
        let socket = netns.run(|| UdpSocket::bind(address).unwrap());
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (name, stopped) = (name.to_owned(), stop.clone());
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(format!("{name} {}", peer.ip().to_canonical()).as_bytes(), peer);
                }
            }
        });
        Self { tcp: None, stop }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(listener) = &self.tcp {
            rustix::net::shutdown(listener, rustix::net::Shutdown::Both).ok();
        }
    }
}

/// A connected pod.
pub struct TestPod {
    pub name: String,
    pub uid: PodUid,
    pub address: Ipv4Addr,
    pub address6: Option<Ipv6Addr>,
    pub netns: Netns,
    pub networks: BTreeSet<String>,
    servers: Vec<Server>,
}

impl TestPod {
    pub fn new(name: &str, address: Ipv4Addr, netns: Netns, networks: &[&str]) -> Self {
        let networks = networks.iter().map(|network| (*network).to_owned()).collect();
        let uid = PodUid::from(format!("uid-of-{name}"));
        Self { name: name.to_owned(), uid, address, address6: None, netns, networks, servers: Vec::new() }
    }

    pub fn serve(&mut self, port: u16) {
        // A socket of IPv6 takes both families.
        let four = (Ipv4Addr::UNSPECIFIED, port).into();
        let address = self.address6.map_or(four, |_| (Ipv6Addr::UNSPECIFIED, port).into());
        self.servers.push(Server::tcp(&self.netns, &self.name, address));
        self.servers.push(Server::udp(&self.netns, &self.name, address));
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address.into(), local: true, state: EndpointState::Ready }
    }

    pub fn backend(&self, port: u16) -> Backend {
        Backend { endpoint: self.endpoint(), port }
    }

    pub fn model(&self) -> Pod {
        Pod {
            uid: self.uid.clone(),
            address: self.address,
            address6: self.address6,
            local: true,
            networks: self.networks.clone(),
            host_ports: Vec::new(),
        }
    }

    /// Both protocols in one look: reachable or not.
    pub fn reaches(&self, address: Ipv4Addr, port: u16) -> bool {
        self.netns.ask((IpAddr::V4(address), port)).is_ok()
    }
}

/// The second family of a machine: its pods' block ends like their IPv4 addresses.
pub fn second_family() -> Ipv6Config {
    Ipv6Config {
        pod_subnet: "fd00:42::/64".parse().unwrap(),
        cluster_cidr: "fd00:42::/48".parse().unwrap(),
        service_cidr: "fd00:43::/112".parse().unwrap(),
        gateway: "fd00:42::a2a:1".parse().unwrap(),
    }
}

pub struct World {
    pub node: NodeConfig,
    pub outside: Netns,
    pub links: Links,
    runtime: tokio::runtime::Runtime,
    applier: Option<Applier>,
    revision: u64,
    next: u8,
    servers: Vec<Server>,
}

impl World {
    /// Runs `test` in a machine of its own and says whether it passed.
    pub fn run(test: fn(&mut World)) -> bool {
        std::thread::spawn(move || {
            unshare_network();
            test(&mut World::new());
        })
        .join()
        .is_ok()
    }

    fn new() -> Self {
        let outside = Netns::new();
        wire(&outside, "wire0", HOST, OUTSIDE);
        sh(&format!("ip route add default via {OUTSIDE}"));
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(forwarding.trim(), "0", "a fresh namespace does not forward");
        let node = NodeConfig::default();
        let links = Links::open(LinkConfig {
            pod_subnet: node.pod_subnet,
            service_cidr: node.service_cidr,
            dns: node.dns,
            gateway: node.gateway,
            six: node.six,
        })
        .unwrap();
        Self {
            node,
            outside,
            links,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            applier: None,
            revision: 0,
            next: 2,
            servers: Vec::new(),
        }
    }

    /// Makes and connects a pod. Its servers answer with its name.
    pub fn pod(&mut self, name: &str) -> TestPod {
        self.pod_in(name, &[])
    }

    pub fn pod_in(&mut self, name: &str, networks: &[&str]) -> TestPod {
        let address = Ipv4Addr::new(10, 42, 0, self.next);
        self.next += 1;
        let mut pod = TestPod::new(name, address, Netns::new(), networks);
        pod.address6 = self.node.six.map(|six| second_address(six.pod_subnet, address));
        let address = PodAddress { v4: address, v6: pod.address6 };
        self.links.attach(&PodAttach { uid: pod.uid.clone(), netns: pod.netns.path(), address, mtu: None }).unwrap();
        pod
    }

    /// Gives the machine, its wire and the pods to come a second family.
    pub fn second_family(&mut self) {
        sh(&format!(
            "ip -6 addr add {HOST6}/64 dev wire0 nodad || true; ip -6 route add default via {OUTSIDE6} || true"
        ));
        self.outside.sh(&format!("ip -6 addr add {OUTSIDE6}/64 dev far nodad"));
        self.node.six = Some(second_family());
        self.applier = None;
        let node = &self.node;
        self.links = Links::open(LinkConfig {
            pod_subnet: node.pod_subnet,
            service_cidr: node.service_cidr,
            dns: node.dns,
            gateway: node.gateway,
            six: node.six,
        })
        .unwrap();
    }

    /// Connects a pod once more, in the namespace it has now.
    pub fn attach_again(&self, pod: &TestPod) -> Attached {
        let address = PodAddress { v4: pod.address, v6: pod.address6 };
        self.links.attach(&PodAttach { uid: pod.uid.clone(), netns: pod.netns.path(), address, mtu: None }).unwrap()
    }

    /// Puts a plan in force and waits until the kernel has it.
    pub fn apply(&mut self, desired: Desired) {
        self.revision += 1;
        let revision = self.revision;
        let node = self.node.clone();
        let applier = &mut self.applier;
        self.runtime.block_on(async move {
            let applier = applier.get_or_insert_with(|| Applier::start(node));
            applier.submit(revision, Arc::new(desired));
            let mut applied = applier.applied();
            let wait = applied.wait_for(|applied| applied.revision >= revision || applied.refused.is_some());
            let applied = tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap().unwrap().clone();
            if let Some(refused) = applied.refused {
                panic!("the kernel refused the rules: {refused}");
            }
        });
    }

    /// Connects a namespace to the host by a wire of its own.
    pub fn wire(&self, other: &Netns, name: &str, here: Ipv4Addr, there: Ipv4Addr) {
        wire(other, name, here, there);
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A server on the other machine.
    pub fn serve_outside(&mut self, port: u16) {
        let family = self.node.six.map_or(IpAddr::V4(OUTSIDE), |_| Ipv6Addr::UNSPECIFIED.into());
        self.servers.push(Server::tcp(&self.outside, "outside", (family, port).into()));
    }

    /// A server on the host.
    pub fn serve_host(&mut self, port: u16) {
        let here = Netns(File::open("/proc/thread-self/ns/net").unwrap());
        let every = self.node.six.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |_| Ipv6Addr::UNSPECIFIED.into());
        self.servers.push(Server::tcp(&here, "host", (every, port).into()));
    }
}

fn wire(other: &Netns, name: &str, here: Ipv4Addr, there: Ipv4Addr) {
    // `ip link set … netns` takes a name below /run/netns or a process, so a process is lent for a moment.
    let mut lent = other.run(|| Command::new("sleep").arg("60").spawn().unwrap());
    sh(&format!(
        "ip link add {name} type veth peer name far; ip link set far netns {}; ip addr add {here}/24 dev {name}; \
         ip link set {name} up",
        lent.id()
    ));
    lent.kill().unwrap();
    lent.wait().unwrap();
    other.sh(&format!("ip addr add {there}/24 dev far; ip link set far up"));
}

/// A service on one TCP and one UDP port, both answered on port 80.
pub fn service(name: &str, cluster_ip: Ipv4Addr, pods: &[&TestPod]) -> Service {
    let port = |protocol| ServicePort {
        protocol,
        port: 80,
        node_port: None,
        backends: pods.iter().map(|pod| pod.backend(80)).collect(),
    };
    Service {
        namespace: "shop".into(),
        name: name.into(),
        cluster_ips: vec![cluster_ip.into()],
        endpoints: pods.iter().map(|pod| pod.endpoint()).collect(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        ..Service::default()
    }
}

/// Who answered, of `<name> <client>`.
pub fn who(answer: &Result<String, std::io::ErrorKind>) -> &str {
    answer.as_ref().map_or("nobody", |text| text.split(' ').next().unwrap_or(""))
}

/// As whom the server saw the client.
pub fn seen_as(answer: &Result<String, std::io::ErrorKind>) -> IpAddr {
    answer.as_ref().expect("an answer").split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    eventually_within(Duration::from_secs(10), what, condition);
}

/// Waits until `condition` holds, for so long.
pub fn eventually_within(patience: Duration, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
