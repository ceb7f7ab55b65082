//! Binding claims, and keeping those that pods use.

use std::sync::Arc;

use jiff::Timestamp;
use naru_api::quantity::Quantity;
use naru_client::ObjectRef;
use serde_json::{Value, json};

use super::provision::{self, Folder};
use super::{BOUND, LOCAL, PROTECTED, PROVISIONED_BY, SELECTED_NODE, matching};
use crate::cluster::{BY_CLAIM, Cluster};
use crate::driver::{Controller, Keys};
use crate::ownership::{key, without_finalizer};
use crate::plan::{Notice, Plan, Write};
use crate::resources::{CLAIMS, VOLUMES};
use crate::views::{Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};

/// Binds claims.
pub(crate) struct Claims {
    pub(crate) cluster: Arc<Cluster>,
    /// The folder below which local volumes are, on every node.
    pub(crate) folder: Arc<str>,
}

/// One claim and what may serve it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) claim: Arc<PersistentVolumeClaim>,
    /// Its class, if it names one that exists.
    pub(super) class: Option<Arc<StorageClass>>,
    /// The volume it names, or that is set aside for it.
    pub(super) own: Option<Arc<PersistentVolume>>,
    /// Volumes that nobody holds.
    pub(super) free: Vec<Arc<PersistentVolume>>,
    /// The pods that mount it.
    pub(super) pods: Vec<Arc<Pod>>,
    /// Nodes, for a volume that is made before anyone consumes it.
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) folder: Arc<str>,
}

impl Controller for Claims {
    type View = View;

    fn name(&self) -> &'static str {
        "persistentvolumeclaim"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.cluster.claims.listen(move |change| own.add(change.key()));
        let (from_volumes, claims) = (keys.clone(), self.cluster.claims.clone());
        self.cluster.volumes.listen(move |change| {
            for volume in change.sides() {
                match &volume.view.spec.claim_ref {
                    Some(claim) => from_volumes.add(&ObjectRef::new(&claim.namespace, &claim.name)),
                    // A free volume may serve any claim that has none.
                    None => {
                        let waiting = claims.list().into_iter().filter(|claim| claim.view.spec.volume_name.is_empty());
                        waiting.for_each(|claim| from_volumes.add(&claim.key));
                    }
                }
            }
        });
        let (from_classes, claims) = (keys.clone(), self.cluster.claims.clone());
        self.cluster.storage_classes.listen(move |_| {
            let waiting = claims.list().into_iter().filter(|claim| claim.view.spec.volume_name.is_empty());
            waiting.for_each(|claim| from_classes.add(&claim.key));
        });
        let keys = keys.clone();
        self.cluster.pods.listen(move |change| {
            let bound = |pod: &Pod| (pod.spec.node_name.clone(), pod.is_finished());
            let same = match (&change.before, &change.after) {
                (Some(before), Some(after)) => bound(&before.view) == bound(&after.view),
                _ => false,
            };
            for pod in change.sides().filter(|_| !same) {
                pod.view.claims().for_each(|claim| keys.add(&ObjectRef::new(&pod.key.namespace, &claim)));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.cluster.claims.list().iter().map(|claim| claim.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let claim = self.cluster.claims.get_ref(key)?.view.clone();
        let class =
            claim.spec.storage_class_name.as_deref().and_then(|name| self.cluster.storage_classes.get("", name));
        let volumes = self.cluster.volumes.list().into_iter().map(|volume| volume.view.clone());
        let (mut own, mut free) = (None, Vec::new());
        for volume in volumes {
            let named = volume.metadata.name == claim.spec.volume_name;
            // One that is to go stays with the claim that has it, and serves no other.
            if volume.metadata.is_deleting() && !named {
                continue;
            }
            match &volume.spec.claim_ref {
                Some(held) if matching::is_for(held, &claim.metadata) => own = Some(volume),
                None if named => own = Some(volume),
                None => free.push(volume),
                Some(_) => {}
            }
        }
        let pods = self.cluster.pods.by_index(BY_CLAIM, &key.to_string());
        Some(View {
            claim,
            class: class.map(|class| class.view.clone()),
            own,
            free,
            pods: pods.into_iter().map(|pod| pod.view.clone()).collect(),
            nodes: self.cluster.nodes.list().into_iter().map(|node| node.view.clone()).collect(),
            folder: self.folder.clone(),
        })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }
}

pub(super) fn plan(view: &View) -> Plan {
    let claim = &*view.claim;
    let mut plan = Plan::nothing("waiting");
    if claim.metadata.is_deleting() {
        return leave(view);
    }
    if !claim.metadata.finalizers.iter().any(|name| name == PROTECTED) {
        let mut finalizers = claim.metadata.finalizers.clone();
        finalizers.push(PROTECTED.into());
        let patch =
            json!({ "metadata": { "finalizers": finalizers, "resourceVersion": claim.metadata.resource_version } });
        plan.push(Write::merge(CLAIMS, key(&claim.metadata), patch));
        plan.reason = "protecting".into();
        return plan;
    }
    match &view.own {
        Some(volume) => {
            bind(&mut plan, claim, volume);
            if plan.writes.is_empty() {
                grow(&mut plan, view, volume);
            }
        }
        None if claim.spec.volume_name.is_empty() => find(&mut plan, view),
        None if claim.metadata.annotation(BOUND).is_some() => {
            plan.reason = "its volume is gone".into();
            phase(&mut plan, claim, "Lost", Value::Null);
        }
        None => plan.reason = "waiting for the volume that it names".into(),
    }
    plan
}

/// Lets a claim go when no pod uses it.
fn leave(view: &View) -> Plan {
    let users = view.pods.iter().filter(|pod| !pod.is_finished()).count();
    let meta = &view.claim.metadata;
    if users > 0 || !meta.finalizers.iter().any(|name| name == PROTECTED) {
        return Plan::nothing(format!("{users} pods still use it"));
    }
    let mut plan = Plan::nothing("no longer used");
    plan.push(without_finalizer(CLAIMS, meta, PROTECTED));
    plan
}

/// Completes a binding, whichever side has begun it.
fn bind(plan: &mut Plan, claim: &PersistentVolumeClaim, volume: &PersistentVolume) {
    plan.reason = "bound".into();
    let held = volume.spec.claim_ref.as_ref();
    if held.is_none_or(|held| held.uid != claim.metadata.uid) {
        plan.reason = "taking its volume".into();
        plan.push(provision::take(volume, &claim.metadata));
        return;
    }
    let complete = claim.spec.volume_name == volume.metadata.name && claim.metadata.annotation(BOUND).is_some();
    if !complete {
        plan.reason = "binding".into();
        let patch = json!({
            "metadata": { "uid": claim.metadata.uid, "annotations": { BOUND: "yes" } },
            "spec": { "volumeName": volume.metadata.name },
        });
        plan.push(Write::merge(CLAIMS, key(&claim.metadata), patch));
    }
    phase(plan, claim, "Bound", json!({ "accessModes": volume.spec.access_modes, "capacity": volume.spec.capacity }));
}

/// Gives a bound claim that asks for more what it asks for, where its class allows that: first the volume, then the claim
/// is told. A local volume is a folder, so nothing else has to happen.
fn grow(plan: &mut Plan, view: &View, volume: &PersistentVolume) {
    let claim = &*view.claim;
    let amount = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok()).map(|size| size.value());
    let asked = &claim.spec.resources["requests"]["storage"];
    let has = &volume.spec.capacity["storage"];
    let (Some(wanted), Some(got)) = (amount(asked), amount(has)) else { return };
    let ours = volume.metadata.annotation(PROVISIONED_BY) == Some(LOCAL);
    let allowed = view.class.as_ref().is_some_and(|class| class.allow_volume_expansion);
    if wanted > got && ours && allowed {
        plan.reason = "growing its volume".into();
        let patch = json!({
            "metadata": { "resourceVersion": volume.metadata.resource_version },
            "spec": { "capacity": { "storage": asked } },
        });
        return plan.push(Write::merge(VOLUMES, ObjectRef::cluster(&volume.metadata.name), patch));
    }
    let told = claim.status.capacity.as_ref().and_then(|capacity| amount(&capacity["storage"]));
    if told.is_some_and(|told| told < got) && wanted <= got {
        plan.reason = "it has grown".into();
        let patch =
            json!({ "metadata": { "uid": claim.metadata.uid }, "status": { "capacity": volume.spec.capacity } });
        plan.push(Write::status(CLAIMS, key(&claim.metadata), patch));
        let message = format!("the volume {} has grown to {}", volume.metadata.name, has.as_str().unwrap_or_default());
        self::told(plan, claim, "VolumeResizeSuccessful", message);
    }
}

fn phase(plan: &mut Plan, claim: &PersistentVolumeClaim, phase: &str, more: Value) {
    if claim.status.phase == phase {
        return;
    }
    let mut status = if more.is_null() { json!({}) } else { more };
    status["phase"] = phase.into();
    let patch = json!({ "metadata": { "uid": claim.metadata.uid }, "status": status });
    plan.push(Write::status(CLAIMS, key(&claim.metadata), patch));
}

/// Finds a free volume for a claim, or has one made.
fn find(plan: &mut Plan, view: &View) {
    let claim = &*view.claim;
    let waits = view.class.as_ref().is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer");
    let consumer = claim.metadata.annotation(SELECTED_NODE).map(str::to_owned).or_else(|| {
        let bound = |pod: &&Arc<Pod>| !pod.spec.node_name.is_empty() && pod.is_active();
        view.pods.iter().find(bound).map(|pod| pod.spec.node_name.clone())
    });
    if waits && consumer.is_none() {
        plan.reason = "waiting for its first consumer".into();
        return;
    }
    let node = consumer.as_ref().and_then(|name| view.nodes.iter().find(|node| node.metadata.name == *name));
    if let Some(volume) = matching::best(&view.free, claim, node.map(|node| &**node)) {
        plan.reason = "taking a free volume".into();
        plan.push(provision::take(volume, &claim.metadata));
        return;
    }
    let Some(class) = view.class.as_ref() else {
        plan.reason = "waiting for a volume or its class".into();
        return told(
            plan,
            claim,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set".into(),
        );
    };
    if class.provisioner != LOCAL {
        plan.reason = "waiting for its provisioner".into();
        let message = format!("Waiting for a volume to be created by the external provisioner '{}'", class.provisioner);
        return told(plan, claim, "ExternalProvisioning", message);
    }
    let anywhere = view.nodes.iter().find(|node| !node.spec.unschedulable);
    let Some(node) = node.or(anywhere) else {
        plan.reason = "waiting for a node".into();
        return;
    };
    match provision::volume(claim, class, node, Folder(&view.folder)) {
        Ok(volume) => {
            plan.reason = "making its volume".into();
            plan.push(Write::create(VOLUMES, volume));
        }
        Err(problem) => {
            plan.reason = "cannot make its volume".into();
            told(plan, claim, "ProvisioningFailed", problem);
        }
    }
}

fn told(plan: &mut Plan, claim: &PersistentVolumeClaim, reason: &'static str, message: String) {
    plan.notices.push(Notice {
        resource: CLAIMS,
        key: key(&claim.metadata),
        uid: claim.metadata.uid.clone(),
        warning: reason == "ProvisioningFailed",
        reason,
        message,
    });
}
