//! The phases of volumes, and taking back those whose claim is gone.
//!
//! The data of a local volume lies on a node, and only that node can erase it. So a volume whose data has to go is kept by
//! a finalizer and carries the node's name in a label; the node follows volumes with its name, erases, and takes the
//! finalizer off. That duty outlives restarts of everybody, and a node that is away finds it when it is back. Refused:
//! asking the node over its connection, which a node that is away never hears.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_api::naru::names;
use naru_client::ObjectRef;
use serde_json::{Value, json};

use super::{DATA, ERASE_ON, LOCAL, PROVISIONED_BY, matching};
use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::ownership::without_finalizer;
use crate::plan::{Notice, Plan, Write};
use crate::resources::{CLAIMS, NODES, VOLUMES};
use crate::views::{Node, PersistentVolume, PersistentVolumeClaim};

/// Keeps the phases of volumes.
pub(crate) struct Volumes {
    pub(crate) cluster: Arc<Cluster>,
}

/// One volume and the claim that holds it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) volume: Arc<PersistentVolume>,
    /// The claim of the name that the volume is held by.
    pub(super) claim: Option<Arc<PersistentVolumeClaim>>,
    /// The member of the cluster on which its data lies.
    pub(super) node: Option<String>,
}

/// Why a plan has to be confirmed by the server itself before it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The claim must really be gone.
    Claim,
    /// The node must really be no member any more.
    Node,
}

impl Controller for Volumes {
    type View = View;

    fn name(&self) -> &'static str {
        "persistentvolume"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.cluster.volumes.listen(move |change| own.add(change.key()));
        let from_claims = keys.clone();
        self.cluster.claims.listen(move |change| {
            for claim in change.sides().filter(|claim| !claim.view.spec.volume_name.is_empty()) {
                from_claims.add(&ObjectRef::cluster(&claim.view.spec.volume_name));
            }
        });
        let (keys, volumes) = (keys.clone(), self.cluster.volumes.clone());
        self.cluster.nodes.listen(move |change| {
            // A node that is no member any more has no duties.
            if change.after.is_none() {
                volumes.list().iter().filter(|volume| volume.deleting).for_each(|volume| keys.add(&volume.key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.cluster.volumes.list().iter().map(|volume| volume.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let volume = self.cluster.volumes.get_ref(key)?.view.clone();
        let held = volume.spec.claim_ref.as_ref();
        let claim = held.and_then(|held| self.cluster.claims.get(&held.namespace, &held.name));
        let claim = claim.map(|claim| claim.view.clone());
        // Asked for only where something may have to be erased.
        let node = if is_held(&volume, claim.as_deref()) { None } else { self.place(&volume) };
        Some(View { volume, claim, node })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            for doubt in plan.writes.iter().filter_map(|write| doubt(write, &plan)) {
                self.confirm(key, doubt).await?;
            }
            self.cluster.apply(plan.writes, plan.notices).await
        })
    }
}

impl Volumes {
    /// The member on which a volume's data lies.
    fn place(&self, volume: &PersistentVolume) -> Option<String> {
        let hosts = hosts(volume);
        let named = |host: &String| {
            let node = self.cluster.nodes.get("", host)?.view.clone();
            node.metadata.label(names::HOSTNAME).is_none_or(|label| label == host).then_some(node)
        };
        let found = hosts.iter().find_map(named).or_else(|| {
            // Whose label says another name than its own.
            let mut all = self.cluster.nodes.list().into_iter().map(|node| node.view.clone());
            if hosts.is_empty() { None } else { all.find(|node: &Arc<Node>| matching::usable_on(volume, node)) }
        });
        found.map(|node| node.metadata.name.clone())
    }

    /// Asks the server itself: what the informers show may be a moment old, and what follows cannot be taken back.
    async fn confirm(&self, key: &ObjectRef, doubt: Doubt) -> Result<(), ApplyError> {
        let Some(volume) = self.cluster.volumes.get_ref(key) else { return Ok(()) };
        let what = format!("take volume {key} back");
        let failed = |source| ApplyError::Write { what: what.clone(), source };
        let there = match doubt {
            Doubt::Claim => {
                let Some(held) = &volume.view.spec.claim_ref else { return Ok(()) };
                let claims = self.cluster.client.dynamic(CLAIMS, Some(&held.namespace));
                let claim = claims.get_opt(&held.name).await.map_err(failed)?;
                claim.is_some_and(|claim| naru_api::meta::uid(&claim) == held.uid)
            }
            Doubt::Node => {
                let nodes = self.cluster.client.dynamic(NODES, None);
                let mut there = false;
                for host in hosts(&volume.view) {
                    there |= nodes.get_opt(&host).await.map_err(failed)?.is_some();
                }
                there
            }
        };
        if there { Err(ApplyError::Conflict { what }) } else { Ok(()) }
    }
}

/// The hosts on which a volume can be used, by their label.
fn hosts(volume: &PersistentVolume) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let affinity = volume.spec.node_affinity.as_ref().map(|affinity| list(&affinity["required"]["nodeSelectorTerms"]));
    let expressions = affinity.unwrap_or_default().into_iter().flat_map(|term| list(&term["matchExpressions"]));
    let own = expressions.filter(|expression| expression["key"] == names::HOSTNAME);
    own.flat_map(|expression| list(&expression["values"])).filter_map(|host| Some(host.as_str()?.to_owned())).collect()
}

/// Whether a claim has the volume.
fn is_held(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> bool {
    let held = volume.spec.claim_ref.as_ref();
    held.zip(claim).is_some_and(|(held, claim)| matching::is_for(held, &claim.metadata))
}

/// Whether a volume's data goes with it.
fn goes_with_data(volume: &PersistentVolume) -> bool {
    let ours = volume.metadata.annotation(PROVISIONED_BY) == Some(LOCAL);
    ours && volume.spec.persistent_volume_reclaim_policy == "Delete"
}

fn has_duty(volume: &PersistentVolume) -> bool {
    volume.metadata.finalizers.iter().any(|name| name == DATA)
}

fn doubt(write: &Write, plan: &Plan) -> Option<Doubt> {
    match write {
        Write::Delete { .. } => Some(Doubt::Claim),
        Write::Patch { patch, .. } if patch["metadata"]["labels"][ERASE_ON].is_string() => Some(Doubt::Claim),
        Write::Patch { .. } if plan.reason == NO_MEMBER => Some(Doubt::Node),
        _ => None,
    }
}

/// The reason by which a node is released from its duty.
const NO_MEMBER: &str = "the node that has its data is no member any more";

pub(super) fn plan(view: &View) -> Plan {
    let volume = &*view.volume;
    if volume.metadata.is_deleting() {
        return leave(view);
    }
    let Some(held) = &volume.spec.claim_ref else { return phase(volume, "Available") };
    if held.uid.is_empty() {
        return phase(volume, "Available");
    }
    let claim = view.claim.as_ref().filter(|claim| matching::is_for(held, &claim.metadata));
    match claim {
        Some(claim) if claim.spec.volume_name == volume.metadata.name => phase(volume, "Bound"),
        // Taken, but the claim does not say so yet.
        Some(_) => Plan::nothing("being bound"),
        None => {
            let mut plan = phase(volume, "Released");
            if plan.writes.is_empty() && goes_with_data(volume) {
                plan.reason = "taking it back".into();
                plan.push(duty(view).unwrap_or_else(|| {
                    Write::delete(VOLUMES, ObjectRef::cluster(&volume.metadata.name), &volume.metadata.uid)
                }));
            }
            plan
        }
    }
}

/// Notes who has to erase a volume's data, where that is not noted yet.
fn duty(view: &View) -> Option<Write> {
    let meta = &view.volume.metadata;
    let node = view.node.as_deref()?;
    // Nobody adds a finalizer to what is on its way out.
    let missing = !has_duty(&view.volume) && !meta.is_deleting();
    if !missing && meta.label(ERASE_ON) == Some(node) {
        return None;
    }
    let mut patch = json!({ "resourceVersion": meta.resource_version, "labels": { ERASE_ON: node } });
    if missing {
        let known = meta.finalizers.iter().map(String::as_str);
        patch["finalizers"] = known.chain([DATA]).collect();
    }
    Some(Write::merge(VOLUMES, ObjectRef::cluster(&meta.name), json!({ "metadata": patch })))
}

/// Lets a volume go once nothing of it is left to erase.
fn leave(view: &View) -> Plan {
    let volume = &*view.volume;
    if !has_duty(volume) {
        return Plan::nothing("being deleted");
    }
    if is_held(volume, view.claim.as_deref()) {
        return Plan::nothing("its claim still uses it");
    }
    let mut plan = Plan::nothing("its data stays");
    if goes_with_data(volume) {
        if let Some(node) = &view.node {
            plan.reason = format!("node {node} has its data to erase").into();
            plan.writes.extend(duty(view));
            return plan;
        }
        plan.reason = NO_MEMBER.into();
        plan.notices.extend(left_behind(volume));
    }
    plan.push(without_finalizer(VOLUMES, &volume.metadata, DATA));
    plan
}

fn left_behind(volume: &PersistentVolume) -> Option<Notice> {
    let held = volume.spec.claim_ref.as_ref()?;
    let node = hosts(volume).into_iter().next()?;
    Some(Notice {
        resource: VOLUMES,
        key: ObjectRef::cluster(&volume.metadata.name),
        uid: volume.metadata.uid.clone(),
        warning: false,
        reason: "VolumeLeftBehind",
        message: format!("Node {node} is no member any more: data of {}/{} stays on it", held.namespace, held.name),
    })
}

fn phase(volume: &PersistentVolume, phase: &'static str) -> Plan {
    let mut plan = Plan::nothing(phase);
    if volume.status.phase != phase {
        let patch = json!({ "metadata": { "uid": volume.metadata.uid }, "status": { "phase": phase } });
        plan.push(Write::status(VOLUMES, ObjectRef::cluster(&volume.metadata.name), patch));
    }
    plan
}
