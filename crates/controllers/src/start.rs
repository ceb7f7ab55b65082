//! Starting every controller over one cluster.

use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use naru_api::{Ranges, Registry};
use naru_client::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::certificates::RequestCleaner;
use crate::cluster::{Clock, Cluster};
use crate::cronjob::CronJobs;
use crate::daemonset::DaemonSets;
use crate::deployment::Deployments;
use crate::disruption::Budgets;
use crate::driver::{self, ControllerStatus, DriverOptions, Running};
use crate::endpoints::ServiceEndpoints;
use crate::expiry::EventExpiry;
use crate::gc::Garbage;
use crate::job::Jobs;
use crate::load_balancer::LoadBalancers;
use crate::namespace::{Namespaces, Provision};
use crate::network::Networks;
use crate::node::{Nodes, PodCollector, Presence, Silence};
use crate::node_ipam::NodeSubnets;
use crate::rebalance::Rebalancing;
use crate::replicaset::{Flavour, ReplicaSets};
use crate::scheduling::Scheduling;
use crate::service_cidr::{ServiceAddresses, ServiceCidrs};
use crate::statefulset::StatefulSets;
use crate::storage::{Claims, Volumes};
use crate::token_secrets::TokenSecrets;

/// How controllers are set up.
#[derive(Clone)]
pub struct Options {
    /// The kinds that are served, whenever they change.
    pub kinds: watch::Receiver<Arc<Registry>>,
    /// The cluster authority's certificate (PEM), which every namespace's pods find in `kube-root-ca.crt`.
    pub authority: String,
    /// How long a node may go without renewing its lease before it counts as lost, also one that is connected.
    pub node_grace: Duration,
    /// How long a node may be disconnected before it counts as lost. Without [`Options::presence`] it has no meaning.
    pub node_gone: Duration,
    /// Which nodes are connected now; without it, only leases count.
    pub presence: Option<Presence>,
    /// The addresses of all pods, of which each node gets a part.
    pub pod_network: Ranges,
    /// How many pods are moved at once to nodes that came later, without being asked; 0: none.
    pub rebalance: usize,
    /// How long Events are kept after they were last seen.
    pub keep_events: Duration,
    /// How many finished pods are kept.
    pub finished_pods: usize,
    /// The folder below which local volumes are, on every node.
    pub volumes: String,
    /// The loop's settings.
    pub driver: DriverOptions,
    /// The clock.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            kinds: watch::channel(Registry::builtin()).1,
            authority: String::new(),
            node_grace: Duration::from_secs(40),
            node_gone: Duration::from_secs(1),
            presence: None,
            pod_network: Ipv4Net::new_assert([10, 42, 0, 0].into(), 16).into(),
            rebalance: 0,
            keep_events: Duration::from_secs(3600),
            finished_pods: 1000,
            volumes: "/var/lib/naru/volumes".into(),
            driver: DriverOptions::default(),
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("node_grace", &self.node_grace).field("driver", &self.driver).finish()
    }
}

/// The running controllers.
pub struct Controllers {
    running: Vec<Running>,
    cluster: Arc<Cluster>,
}

/// Tells which controllers have stopped, and how the others are.
#[derive(Clone, Debug)]
pub struct Pulse(Vec<(&'static str, tokio::task::AbortHandle, driver::Board)>);

/// Starts the informers, waits until they know everything, and starts every controller. Ends when `shutdown` is
/// cancelled and the turns under way are over.
pub async fn start(client: Client, options: Options, shutdown: CancellationToken) -> Controllers {
    let cluster = Cluster::start(&client, options.clock.clone());
    let catalog = Catalog::start(&client, options.kinds, shutdown.clone());
    cluster.synced().await;
    catalog.synced().await;
    let set = Set { options: options.driver, shutdown };
    let scheduling = Scheduling::new(cluster.clone());
    let columns = scheduling.columns();
    let running = vec![
        set.start(scheduling),
        set.start(Rebalancing::new(cluster.clone(), columns, options.rebalance)),
        set.start(Deployments(cluster.clone())),
        set.start(ReplicaSets::of(Flavour::ReplicaSet, cluster.clone())),
        set.start(ReplicaSets::of(Flavour::ReplicationController, cluster.clone())),
        set.start(DaemonSets(cluster.clone())),
        set.start(StatefulSets(cluster.clone())),
        set.start(CronJobs(cluster.clone())),
        set.start(Jobs(cluster.clone())),
        set.start(ServiceEndpoints::new(cluster.clone())),
        set.start(LoadBalancers(cluster.clone())),
        set.start(ServiceAddresses(cluster.clone())),
        set.start(ServiceCidrs(cluster.clone())),
        set.start(Budgets(cluster.clone())),
        set.start(Networks(cluster.clone())),
        set.start(Garbage::new(cluster.clone(), catalog.clone())),
        set.start(Namespaces { cluster: cluster.clone(), catalog }),
        set.start(Provision { cluster: cluster.clone(), certificate: options.authority.into() }),
        set.start({
            let silence = Silence { lease: signed(options.node_grace), gone: signed(options.node_gone) };
            Nodes::new(cluster.clone(), silence, options.presence)
        }),
        set.start(NodeSubnets { cluster: cluster.clone(), range: options.pod_network }),
        set.start(Claims { cluster: cluster.clone(), folder: options.volumes.into() }),
        set.start(Volumes { cluster: cluster.clone() }),
        set.start(EventExpiry { cluster: cluster.clone(), keep: signed(options.keep_events) }),
        set.start(RequestCleaner { cluster: cluster.clone() }),
        set.start(TokenSecrets::start(cluster.clone(), &client)),
        set.start(PodCollector { cluster: cluster.clone(), finished: options.finished_pods }),
    ];
    Controllers { running, cluster }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

struct Set {
    options: DriverOptions,
    shutdown: CancellationToken,
}

impl Set {
    fn start(&self, controller: impl driver::Controller) -> Running {
        driver::start(Arc::new(controller), self.options.clone(), self.shutdown.clone())
    }
}

impl Controllers {
    /// How each is doing.
    pub fn status(&self) -> Vec<ControllerStatus> {
        self.running.iter().map(Running::status).collect()
    }

    /// What tells, as long as this process lives, which of them have stopped.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.running.iter().map(Running::pulse).collect())
    }

    /// What they see.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Waits until all have ended, after the shutdown has been asked for.
    pub async fn ended(self) {
        for running in self.running {
            running.ended().await;
        }
    }
}

impl Pulse {
    /// The names of those that have stopped: of the scheduler alone, or of all others.
    pub fn stopped(&self, scheduler: bool) -> Vec<&'static str> {
        let of = self.0.iter().filter(|(name, ..)| (*name == "scheduler") == scheduler);
        of.filter(|(_, task, _)| task.is_finished()).map(|(name, ..)| *name).collect()
    }

    /// How each is doing.
    pub fn status(&self) -> Vec<ControllerStatus> {
        self.0.iter().map(|(_, _, board)| board.read()).collect()
    }
}
