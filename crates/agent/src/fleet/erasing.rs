//! Erasing what volumes on this node held, when the cluster says so.
//!
//! The duty stands in the API: a volume on its way out that names this node. So it survives whatever happens to this
//! process, and a node that was away finds it when it is back. One volume is erased after another, since the disk is
//! what pods here work with; and none while a pod of this machine still has processes and was given it, whatever the API
//! knows of that pod.

use std::{collections::BTreeMap, path::Path, time::Duration};

use naru_api::{View, k8s::api::core::v1::PersistentVolume};
use naru_client::{Informer, PatchKind, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Fleet;
use crate::{
    pod::Note,
    volumes::{self, DATA, Duty, ERASE_ON},
};

/// How long until what could not be erased is tried again: twice as long each time.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A duty that could not be fulfilled yet.
struct Delay {
    until: Instant,
    wait: Duration,
    why: String,
}

/// Erases what this node is asked to, for ever.
pub(crate) async fn keep_erased(fleet: Fleet) {
    let config = fleet.node.config.clone();
    let (node, state) = (config.node_name.clone(), config.state_dir.clone());
    let volumes: Informer<Option<Duty>> = Informer::builder(Resource::of::<PersistentVolume>(), move |json| {
        Ok(volumes::duty(&PersistentVolume::from_json(json)?, &node, &state))
    })
    .labels(&format!("{ERASE_ON}={}", config.node_name))
    .start(&config.client);
    let (mut changed, mut claims) = (volumes.changed(), fleet.node.claims.changes());
    let mut delays: BTreeMap<String, Delay> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        claims.mark_unchanged();
        let duties: Vec<Duty> = volumes.list().iter().filter_map(|volume| (*volume.view).clone()).collect();
        delays.retain(|uid, _| duties.iter().any(|duty| duty.uid == *uid));
        for duty in duties {
            if delays.get(&duty.uid).is_some_and(|delay| delay.until > Instant::now()) {
                continue;
            }
            match fulfil(&fleet, &duty).await {
                Ok(()) => drop(delays.remove(&duty.uid)),
                Err(why) => {
                    let before = delays.get(&duty.uid);
                    if before.is_none_or(|delay| delay.why != why) {
                        tracing::warn!(
                            volume = duty.name,
                            claim = duty.claim,
                            why,
                            "a volume's data is not erased yet"
                        );
                        fleet.node.events.note_about(involved(&duty), Note::warning("VolumeNotErased", why.clone()));
                    }
                    let wait = before.map_or(FIRST, |delay| (delay.wait * 2).min(LONGEST));
                    delays.insert(duty.uid, Delay { until: Instant::now() + wait, wait, why });
                }
            }
        }
        let next = delays.values().map(|delay| delay.until).min();
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            // Whoever had a volume may have let go of it.
            Ok(()) = claims.changed(), if next.is_some() => delays.values_mut().for_each(|delay| delay.until = Instant::now()),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// Erases one volume's data, and says so.
async fn fulfil(fleet: &Fleet, duty: &Duty) -> Result<(), String> {
    let folder = duty.folder.clone()?;
    if let Some(pod) = fleet.user_of(&folder) {
        return Err(format!("pod {pod} still runs with it on node {}", fleet.node.config.node_name));
    }
    let erased = tokio::task::spawn_blocking(move || volumes::erase(&folder)).await;
    erased.map_err(|error| error.to_string())?.map_err(|error| crate::chain(&error))?;
    let left = if duty.others.is_empty() { Value::Null } else { json!(duty.others) };
    let patch = json!({"metadata": {"resourceVersion": duty.revision, "finalizers": left}});
    let volumes = fleet.node.config.client.api::<PersistentVolume>(None);
    match volumes.dynamic().patch(&duty.name, PatchKind::Merge, &patch).await {
        Ok(_) => tracing::info!(volume = duty.name, claim = duty.claim, "a volume's data was erased"),
        Err(error) if error.is_not_found() => {}
        // Somebody changed it: the new state comes by.
        Err(error) => return Err(format!("{DATA} cannot be taken off: {}", crate::chain(&error))),
    }
    Ok(())
}

fn involved(duty: &Duty) -> Value {
    json!({"kind": "PersistentVolume", "apiVersion": "v1", "name": duty.name, "uid": duty.uid,
        "resourceVersion": duty.revision})
}

impl Fleet {
    /// The pod of this machine that has processes and was given this folder.
    fn user_of(&self, folder: &Path) -> Option<String> {
        let pods = self.node.config.state_dir.join("agent");
        let workers = self.workers();
        let with_worker = workers.iter().find(|(uid, worker)| {
            let given = worker.executor.was_given(folder) || volumes::noted(&worker.executor.paths.root, folder);
            given && self.node.claims.is_occupied(uid)
        });
        if let Some((_, worker)) = with_worker {
            let pod = worker.pod();
            return Some(format!("{}/{}", pod.namespace(), pod.name()));
        }
        // Found at boot, and not taken up yet.
        let found = self.found.lock();
        let record = found.iter().find(|(uid, _)| volumes::noted(&pods.join(uid.as_str()), folder));
        record.map(|(_, record)| format!("{}/{}", record.config.namespace, record.config.name))
    }
}
