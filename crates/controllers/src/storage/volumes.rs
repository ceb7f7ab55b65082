//! The phases of volumes, and taking back those whose claim is gone.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use naru_client::ObjectRef;
use serde_json::json;

use super::erase::Eraser;
use super::{LOCAL, PROVISIONED_BY, matching};
use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::VOLUMES;
use crate::views::{PersistentVolume, PersistentVolumeClaim};

/// Keeps the phases of volumes.
pub(crate) struct Volumes {
    pub(crate) cluster: Arc<Cluster>,
    /// Takes away the data of local volumes.
    pub(crate) eraser: Option<Eraser>,
}

/// One volume and the claim that holds it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(super) volume: Arc<PersistentVolume>,
    /// The claim of the name that the volume is held by.
    pub(super) claim: Option<Arc<PersistentVolumeClaim>>,
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
        let keys = keys.clone();
        self.cluster.claims.listen(move |change| {
            for claim in change.sides().filter(|claim| !claim.view.spec.volume_name.is_empty()) {
                keys.add(&ObjectRef::cluster(&claim.view.spec.volume_name));
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
        Some(View { volume, claim: claim.map(|claim| claim.view.clone()) })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }

    fn apply<'a>(&'a self, key: &'a ObjectRef, plan: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            if plan.writes.iter().any(|write| matches!(write, Write::Delete { .. })) {
                self.take_back(key).await?;
            }
            self.cluster.apply(plan.writes, plan.notices).await
        })
    }
}

impl Volumes {
    /// Takes the data away, once the server itself says that the claim is gone.
    async fn take_back(&self, key: &ObjectRef) -> Result<(), ApplyError> {
        let Some(volume) = self.cluster.volumes.get_ref(key) else { return Ok(()) };
        let Some(held) = &volume.view.spec.claim_ref else { return Ok(()) };
        let what = format!("take volume {key} back");
        let claims = self.cluster.client.dynamic(crate::resources::CLAIMS, Some(&held.namespace));
        let claim = claims.get_opt(&held.name).await;
        let claim = claim.map_err(|source| ApplyError::Write { what: what.clone(), source })?;
        if claim.is_some_and(|claim| naru_api::meta::uid(&claim) == held.uid) {
            return Err(ApplyError::Conflict { what });
        }
        let object = self.cluster.client.dynamic(VOLUMES, None).get_opt(&key.name).await;
        let object = object.map_err(|source| ApplyError::Write { what: what.clone(), source })?;
        let Some(path) = object.as_ref().and_then(|object| object["spec"]["local"]["path"].as_str()) else {
            return Ok(());
        };
        let Some(eraser) = &self.eraser else {
            return Err(ApplyError::Bug { what: format!("cannot {what}: nobody here may erase {path}") });
        };
        eraser(path.into()).await.map_err(|source| ApplyError::Outside { what: format!("erase {path}"), source })
    }
}

pub(super) fn plan(view: &View) -> Plan {
    let volume = &*view.volume;
    if volume.metadata.is_deleting() {
        return Plan::nothing("being deleted");
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
            let ours = volume.metadata.annotation(PROVISIONED_BY) == Some(LOCAL);
            if ours && volume.spec.persistent_volume_reclaim_policy == "Delete" {
                let mut plan = phase(volume, "Released");
                plan.reason = "taking it back".into();
                plan.push(Write::delete(VOLUMES, ObjectRef::cluster(&volume.metadata.name), &volume.metadata.uid));
                return plan;
            }
            phase(volume, "Released")
        }
    }
}

fn phase(volume: &PersistentVolume, phase: &'static str) -> Plan {
    let mut plan = Plan::nothing(phase);
    if volume.status.phase != phase {
        let patch = json!({ "metadata": { "uid": volume.metadata.uid }, "status": { "phase": phase } });
        plan.push(Write::status(VOLUMES, ObjectRef::cluster(&volume.metadata.name), patch));
    }
    plan
}
