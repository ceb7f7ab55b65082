//! The cluster as all controllers see it: one informer a kind, shared, and one way to write.
//!
//! Own writes are read back: after a plan has been carried out, its key's turn ends only when the informers show what
//! was written. So the next plan starts from a view that holds the writes of the one before, and nothing is created
//! twice; counters of "expected" events, which have to be expired when one is missed, are not needed.

mod apply;
mod notices;
mod readback;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use naru_client::{BoxError, Cached, Client, Informer, InformerBuilder, ObjectRef, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub use apply::ApplyError;

use crate::network::networks_of;
use crate::resources::*;
use crate::views::{self, *};
use notices::Notices;
use readback::Followed;

/// Tells the time; a simulated world passes its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Index: objects by the uid of the owner that manages them.
pub(crate) const BY_OWNER: &str = "owner";
/// Index: pods by the node they are bound to.
pub(crate) const BY_NODE: &str = "node";
/// Index: objects that nobody manages, by namespace.
pub(crate) const ORPHANS: &str = "orphans";
/// Index: slices by `<namespace>/<service>`.
pub(crate) const BY_SERVICE: &str = "service";
/// Index: services by each of their addresses.
pub(crate) const BY_ADDRESS: &str = "address";
/// Index: pods by `<namespace>/<claim>`.
pub(crate) const BY_CLAIM: &str = "claim";

/// Index: pods that are to go once their replacement serves, under this very name.
pub(crate) const BY_MOVING: &str = "moving";
/// Index: pods by the Networks they are on.
pub(crate) const BY_NETWORK: &str = "network";

/// What controllers see and how they write.
pub struct Cluster {
    /// Requests beyond what plans can say.
    pub client: Client,
    /// Pods.
    pub pods: Informer<Pod>,
    /// Nodes.
    pub nodes: Informer<Node>,
    /// Namespaces.
    pub namespaces: Informer<Namespace>,
    /// Services.
    pub services: Informer<Service>,
    /// IPAddresses.
    pub addresses: Informer<IpAddress>,
    /// ServiceCIDRs.
    pub service_cidrs: Informer<ServiceCidr>,
    /// Endpoints.
    pub endpoints: Informer<Endpoints>,
    /// EndpointSlices.
    pub slices: Informer<EndpointSlice>,
    /// Deployments.
    pub deployments: Informer<Deployment>,
    /// ReplicaSets.
    pub replica_sets: Informer<ReplicaSet>,
    /// ReplicationControllers, read as the ReplicaSets that they are but for their selector's form.
    pub replication_controllers: Informer<ReplicaSet>,
    /// DaemonSets.
    pub daemon_sets: Informer<DaemonSet>,
    /// StatefulSets.
    pub stateful_sets: Informer<StatefulSet>,
    /// ControllerRevisions.
    pub revisions: Informer<ControllerRevision>,
    /// Jobs.
    pub jobs: Informer<Job>,
    /// CronJobs.
    pub cron_jobs: Informer<CronJob>,
    /// ServiceAccounts.
    pub service_accounts: Informer<ServiceAccount>,
    /// The namespaces' copies of the authority's certificate.
    pub root_certificates: Informer<ConfigMap>,
    /// PersistentVolumeClaims.
    pub claims: Informer<PersistentVolumeClaim>,
    /// PersistentVolumes.
    pub volumes: Informer<PersistentVolume>,
    /// StorageClasses.
    pub storage_classes: Informer<StorageClass>,
    /// PodDisruptionBudgets.
    pub budgets: Informer<PodDisruptionBudget>,
    /// Networks.
    pub networks: Informer<Network>,
    /// Leases of nodes.
    pub leases: Informer<Lease>,
    followed: HashMap<Resource, Box<dyn Followed>>,
    /// Room for writes, of all controllers together.
    writing: Semaphore,
    /// Room for bindings, which do not wait behind what a set asks for.
    binding: Semaphore,
    notices: Notices,
    clock: Clock,
}

fn follow<V: DeserializeOwned + Send + Sync + 'static>(resource: Resource) -> InformerBuilder<V> {
    Informer::builder(resource, views::read::<V> as fn(&[u8]) -> Result<V, BoxError>)
}

fn managed<V: DeserializeOwned + Send + Sync + 'static>(
    resource: Resource,
    meta: fn(&V) -> &Meta,
) -> InformerBuilder<V> {
    follow(resource).index(BY_OWNER, move |object: &Cached<V>| owner_uid(meta(&object.view))).index(
        ORPHANS,
        move |object: &Cached<V>| {
            let meta = meta(&object.view);
            if meta.controller().is_none() { vec![meta.namespace.as_str().into()] } else { Vec::new() }
        },
    )
}

fn owner_uid(meta: &Meta) -> Vec<Arc<str>> {
    meta.controller().map(|owner| Arc::from(owner.uid.as_str())).into_iter().collect()
}

impl Cluster {
    /// Starts every informer. Must be called within a tokio runtime.
    pub fn start(client: &Client, clock: Clock) -> Arc<Cluster> {
        let pods = managed(PODS, |pod: &Pod| &pod.metadata)
            .index(BY_NODE, |pod| {
                let node = pod.view.spec.node_name.as_str();
                if node.is_empty() { Vec::new() } else { vec![node.into()] }
            })
            .index(BY_CLAIM, |pod| {
                pod.view.claims().map(|claim| format!("{}/{claim}", pod.key.namespace).into()).collect()
            })
            .index(BY_MOVING, |pod| {
                let moving = crate::rebalance::moving_until(&pod.view.metadata).is_some();
                if moving { vec![BY_MOVING.into()] } else { Vec::new() }
            })
            .index(BY_NETWORK, |pod| networks_of(&pod.view).into_iter().collect())
            .keep_raw()
            .start(client);
        let slices = follow(SLICES)
            .index(BY_SERVICE, |slice: &Cached<EndpointSlice>| {
                let service = slice.view.metadata.label(naru_api::naru::names::SLICE_SERVICE);
                service.map(|service| format!("{}/{service}", slice.key.namespace).into()).into_iter().collect()
            })
            .start(client);
        let mut cluster = Cluster {
            client: client.clone(),
            pods,
            nodes: follow(NODES).keep_raw().start(client),
            namespaces: follow(NAMESPACES).start(client),
            services: follow(SERVICES)
                .index(BY_ADDRESS, |service: &Cached<Service>| {
                    let addresses = service.view.spec.cluster_ips.iter();
                    addresses.filter(|address| *address != "None").map(|address| address.as_str().into()).collect()
                })
                .start(client),
            addresses: follow(IP_ADDRESSES).start(client),
            service_cidrs: follow(SERVICE_CIDRS).start(client),
            endpoints: follow(ENDPOINTS).start(client),
            slices,
            deployments: follow(DEPLOYMENTS).start(client),
            replica_sets: managed(REPLICA_SETS, |set: &ReplicaSet| &set.metadata).start(client),
            replication_controllers: Informer::builder(
                REPLICATION_CONTROLLERS,
                views::read_replication_controller as fn(&[u8]) -> Result<ReplicaSet, BoxError>,
            )
            .start(client),
            daemon_sets: follow(DAEMON_SETS).start(client),
            stateful_sets: follow(STATEFUL_SETS).start(client),
            revisions: managed(REVISIONS, |revision: &ControllerRevision| &revision.metadata).start(client),
            jobs: managed(JOBS, |job: &Job| &job.metadata).start(client),
            cron_jobs: follow(CRON_JOBS).start(client),
            service_accounts: follow(SERVICE_ACCOUNTS).start(client),
            root_certificates: follow(CONFIG_MAPS).fields("metadata.name=kube-root-ca.crt").start(client),
            claims: follow(CLAIMS).start(client),
            volumes: follow(VOLUMES).start(client),
            storage_classes: follow(STORAGE_CLASSES).start(client),
            budgets: follow(BUDGETS).start(client),
            networks: follow(NETWORKS).start(client),
            leases: follow(LEASES).namespace("kube-node-lease").start(client),
            followed: HashMap::new(),
            notices: Notices::start(client.clone(), clock.clone()),
            writing: Semaphore::new(apply::AT_ONCE),
            binding: Semaphore::new(apply::BINDINGS_AT_ONCE),
            clock,
        };
        cluster.register();
        Arc::new(cluster)
    }

    fn register(&mut self) {
        let followed: [(Resource, Box<dyn Followed>); 21] = [
            (PODS, Box::new(self.pods.clone())),
            (NODES, Box::new(self.nodes.clone())),
            (NAMESPACES, Box::new(self.namespaces.clone())),
            (SERVICES, Box::new(self.services.clone())),
            (IP_ADDRESSES, Box::new(self.addresses.clone())),
            (SERVICE_CIDRS, Box::new(self.service_cidrs.clone())),
            (ENDPOINTS, Box::new(self.endpoints.clone())),
            (SLICES, Box::new(self.slices.clone())),
            (DEPLOYMENTS, Box::new(self.deployments.clone())),
            (REPLICA_SETS, Box::new(self.replica_sets.clone())),
            (REPLICATION_CONTROLLERS, Box::new(self.replication_controllers.clone())),
            (DAEMON_SETS, Box::new(self.daemon_sets.clone())),
            (STATEFUL_SETS, Box::new(self.stateful_sets.clone())),
            (REVISIONS, Box::new(self.revisions.clone())),
            (JOBS, Box::new(self.jobs.clone())),
            (CRON_JOBS, Box::new(self.cron_jobs.clone())),
            (SERVICE_ACCOUNTS, Box::new(self.service_accounts.clone())),
            (CLAIMS, Box::new(self.claims.clone())),
            (VOLUMES, Box::new(self.volumes.clone())),
            (BUDGETS, Box::new(self.budgets.clone())),
            (NETWORKS, Box::new(self.networks.clone())),
        ];
        self.followed.extend(followed);
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Waits until every informer knows its collection.
    pub async fn synced(&self) {
        for followed in self.followed.values() {
            followed.reached(1).await;
        }
        self.storage_classes.synced().await;
        self.root_certificates.synced().await;
        self.leases.synced().await;
    }
}

/// Objects with an owner lead to the key of that owner.
pub(crate) fn owner_key(meta: &Meta, kind: &str) -> Option<ObjectRef> {
    let owner = meta.controller().filter(|owner| owner.kind == kind)?;
    Some(ObjectRef::new(&meta.namespace, &owner.name))
}
