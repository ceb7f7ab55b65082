//! `naru agent`: a machine that runs pods for servers elsewhere.
//!
//! The same parts as in a server, with the API at the far end of a wire. A worker only ever dials out: its informers and
//! writes over ordinary requests, and one connection over which servers reach it. It starts without any server where it
//! was a node before, and what ran goes on.

mod link;
mod local;
mod renewal;
mod subnet;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::Ipv4Net;
use naru_agent::Agent;
use naru_agent::dataplane::{Dataplane, DataplaneConfig};
use naru_api::k8s::api::core::v1::Node;
use naru_client::{Client, FailoverTransport, Resource};
use naru_network::model::NodeConfig;
use naru_runtime::image::Images;
use naru_runtime::pod::Pods;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::{AgentOptions, Place};
use crate::cluster::membership::Cluster;
use crate::cluster::{Lock, Membership, address_towards};
use crate::server::{self, network};

/// What the tasks of a worker share.
pub(crate) struct Worker {
    place: Place,
    membership: Mutex<Membership>,
    transport: FailoverTransport,
    client: Client,
    /// Whether a server hears this node.
    heard: watch::Sender<bool>,
    shutdown: CancellationToken,
}

impl Worker {
    /// Notes for good that this node is no member any more, and asks no server from now on.
    fn was_removed(&self, why: String) {
        let mut membership = self.membership.lock();
        membership.cluster.removed = Some(why);
        if let Err(error) = membership.save(&self.place) {
            tracing::warn!(error = format!("{error:#}"), "that this node was removed cannot be noted");
        }
        self.transport.replace(Vec::new(), 0);
    }
}

/// Runs the worker until it is told to end.
pub(crate) async fn run(place: Place, options: AgentOptions) -> anyhow::Result<ExitCode> {
    server::log(&options.log, &options.log_format)?;
    if !rustix::process::geteuid().is_root() {
        bail!("`naru agent` runs containers, which needs root: run `sudo naru agent`");
    }
    let eviction = options.eviction.settings()?;
    let begun = std::time::Instant::now();
    crate::upgrade::collect_children();
    let Some(membership) = Membership::load(&place)? else {
        bail!("this machine belongs to no cluster: run the line that `naru token create` prints on a server");
    };
    server::folders(&place)?;
    let _lock = Lock::take(&place)?;
    // One that was removed asks nobody: a restored cluster might take it in again.
    let servers = if membership.cluster.removed.is_some() { Vec::new() } else { membership.transports()? };
    let transport = FailoverTransport::new(servers);
    let client = Client::new(Arc::new(transport.clone()));
    let cluster = membership.cluster.clone();
    let worker = Arc::new(Worker {
        place: place.clone(),
        membership: Mutex::new(membership),
        transport,
        client: client.clone(),
        heard: watch::Sender::new(false),
        shutdown: CancellationToken::new(),
    });
    let local = local::Listener::bind(&place.socket()).await?;
    server::share_socket(&place.socket());
    // Heard from here on to the end: a signal that comes while the parts start is not lost.
    let mut told = Box::pin(server::until_told_to_end());
    let _ = futures_util::poll!(&mut told);
    let subnet = tokio::select! {
        subnet = subnet(&worker, &cluster) => subnet?,
        ended = &mut told => {
            ended?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let plan = plan(&cluster, subnet)?;
    let addresses = network::follow_addresses({
        let (cluster, plan) = (cluster.clone(), plan.clone());
        move || addresses(&cluster, &plan)
    });
    let first = addresses.borrow().first().copied();
    let images = Images::open(place.state_dir.join("images")).await.context("the image store cannot be opened")?;
    let network = DataplaneConfig {
        heard: worker.heard.subscribe(),
        behind_nat: cluster.behind_nat,
        ..network::dataplane_config(&place, plan.clone(), &cluster.node_name, first)?
    };
    let dataplane = Dataplane::start(&client, network).context("the pod network cannot be set up")?;
    std::fs::write(network::subnet_file(&place), subnet.to_string()).context("cannot write to the state folder")?;
    dataplane.retain(&server::known_pods(&place)).await;
    let pods = Pods::open(network::pods_config(&place)?).context("the container runtime cannot start")?;
    let program = crate::upgrade::Replaceable::new(&place, &pods)?;
    let agent = Agent::start(naru_agent::Config {
        node_name: cluster.node_name.clone(),
        addresses,
        state_dir: place.state_dir.clone(),
        run_dir: place.run_dir.clone(),
        client: client.clone(),
        images,
        runtime: Arc::new(pods),
        network: dataplane.clone(),
        dns: naru_agent::Dns { server: plan.dns.into(), ..naru_agent::Dns::default() },
        labels: cluster.labels.clone(),
        max_pods: server::MAX_PODS,
        eviction,
        pod_cidr: Some(subnet.to_string()),
    });
    let agent = Arc::new(agent.await.context("the node cannot start")?);
    agent.has_program(Arc::new(program.clone()));
    program.settle(client.clone(), cluster.node_name.clone());
    let tasks = [
        tokio::spawn(link::keep(worker.clone(), agent.clone())),
        tokio::spawn(renewal::keep(worker.clone())),
        tokio::spawn(local.serve(worker.clone(), agent.clone())),
    ];
    tracing::info!(
        node = cluster.node_name,
        servers = cluster.addresses().join(" "),
        %subnet,
        milliseconds = begun.elapsed().as_millis() as u64,
        "ready"
    );
    let moved = tokio::select! {
        ended = &mut told => {
            ended?;
            tracing::info!("ending; containers go on");
            None
        }
        () = program.replaced() => None,
        other = subnet::changed(&worker, subnet) => Some(other),
    };
    worker.shutdown.cancel();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    drop((agent, dataplane));
    let _ = std::fs::remove_file(place.socket());
    match moved {
        None if program.is_replaced() => Err(program.execute()),
        None => Ok(ExitCode::SUCCESS),
        Some(other) => subnet::begin_anew(&place, subnet, other).await,
    }
}

/// The pod subnet of this node: the one it had, or the one that the cluster gives it.
async fn subnet(worker: &Worker, cluster: &Cluster) -> anyhow::Result<Ipv4Net> {
    if let Some(known) = network::noted_subnet(&worker.place) {
        return Ok(known);
    }
    let nodes = worker.client.dynamic(Resource::of::<Node>(), None);
    let mut wait = Duration::from_millis(5);
    let mut told = String::new();
    loop {
        let why = match nodes.get(&cluster.node_name).await {
            Ok(node) => match node["spec"]["podCIDR"].as_str().map(str::parse) {
                Some(Ok(subnet)) => return Ok(subnet),
                Some(Err(_)) => bail!("the cluster gave this node {}, which is no IPv4 range", node["spec"]["podCIDR"]),
                None => "the cluster has given this node no subnet yet".to_owned(),
            },
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        if why != told {
            tracing::info!(why, "waiting");
            told = why;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

/// This node's part of the cluster's addresses.
fn plan(cluster: &Cluster, pod_subnet: Ipv4Net) -> anyhow::Result<NodeConfig> {
    let (pods, services) = (&cluster.pod_network, &cluster.service_network);
    let dns = network::dns_of(services.v4)?;
    let six = network::second_family(pods, services, pod_subnet)?;
    let gateway = pod_subnet.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let (cluster_cidr, service_cidr) = (pods.v4, services.v4);
    Ok(NodeConfig { pod_subnet, cluster_cidr, service_cidr, dns, gateway, six, ..NodeConfig::default() })
}

/// The addresses of this machine: the one that was given, or by which it reaches the servers, first.
fn addresses(cluster: &Cluster, plan: &NodeConfig) -> Vec<IpAddr> {
    let preferred = cluster.address.or_else(|| cluster.addresses().iter().find_map(|server| address_towards(server)));
    let mut all: Vec<IpAddr> = preferred.into_iter().collect();
    all.extend(network::addresses(plan).into_iter().filter(|address| Some(*address) != preferred));
    all
}
