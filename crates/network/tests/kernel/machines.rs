//! Several machines on two wires with a router between them, each with its own pods and rules.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use naru_network::model::{Desired, Ipv6Config, NodeConfig, PeerNode, Pod};
use naru_network::peers::{Converged, Encryption, Expected, OverlayConfig, Peer, PeerEncryption, Wish, converge_from};
use naru_network::wireguard::{Keys, Preference};
use naru_network::{
    Applier, Helper, HelperConfig, HelperOptions, HelperProgram, LinkConfig, Links, PodAddress, PodAttach,
    second_address,
};

use crate::world::{Netns, Server, TestPod, second_family};

/// The two wires, and the router that is the last address of both.
pub struct Fabric {
    pub router: Netns,
}

impl Fabric {
    pub fn new() -> Self {
        let router = Netns::new();
        router.sh("for lan in 1 2; do ip link add lan$lan type bridge forward_delay 0; ip link set lan$lan up; done; \
             ip addr add 198.51.100.254/24 dev lan1; ip addr add 203.0.113.254/24 dev lan2; \
             echo 1 > /proc/sys/net/ipv4/ip_forward");
        Self { router }
    }

    /// Everything that passes between the machines from now on.
    pub fn capture(&self) -> naru_testkit::Capture {
        naru_testkit::Capture::of(self.router.run(naru_testkit::Capture::socket).expect("a packet socket"))
    }

    /// Puts a namespace on the wire to which `address` belongs.
    pub fn join(&self, netns: &Netns, address: Ipv4Addr) {
        let [a, b, c, last] = address.octets();
        let lan = if a == 198 { 1 } else { 2 };
        netns.sh(&format!(
            "ip link add eth0 type veth peer name port{lan}-{last} netns {router}; ip addr add {address}/24 dev eth0; \
             ip link set eth0 up; ip route add default via {a}.{b}.{c}.254",
            router = self.router.path().display()
        ));
        self.router.sh(&format!("ip link set port{lan}-{last} master lan{lan} up"));
    }

    /// A machine in a network of its own behind `router`.
    pub fn between(router: &Netns, gateway: &str, n: u8, address: &str) -> Machine {
        Machine::plugged(n, address, |netns| {
            netns.sh(&format!(
                "ip link add eth0 type veth peer name inside netns {}; ip addr add {address}/24 dev eth0; \
                 ip link set eth0 up; ip route add default via {gateway}",
                router.path().display()
            ));
            router.sh(&format!("ip addr add {gateway}/24 dev inside; ip link set inside up"));
        })
    }

    /// Pulls a machine's plug.
    pub fn leave(&self, netns: &Netns) {
        netns.sh("ip link del eth0");
    }
}

/// A machine of a cluster.
pub struct Machine {
    pub name: String,
    pub address: Ipv4Addr,
    pub netns: Netns,
    pub node: NodeConfig,
    pub wish: Wish,
    pub encryption: Encryption,
    pub state: tempfile::TempDir,
    links: Links,
    runtime: tokio::runtime::Runtime,
    applier: Option<Applier>,
    revision: u64,
    next: u8,
    servers: Vec<Server>,
    helper: Option<Helper>,
    expected: std::sync::Mutex<Expected>,
}

impl Machine {
    /// Machine number `n` has the pods 10.42.n.0/24.
    pub fn new(fabric: &Fabric, n: u8, address: &str) -> Self {
        Self::plugged(n, address, |netns| fabric.join(netns, address.parse().unwrap()))
    }

    fn plugged(n: u8, address: &str, plug: impl FnOnce(&Netns)) -> Self {
        let netns = Netns::new();
        plug(&netns);
        let address = address.parse().unwrap();
        // Refusals are told by ICMP, of which the kernel sends few to one receiver: tests ask a lot. And the strictest view
        // of where packets may come from, as some distributions have it.
        netns.sh("cd /proc/sys/net/ipv4; echo 0 > icmp_ratelimit; echo 1 > conf/all/rp_filter; \
             test ! -w icmp_msgs_per_sec || echo 100000 > icmp_msgs_per_sec");
        let node = NodeConfig {
            pod_subnet: Ipv4Net::new_assert(Ipv4Addr::new(10, 42, n, 0), 24),
            gateway: Ipv4Addr::new(10, 42, n, 1),
            // Machines that did not forward before: what comes in on the wire leaves on it only when translated.
            guarded: vec!["eth0".into()],
            ..NodeConfig::default()
        };
        let config = LinkConfig {
            pod_subnet: node.pod_subnet,
            service_cidr: node.service_cidr,
            dns: node.dns,
            gateway: node.gateway,
            six: node.six,
        };
        let (links, runtime) = netns.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            (Links::open(config).unwrap(), runtime)
        });
        let mut machine = Self {
            name: format!("m{n}"),
            address,
            netns,
            node,
            wish: Wish::Automatic,
            encryption: Encryption::default(),
            state: tempfile::tempdir().unwrap(),
            links,
            runtime,
            applier: None,
            revision: 0,
            next: 2,
            servers: Vec::new(),
            helper: None,
            expected: std::sync::Mutex::default(),
        };
        machine.apply(Desired::default());
        machine
    }

    pub fn peer(&self) -> Peer {
        Peer {
            name: self.name.clone(),
            pod_cidr: self.node.pod_subnet,
            pod_cidr6: self.node.six.map(|six| six.pod_subnet),
            address: self.address,
            wish: self.wish.clone(),
            encryption: self.encryption.own,
        }
    }

    pub fn config(&self) -> OverlayConfig {
        OverlayConfig {
            node: self.name.clone(),
            address: Some(self.address),
            wish: self.wish.clone(),
            pod_subnet: self.node.pod_subnet,
            cluster_cidr: self.node.cluster_cidr,
            service_cidr: self.node.service_cidr,
            gateway: self.node.gateway,
            six: self.node.six,
            vni: self.node.tunnel.vni,
            port: self.node.tunnel.port,
            mtu: None,
            encryption: self.encryption.clone(),
        }
    }

    pub fn converge(&self, peers: &[Peer]) -> Converged {
        self.netns.run(|| {
            let mut expected = self.expected.lock().unwrap();
            converge_from(&self.config(), peers, self.state.path(), &mut expected).unwrap()
        })
    }

    /// Gives it a key, and a helper that encrypts where the kernel cannot or shall not.
    pub fn encrypt(&mut self, preference: Preference) {
        let keys = Keys::open_or_create(self.state.path()).unwrap();
        self.encryption.preference = preference;
        self.encryption.helper = self.helper_options().socket;
        self.use_key(&keys);
        if self.helper.is_none() {
            self.start_helper();
        }
    }

    /// Uses the newest of its keys, and tells it.
    pub fn use_key(&mut self, keys: &Keys) {
        self.encryption.keys = Some((keys.path().to_owned(), keys.newest()));
        self.encryption.own = PeerEncryption { key: Some(keys.newest()), ..self.encryption.own };
    }

    pub fn start_helper(&mut self) {
        let config = HelperConfig {
            program: HelperProgram { path: std::env::current_exe().unwrap(), args: vec!["helper".into()] },
            options: self.helper_options(),
            log: self.state.path().join("helper.log"),
        };
        std::fs::write(&config.options.resolv_conf, "nameserver 192.0.2.53\n").unwrap();
        // Spawned from a thread of the runtime, which is in the machine's namespace.
        let start = self.runtime.spawn(async move { Helper::start(config) });
        self.helper = Some(self.runtime.block_on(start).unwrap());
        self.helper_process();
    }

    /// The helper's process, once it answers.
    pub fn helper_process(&self) -> i32 {
        let mut state = self.helper.as_ref().unwrap().state();
        self.runtime.block_on(async {
            let wait = tokio::time::timeout(Duration::from_secs(20), state.wait_for(|state| state.pid.is_some()));
            wait.await.expect("no helper").unwrap().pid.unwrap() as i32
        })
    }

    /// Kills the helper and waits until there is another one.
    pub fn kill_helper(&self) {
        let before = self.helper_process();
        let pid = rustix::process::Pid::from_raw(before).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let mut state = self.helper.as_ref().unwrap().state();
        self.runtime.block_on(async {
            let other = |state: &naru_network::HelperState| state.pid.is_some_and(|pid| pid as i32 != before);
            tokio::time::timeout(Duration::from_secs(20), state.wait_for(other)).await.expect("no helper").unwrap();
        });
    }

    fn helper_options(&self) -> HelperOptions {
        let dir = self.state.path();
        HelperOptions {
            socket: dir.join("helper.sock"),
            snapshot: dir.join("helper.json"),
            dns: (self.node.dns, 53).into(),
            resolv_conf: dir.join("resolv.conf"),
        }
    }

    /// Gives machine number `n` and its pods to come a second family.
    pub fn second_family(&mut self, n: u8) {
        let block: ipnet::Ipv6Net = format!("fd00:42:0:{n:x}::/64").parse().unwrap();
        let gateway = second_address(block, self.node.gateway);
        self.node.six = Some(Ipv6Config { pod_subnet: block, gateway, ..second_family() });
        self.applier = None;
        let dir = self.state.path();
        let node = &self.node;
        let config = LinkConfig {
            pod_subnet: node.pod_subnet,
            service_cidr: node.service_cidr,
            dns: node.dns,
            gateway: node.gateway,
            six: node.six,
        };
        self.links = self.netns.run(|| {
            naru_network::HostRecord::open(dir, Some(block)).unwrap();
            Links::open(config).unwrap()
        });
    }

    pub fn pod(&mut self, name: &str) -> TestPod {
        self.pod_with(name, &[], None)
    }

    pub fn pod_with(&mut self, name: &str, networks: &[&str], mtu: Option<u32>) -> TestPod {
        let [a, b, c, _] = self.node.pod_subnet.network().octets();
        let address = Ipv4Addr::new(a, b, c, self.next);
        self.next += 1;
        let mut pod = TestPod::new(name, address, Netns::new(), networks);
        pod.address6 = self.node.six.map(|six| second_address(six.pod_subnet, address));
        let address = PodAddress { v4: address, v6: pod.address6 };
        let attach = PodAttach { uid: pod.uid.clone(), netns: pod.netns.path(), address, mtu };
        self.netns.run(|| self.links.attach(&attach).unwrap());
        pod
    }

    /// A server of the machine's own.
    pub fn serve(&mut self, port: u16) {
        let server = Server::tcp(&self.netns, &self.name, (Ipv4Addr::UNSPECIFIED, port).into());
        self.servers.push(server);
    }

    /// Puts rules in force and waits until the kernel has them.
    pub fn apply(&mut self, desired: Desired) {
        self.revision += 1;
        let revision = self.revision;
        if self.applier.is_none() {
            let node = self.node.clone();
            // Spawned from a thread of the runtime, which is in the machine's namespace.
            let start = self.runtime.spawn(async move { Applier::start(node) });
            self.applier = Some(self.runtime.block_on(start).unwrap());
        }
        let Some(applier) = &self.applier else { return };
        applier.submit(revision, Arc::new(desired));
        let mut applied = applier.applied();
        self.runtime.block_on(async move {
            let wait = applied.wait_for(|applied| applied.revision >= revision || applied.refused.is_some());
            let applied = tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap().unwrap().clone();
            if let Some(refused) = applied.refused {
                panic!("the kernel refused the rules: {refused}");
            }
        });
    }

    pub fn uninstall(&mut self) -> Vec<String> {
        self.applier = None;
        let (dir, subnet) = (self.state.path().to_owned(), self.node.pod_subnet);
        let uninstall = self.runtime.spawn(async move { naru_network::uninstall(&dir, subnet).await });
        self.runtime.block_on(uninstall).unwrap()
    }

    /// Ends the helper for good.
    pub fn stop_helper(&mut self) {
        let helper = self.helper.take().unwrap();
        self.runtime.block_on(helper.stop()).unwrap();
    }

    /// The machine as the rules of others know it.
    pub fn as_node(&self) -> PeerNode {
        PeerNode {
            gateway: self.node.gateway,
            gateway6: self.node.six.map(|six| six.gateway),
            address: self.address,
            encrypted: self.encryption.everywhere || self.wish == Wish::Wireguard,
        }
    }

    /// A file below `/proc/sys`.
    pub fn parameter(&self, path: &str) -> String {
        self.netns.run(|| fs::read_to_string(format!("/proc/sys/{path}")).unwrap()).trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take() {
            let _ = self.runtime.block_on(helper.stop());
        }
    }
}

/// Three machines: two on the first wire, one on the second. And somebody on the first wire who is not one of them.
pub struct Cluster {
    pub fabric: Fabric,
    pub machines: [Machine; 3],
    pub stranger: Netns,
}

pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

impl Cluster {
    pub fn new() -> Self {
        let fabric = Fabric::new();
        let machines = [(1, "198.51.100.1"), (2, "198.51.100.2"), (3, "203.0.113.3")];
        let machines = machines.map(|(n, address)| Machine::new(&fabric, n, address));
        let stranger = Netns::new();
        fabric.join(&stranger, STRANGER);
        Self { fabric, machines, stranger }
    }

    /// Tells every machine of all others.
    pub fn converge(&self) -> [Converged; 3] {
        let peers: Vec<Peer> = self.machines.iter().map(Machine::peer).collect();
        self.machines.each_ref().map(|machine| machine.converge(&peers))
    }

    /// Puts one state of the cluster in force everywhere, as each machine sees it.
    pub fn apply(&mut self, desired: &Desired) {
        let nodes = self.machines.each_ref().map(Machine::as_node);
        for machine in &mut self.machines {
            let here = machine.node.pod_subnet;
            let mut view = desired.clone();
            view.nodes = nodes.into_iter().filter(|node| node.gateway != machine.node.gateway).collect();
            view.pods = view.pods.into_iter().map(|pod| Pod { local: here.contains(&pod.address), ..pod }).collect();
            for service in &mut view.services {
                let backends = service.ports.iter_mut().flat_map(|port| &mut port.backends);
                for endpoint in service.endpoints.iter_mut().chain(backends.map(|backend| &mut backend.endpoint)) {
                    endpoint.local = is_here(&machine.node, &endpoint.address);
                }
            }
            for policy in &mut view.policies {
                policy.pods.retain(|address| is_here(&machine.node, address));
            }
            view.policies.retain(|policy| !policy.pods.is_empty());
            machine.apply(view);
        }
    }
}

/// Whether an address is one of the machine's pods.
fn is_here(node: &NodeConfig, address: &std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(address) => node.pod_subnet.contains(address),
        std::net::IpAddr::V6(address) => node.six.is_some_and(|six| six.pod_subnet.contains(address)),
    }
}
