//! What a change costs on a node with 1,000 services: planning, the whole table, one endpoint, one pod's link.
//!
//! `cargo bench -p naru-network --bench ruleset`, as root: it works in a network namespace of its own.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_network::model::*;
use naru_network::plan::compile;
use naru_network::{Applier, LinkConfig, Links, PodAddress, PodAttach, PodUid};

const SERVICES: usize = 1000;
const ENDPOINTS: usize = 3;
const ROUNDS: usize = 200;

fn desired(moved: usize) -> Desired {
    let address = |n: usize| Ipv4Addr::new(10, 42, (n / 250) as u8, (n % 250 + 2) as u8);
    let services = (0..SERVICES).map(|n| {
        let last = if n == moved { ENDPOINTS - 1 } else { ENDPOINTS };
        let endpoint = |e: usize| Endpoint {
            address: address(n * ENDPOINTS + e).into(),
            local: true,
            state: EndpointState::Ready,
        };
        Service {
            namespace: format!("ns-{}", n % 20),
            name: format!("svc-{n}"),
            cluster_ips: vec![Ipv4Addr::new(10, 43, (n / 250) as u8, (n % 250 + 1) as u8).into()],
            ports: vec![ServicePort {
                protocol: Protocol::Tcp,
                port: 80,
                node_port: None,
                backends: (0..last).map(|e| Backend { endpoint: endpoint(e), port: 8080 }).collect(),
            }],
            ..Service::default()
        }
    });
    let pods = (0..SERVICES * ENDPOINTS).map(|n| Pod {
        uid: PodUid::from(format!("uid-{n}")),
        address: address(n),
        address6: None,
        local: true,
        networks: Default::default(),
        host_ports: Vec::new(),
    });
    Desired { services: services.collect(), pods: pods.collect(), ..Desired::default() }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: median {:?}, p99 {:?} over {}", at(0.5), at(0.99), times.len());
}

#[allow(unsafe_code)]
fn fresh_namespace() -> File {
    // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("root");
    File::open("/proc/thread-self/ns/net").expect("a namespace")
}

fn main() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: ruleset: root is needed");
        return;
    }
    let _host = fresh_namespace();
    let node = NodeConfig::default();
    let state = desired(usize::MAX);
    let plans = (0..20).map(|n| {
        let begin = Instant::now();
        let before = compile(&node, &state);
        std::hint::black_box(before.delta(&compile(&node, &desired(n))));
        begin.elapsed() / 2
    });
    report("ruleset/plan", plans.collect());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let applier = Applier::start(node.clone());
        let mut revision = 0;
        let mut apply = async |state: Desired| {
            revision += 1;
            let state = Arc::new(state);
            let begin = Instant::now();
            applier.submit(revision, state);
            let mut applied = applier.applied();
            let waited = applied.wait_for(|applied| applied.revision >= revision || applied.refused.is_some()).await;
            assert!(waited.expect("the applier").refused.is_none(), "the kernel refused the rules");
            begin.elapsed()
        };
        println!("ruleset/replace: {:?} for {SERVICES} services x {ENDPOINTS}", apply(desired(usize::MAX)).await);
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            times.push(apply(desired(round % SERVICES)).await);
        }
        report("ruleset/endpoint (submitted to in force)", times);
    });
    attach(&node);
}

fn attach(node: &NodeConfig) {
    let links = Links::open(LinkConfig {
        pod_subnet: node.pod_subnet,
        service_cidr: node.service_cidr,
        dns: node.dns,
        gateway: node.gateway,
        six: node.six,
    })
    .expect("links");
    let mut times = Vec::new();
    for n in 0..100u8 {
        let netns = std::thread::spawn(fresh_namespace).join().expect("a namespace");
        let uid = PodUid::from(format!("bench-{n}"));
        let pod = PodAttach {
            uid: uid.clone(),
            netns: format!("/proc/self/fd/{}", netns.as_raw_fd()).into(),
            address: PodAddress { v4: Ipv4Addr::new(10, 42, 0, n + 2), v6: None },
            mtu: None,
        };
        let begin = Instant::now();
        links.attach(&pod).expect("a link");
        times.push(begin.elapsed());
        if n % 2 == 0 {
            links.detach(&uid);
        }
    }
    report("links/attach", times);
}
