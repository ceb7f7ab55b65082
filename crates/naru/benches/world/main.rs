//! The simulated world: one real server, thousands of nodes that only pretend to run their pods.
//!
//! Every node is what a real one is towards the server: a certificate of its own by way of a join token, the connection
//! by which its loss is noticed, a lease, watches of its own Node and of its own pods, statuses. All of them live in this
//! process, on the same processors as the server. The pods come from Deployments, DaemonSets and Services by way of the
//! real controllers and scheduler.
//!
//! `cargo bench -p naru --bench world`. `NARU_BENCH_BINARY` names the program; `NARU_WORLD_NODES` (5000),
//! `NARU_WORLD_PODS` (30 a node) and `NARU_WORLD_FOLLOWERS` (0: nodes whose data plane follows all services, slices, pods
//! and nodes) size it.

mod door;
mod fleet;
mod followers;
mod gauge;
mod measure;
mod node;
mod workload;

use naru_testkit::{Host, HostOptions};

use gauge::Process;

fn main() {
    let number =
        |name: &str, otherwise: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let nodes = number("NARU_WORLD_NODES", 5_000);
    let pods = number("NARU_WORLD_PODS", nodes * 30);
    let followers = number("NARU_WORLD_FOLLOWERS", 0);
    let built = option_env!("CARGO_BIN_EXE_naru").map(str::to_owned);
    let program = std::env::var("NARU_BENCH_BINARY").ok().or(built).expect("NARU_BENCH_BINARY names the program");
    let server = ["--pod-network", "10.128.0.0/9", "--service-network", "10.64.0.0/14"].map(str::to_owned).to_vec();
    let options = HostOptions { images: Some(Vec::new()), server, ..HostOptions::default() };
    let Some(host) = Host::start_with(&program, options) else { return };
    let door = door::of(&host);
    let process = Process(host.server_pid().expect("the server runs"));
    host.inside(|| {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        executor.expect("an executor").block_on(measure::measure(&door, &process, nodes, pods, followers));
    });
    if std::env::var_os("NARU_WORLD_LOG").is_some() {
        println!("{}", host.log_tail(200));
    }
}
