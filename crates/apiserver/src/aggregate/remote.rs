//! Which further servers there are: what their objects say, as requests need it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use naru_api::meta;
use naru_store::{Entry, Key, Revision};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::COLLECTION;
use crate::follower::{self, Picture};
use crate::object;
use crate::state::Core;

/// What an `APIService` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// The object's.
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) group: String,
    pub(super) version: String,
    /// Where the service is.
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) port: u16,
    /// PEM: who may vouch for the server.
    pub(super) authority: Vec<u8>,
    /// Whether anybody may say to be the server.
    pub(super) blind: bool,
    pub(super) group_priority: i64,
    pub(super) version_priority: i64,
}

/// A further server.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(super) spec: Arc<Spec>,
    /// Whether it answered when it was last asked.
    pub(super) available: bool,
}

/// All of them, by group and version.
#[derive(Debug, Default)]
pub(super) struct Remotes(BTreeMap<String, BTreeMap<String, Arc<Remote>>>);

// === impl Spec ===

impl Spec {
    /// Reads an object; `None` for one of this server's own.
    pub(super) fn read(object: &Value) -> Option<Spec> {
        let spec = &object["spec"];
        let service = spec.get("service").filter(|service| service.is_object())?;
        let authority = STANDARD.decode(spec["caBundle"].as_str().unwrap_or_default()).unwrap_or_default();
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        Some(Spec {
            name: meta::name(object).to_owned(),
            uid: meta::uid(object).to_owned(),
            group: meta::text(spec, "group").to_owned(),
            version: meta::text(spec, "version").to_owned(),
            namespace: meta::text(service, "namespace").to_owned(),
            service: meta::text(service, "name").to_owned(),
            port,
            authority,
            blind: spec["insecureSkipTLSVerify"] == true,
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        })
    }

    /// Where its group and version is found.
    pub(super) fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

// === impl Remotes ===

impl Remotes {
    pub(super) fn of(specs: impl Iterator<Item = (Arc<Spec>, bool)>) -> Remotes {
        let mut all = Remotes::default();
        // The core group has no place for others: its paths are this server's.
        for (spec, available) in specs.filter(|(spec, _)| !spec.group.is_empty()) {
            let remote = Remote { spec: spec.clone(), available };
            all.0.entry(spec.group.clone()).or_default().insert(spec.version.clone(), Arc::new(remote));
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, group: &str, version: &str) -> Option<&Arc<Remote>> {
        self.0.get(group)?.get(version)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Remote>> {
        self.0.values().flat_map(BTreeMap::values)
    }
}

struct Following {
    core: Arc<Core>,
    known: BTreeMap<String, (Arc<Spec>, bool)>,
}

/// Reads all objects now, then follows them until `ended`.
pub(super) fn follow(core: &Arc<Core>, ended: &CancellationToken) {
    let picture = Following { core: core.clone(), known: BTreeMap::new() };
    follower::follow(&core.store, &[COLLECTION], picture, ended);
}

impl Picture for Following {
    fn forget(&mut self, _: &str) {
        self.known.clear();
    }

    fn take(&mut self, key: &Key, object: Option<&Arc<Entry>>) {
        let read = object.and_then(|entry| {
            let object = object::parse(&entry.served);
            Some((Arc::new(Spec::read(&object)?), super::available::is(&object)))
        });
        match read {
            Some(read) => drop(self.known.insert(key.name().to_owned(), read)),
            None => drop(self.known.remove(key.name())),
        }
    }

    fn publish(&mut self, _: Revision) {
        self.core.aggregate.remotes.store(Arc::new(Remotes::of(self.known.values().cloned())));
        self.core.aggregate.changed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// What an object of this group and version asks for.
    pub(in super::super) fn spec(group: &str, version: &str, priorities: (i64, i64)) -> Spec {
        let object = json!({"metadata": {"name": format!("{version}.{group}"), "uid": "u"},
            "spec": {"group": group, "version": version, "service": {"namespace": "far", "name": "api"},
                "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1}});
        Spec::read(&object).expect("a server")
    }

    #[test]
    fn an_object_without_a_service_asks_for_nobody() {
        assert_eq!(Spec::read(&json!({"spec": {"group": "apps", "version": "v1"}})), None);
        let far = spec("far.example.com", "v1", (10, 20));
        assert_eq!((far.port, far.blind, far.path().as_str()), (443, false, "/apis/far.example.com/v1"));
        assert_eq!((far.group_priority, far.version_priority), (10, 20));
    }

    #[test]
    fn the_core_group_is_nobody_elses() {
        let all = [spec("", "v1", (1, 1)), spec("far.example.com", "v1", (1, 1))];
        let remotes = Remotes::of(all.into_iter().map(|spec| (Arc::new(spec), true)));
        assert_eq!(remotes.iter().count(), 1);
        assert!(remotes.get("far.example.com", "v1").is_some_and(|remote| remote.available));
        assert!(remotes.get("", "v1").is_none() && remotes.get("far.example.com", "v2").is_none());
    }
}
