//! Keeping turns in step with flow schemas and priority levels, and those in the state that every cluster has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use naru_api::{Status, meta};
use naru_store::{Entry, Key, Revision, Snapshot};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::config::{LevelObject, SchemaObject, flows, read};
use crate::bootstrap;
use crate::follower::{self, Picture};
use crate::object;
use crate::state::Core;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::update::{Part, update};

const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
const COLLECTIONS: [&str; 2] = [SCHEMAS, LEVELS];
/// How long to rest after a failure.
const REST: Duration = Duration::from_secs(1);

/// Takes in all schemas and levels now, then follows them until `ended`.
pub(crate) fn keep(core: &Arc<Core>, ended: &CancellationToken) {
    let changed = Arc::new(Notify::new());
    let picture =
        Following { core: core.clone(), schemas: BTreeMap::new(), levels: BTreeMap::new(), changed: changed.clone() };
    follower::follow(&core.store, &COLLECTIONS, picture, ended);
    let (core, ended) = (core.clone(), ended.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = restore(&core, &changed) => {}
        }
    });
}

struct Following {
    core: Arc<Core>,
    schemas: BTreeMap<String, Arc<Entry>>,
    levels: BTreeMap<String, Arc<Entry>>,
    changed: Arc<Notify>,
}

impl Picture for Following {
    fn forget(&mut self, collection: &str) {
        if collection == SCHEMAS { self.schemas.clear() } else { self.levels.clear() }
    }

    fn take(&mut self, key: &Key, object: Option<&Arc<Entry>>) {
        let known = if key.collection() == SCHEMAS { &mut self.schemas } else { &mut self.levels };
        match object {
            Some(entry) => known.insert(key.name().to_owned(), entry.clone()),
            None => known.remove(key.name()),
        };
    }

    fn publish(&mut self, _: Revision) {
        let schemas = self.schemas.values().filter_map(|entry| read(&entry.served));
        let levels = self.levels.values().filter_map(|entry| read(&entry.served));
        self.core.fairness.take_in(schemas, levels);
        self.changed.notify_one();
    }
}

impl super::Fairness {
    /// Goes by these schemas and levels from now on.
    pub(super) fn take_in(
        &self,
        schemas: impl IntoIterator<Item = SchemaObject>,
        levels: impl IntoIterator<Item = LevelObject>,
    ) {
        let levels: Vec<LevelObject> = levels.into_iter().collect();
        let wanted: Vec<_> = levels.iter().map(LevelObject::wanted).collect();
        let numbers = {
            let mut turns = self.turns.lock();
            let (numbers, mut granted) = turns.seats.configure(&wanted);
            turns.grant(&mut granted);
            numbers
        };
        let known: HashMap<String, _> = levels
            .iter()
            .zip(numbers)
            .map(|(level, number)| level.level(number))
            .map(|level| (level.name.clone(), level))
            .collect();
        let counts = |schema: &str, level: &str| {
            self.counts.lock().entry((schema.to_owned(), level.to_owned())).or_default().clone()
        };
        let flows = flows(schemas, |name| known.get(name).cloned(), counts);
        self.flows.store(Arc::new(flows));
    }
}

/// Brings back what every cluster has whenever somebody removes or changes it, and says of schemas whether their levels
/// are there.
async fn restore(core: &Core, changed: &Notify) {
    let user = User::new("system:apiserver", &[crate::user::MASTERS]);
    loop {
        changed.notified().await;
        while let Err(error) = settle(core, &user).await {
            tracing::warn!(%error, "flow schemas and priority levels cannot be kept; trying again");
            tokio::time::sleep(REST).await;
        }
    }
}

async fn settle(core: &Core, user: &User) -> Result<(), Status> {
    bootstrap::ensure_flows(core, user).await?;
    let snapshot = core.store.snapshot();
    let route = core.route("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")?;
    for entry in snapshot.range(&naru_store::Prefix::collection(SCHEMAS)) {
        if condition(&snapshot, &object::parse(&entry.served)).is_none() {
            continue;
        }
        let change = |present: &Value| {
            let mut new = present.clone();
            meta::unset(&mut new, "resourceVersion");
            if let Some(condition) = condition(&core.store.snapshot(), present) {
                let conditions = present["status"]["conditions"].as_array().into_iter().flatten();
                let others = conditions.filter(|known| known["type"] != "Dangling").cloned();
                new["status"]["conditions"] = others.chain([condition]).collect();
            }
            Ok(new)
        };
        let options = WriteOptions { subresource: "status", ..WriteOptions::default() };
        match update(core, user, &route, ("", entry.key.name()), Part::Status, &change, options).await {
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// What a schema should say of its level; `None`: it does.
fn condition(snapshot: &Snapshot, schema: &Value) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let there = snapshot.get(&Key::new(LEVELS, "", level)).is_some();
    let (status, reason, text) = match there {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {text}");
    let mut conditions = schema["status"]["conditions"].as_array().into_iter().flatten();
    let known = conditions.find(|known| known["type"] == "Dangling");
    if known.is_some_and(|known| known["status"] == status && known["message"] == *message) {
        return None;
    }
    let known = known.filter(|known| known["status"] == status && known["lastTransitionTime"].is_string());
    let since = known.map(|known| known["lastTransitionTime"].clone());
    let since = since.unwrap_or_else(|| meta::time(Timestamp::now()).into());
    Some(json!({ "type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since }))
}
