//! Network: how many pods are on it, told in its status.
//!
//! The number is for people, so it is written a moment after the first change: a burst of pods is one write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use naru_api::naru::names;
use naru_client::ObjectRef;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{BY_NETWORK, Cluster};
use crate::driver::{Controller, Keys};
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::resources::NETWORKS;
use crate::views::{Network, NetworkStatus, Pod};

/// How long changes of pods are gathered.
const GATHER: Duration = Duration::from_millis(250);

/// Counts the members of Networks.
pub(crate) struct Networks(pub(crate) Arc<Cluster>);

/// One Network and how many pods are on it.
#[derive(Debug)]
pub(crate) struct View {
    network: Arc<Network>,
    members: i64,
}

/// The networks that a pod is on.
pub(crate) fn networks_of(pod: &Pod) -> BTreeSet<Arc<str>> {
    #[derive(Deserialize)]
    struct Entry {
        name: Arc<str>,
    }
    let text = pod.metadata.annotation(names::NETWORKS).unwrap_or("[]");
    // What cannot be read is refused where the pod is attached.
    let entries: Vec<Entry> = serde_json::from_str(text).unwrap_or_default();
    entries.into_iter().map(|entry| entry.name).collect()
}

impl Controller for Networks {
    type View = View;

    fn name(&self) -> &'static str {
        "network"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.networks.listen(move |change| own.add(change.key()));
        let keys = keys.clone();
        self.0.pods.listen(move |change| {
            let counts = |side: Option<&Arc<naru_client::Cached<Pod>>>| {
                side.filter(|pod| !pod.view.is_finished()).map(|pod| networks_of(&pod.view)).unwrap_or_default()
            };
            let (before, after) = (counts(change.before.as_ref()), counts(change.after.as_ref()));
            for network in before.symmetric_difference(&after) {
                keys.add_at(&ObjectRef::cluster(network), Instant::now() + GATHER);
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.networks.list().iter().map(|network| network.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let network = self.0.networks.get_ref(key)?.view.clone();
        let members = self.0.pods.by_index(BY_NETWORK, &key.name);
        let members = members.iter().filter(|pod| !pod.view.is_finished()).count();
        Some(View { network, members: i64::try_from(members).unwrap_or(i64::MAX) })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }
}

fn plan(view: &View) -> Plan {
    let meta = &view.network.metadata;
    let seen = NetworkStatus { observed_generation: meta.generation, members: view.members };
    if seen == view.network.status || meta.is_deleting() {
        return Plan::nothing("up to date");
    }
    let mut plan = Plan::nothing(format!("{} members", view.members));
    let status = json!({ "observedGeneration": seen.observed_generation, "members": seen.members });
    plan.push(Write::status(NETWORKS, key(meta), json!({ "metadata": { "uid": meta.uid }, "status": status })));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::view;

    #[test]
    fn members_are_those_that_name_it_and_are_told_when_their_number_changes() {
        let pod: Pod = view(json!({ "metadata": { "annotations": {
            "naru.io/networks": r#"[{"name":"shop-default","aliases":["web"]},{"name":"back"}]"#,
        } } }));
        assert_eq!(networks_of(&pod), BTreeSet::from(["back".into(), "shop-default".into()]));
        assert!(networks_of(&Pod::default()).is_empty());
        let look = |members, told: i64| {
            let network = view(json!({
                "metadata": { "name": "back", "uid": "n", "generation": 1 },
                "status": { "observedGeneration": 1, "members": told },
            }));
            plan(&View { network: Arc::new(network), members }).to_string()
        };
        assert!(look(2, 2).starts_with("because: up to date"));
        assert!(look(3, 2).contains(r#"patch networks/status back {"metadata":{"uid":"n"},"status":{"members":3,"#));
    }
}
