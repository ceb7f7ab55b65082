//! The Node object and its lease.

use std::time::Duration;

use jiff::Timestamp;
use naru_api::View;
use naru_api::k8s::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeCondition},
};
use naru_client::{ClientError, Informer, PatchKind, Resource};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    conditions::conditions,
    facts::{Machine, architecture, labels},
};
use crate::{Config, pressure::Pressures};

/// How often the node looks at itself.
const LOOK: Duration = Duration::from_secs(5);
/// How often its lease is renewed, as kubelet does: what tells of a lost node at once is its connection, and thousands of
/// renewals a second would be the most that a server at rest does. One that was given up renews at once.
const RENEW: Duration = Duration::from_secs(10);
/// A status without news is told this often. The lease says that the node lives; every other node follows this one's
/// object, so what is told again and again costs as much as there are pairs of nodes (kubelet's own: 5 minutes).
const STATUS_AGAIN: Duration = Duration::from_secs(300);
const LEASE_SECONDS: i32 = 40;
/// Annotation of a Node: the addresses that its pods have, as the node itself knows them. A cluster that has forgotten
/// what it gave (it was restored from before) gives the same again where that is free.
const POD_SUBNET: &str = "naru.io/pod-subnet";

/// Registers the node and keeps its status and lease current, for ever.
pub(crate) async fn keep_registered(config: Config, mut pressures: watch::Receiver<Pressures>) {
    let machine = Machine::read(&config.state_dir);
    let mut wait = Duration::from_millis(20);
    while let Err(error) = register(&config, &machine, &pressures).await {
        tracing::debug!(error = %crate::chain(&error), "the node is not registered yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
    // The cluster may have given this node up while it was cut off: whoever comes back says so at once.
    let own = Informer::builder(Resource::of::<Node>(), |json| Ok(Seen::of(&Node::from_json(json)?)))
        .fields(&format!("metadata.name={}", config.node_name))
        .start(&config.client);
    let mut seen = own.changed();
    let mut told: Vec<NodeCondition> = Vec::new();
    let (mut addresses, mut moved) = (config.addresses.clone(), false);
    let mut told_at: Option<tokio::time::Instant> = None;
    let mut renewed = None;
    loop {
        let given_up = own.get("", &config.node_name).is_some_and(|node| !node.view.ready);
        if given_up || renewed.is_none_or(|at: tokio::time::Instant| at.elapsed() + LOOK / 2 >= RENEW) {
            match beat(&config).await {
                Ok(()) => renewed = Some(tokio::time::Instant::now()),
                Err(error) => tracing::debug!(error = %crate::chain(&error), "the node's lease was not renewed"),
            }
        }
        moved |= addresses.has_changed().unwrap_or(false);
        addresses.mark_unchanged();
        let pressed = pressures.borrow_and_update().clone();
        let (troubles, ways) = (config.network.troubles(), config.network.ways());
        let now = conditions(&pressed, &troubles, &ways, &told, Timestamp::now());
        let differ =
            |(new, old): (&NodeCondition, &NodeCondition)| new.status != old.status || new.message != old.message;
        let changed = moved || now.len() != told.len() || now.iter().zip(&told).any(differ);
        let seen_now = own.get("", &config.node_name).map(|node| node.view.clone());
        let given_up = told_at.is_some() && seen_now.as_ref().is_some_and(|seen| !seen.ready);
        if seen_now.is_some_and(|seen| told_at.is_some() && seen.subnet != config.pod_cidr) {
            // Made anew by a restored cluster, which knows no more of this node than its key.
            drop(register(&config, &machine, &pressures).await);
        }
        if changed || given_up || told_at.is_none_or(|at| at.elapsed() >= STATUS_AGAIN) {
            match tell(&config, &machine, &now).await {
                Ok(()) => (told, told_at, moved) = (now, Some(tokio::time::Instant::now()), false),
                // Deleted by hand: a node that runs is registered.
                Err(error) if error.is_not_found() => drop(register(&config, &machine, &pressures).await),
                Err(error) => tracing::debug!(error = %crate::chain(&error), "the node's status was not told"),
            }
        }
        let again = tokio::time::Instant::now() + LOOK;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(again) => break,
                Ok(()) = pressures.changed() => {
                    pressures.mark_changed();
                    break;
                }
                Ok(()) = addresses.changed() => {
                    addresses.mark_changed();
                    break;
                }
                changed = seen.changed() => {
                    if changed.is_err() {
                        tokio::time::sleep_until(again).await;
                        break;
                    }
                    let unknown = |seen: &Seen| !seen.ready || seen.subnet != config.pod_cidr;
                    if own.get("", &config.node_name).is_some_and(|node| unknown(&node.view)) {
                        break;
                    }
                }
            }
        }
    }
}

/// What the cluster says of the node.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    ready: bool,
    subnet: Option<String>,
}

impl Seen {
    fn of(node: &Node) -> Seen {
        let annotations = node.metadata.annotations.as_ref();
        Seen { ready: is_ready(node), subnet: annotations.and_then(|all| all.get(POD_SUBNET).cloned()) }
    }
}

/// Whether the cluster takes the node for ready.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|known| known.type_ == "Ready" && known.status == "True")
}

async fn register(
    config: &Config,
    machine: &Machine,
    pressures: &watch::Receiver<Pressures>,
) -> Result<(), ClientError> {
    let api = config.client.api::<Node>(None);
    let mut spec = json!({});
    if let Some(cidr) = &config.pod_cidr {
        spec = json!({"podCIDR": cidr, "podCIDRs": [cidr]});
    }
    let annotations = config.pod_cidr.as_ref().map(|cidr| json!({POD_SUBNET: cidr}));
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": config.node_name, "labels": labels(config), "annotations": annotations},
        "spec": spec,
    });
    match api.dynamic().create(&object).await {
        Ok(_) => {}
        Err(error) if error.is_already_exists() => {
            let mut patch = json!({"metadata": {"labels": labels(config)}});
            if let Some(annotations) = annotations {
                patch["metadata"]["annotations"] = annotations;
            }
            api.dynamic().patch(&config.node_name, PatchKind::Merge, &patch).await?;
        }
        Err(error) => return Err(error),
    }
    let (pressed, network) = (pressures.borrow().clone(), &config.network);
    tell(config, machine, &conditions(&pressed, &network.troubles(), &network.ways(), &[], Timestamp::now())).await
}

async fn tell(config: &Config, machine: &Machine, conditions: &[NodeCondition]) -> Result<(), ClientError> {
    let api = config.client.api::<Node>(None);
    let status = status(config, machine, conditions);
    api.dynamic()
        .patch_subresource(&config.node_name, "status", PatchKind::Merge, &json!({"status": status}))
        .await
        .map(drop)
}

fn status(config: &Config, machine: &Machine, conditions: &[NodeCondition]) -> Value {
    let mut addresses: Vec<Value> =
        config.addresses.borrow().iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()})).collect();
    addresses.push(json!({"type": "Hostname", "address": config.node_name}));
    let resources = json!({
        "cpu": machine.cpus.to_string(),
        "memory": format!("{}Ki", machine.memory / 1024),
        "ephemeral-storage": format!("{}Ki", machine.disk / 1024),
        "pods": config.max_pods.to_string(),
    });
    json!({
        "addresses": addresses,
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions,
        "nodeInfo": {
            "architecture": architecture(),
            "operatingSystem": "linux",
            "kernelVersion": machine.kernel,
            "osImage": machine.os,
            "machineID": machine.machine_id,
            "bootID": machine.boot_id,
            "systemUUID": machine.system_uuid,
            "containerRuntimeVersion": format!("naru://{}", naru_api::version()),
            "kubeletVersion": "v1.36.0+naru",
            "kubeProxyVersion": "v1.36.0+naru",
        },
    })
}

/// Renews the lease by which the control plane knows that this node lives.
async fn beat(config: &Config) -> Result<(), ClientError> {
    let api = config.client.api::<Lease>(Some("kube-node-lease"));
    let spec = json!({
        "holderIdentity": config.node_name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    });
    match api.dynamic().patch(&config.node_name, PatchKind::Merge, &json!({"spec": spec})).await {
        Err(error) if error.is_not_found() => {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": config.node_name, "namespace": "kube-node-lease"}, "spec": spec,
            });
            api.dynamic().create(&lease).await.map(drop)
        }
        other => other.map(drop),
    }
}
