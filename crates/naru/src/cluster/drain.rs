//! Moving everything off a node: pods are evicted, so that disruption budgets hold; and of one owner's pods only one at a
//! time is without replacement, so that what has several replicas goes on serving.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use naru_api::k8s::api::core::v1::Pod;
use naru_api::meta;
use naru_client::{Client, Resource};
use serde_json::{Value, json};

use super::node;

const LOOK: Duration = Duration::from_millis(200);
/// How long a replacement is waited for before the next pod of the same owner goes all the same.
const REPLACED: Duration = Duration::from_secs(120);

/// How a node is drained.
pub(super) struct How {
    pub grace_period: Option<i64>,
    pub timeout: Option<Duration>,
    pub force: bool,
}

/// Whether a pod belongs to its node and is not moved.
pub(super) fn stays(pod: &Value) -> bool {
    meta::controller_ref(pod).is_some_and(|owner| owner.kind == "DaemonSet")
        || meta::annotation(pod, "kubernetes.io/config.mirror").is_some()
}

/// Evicts every pod of a node and waits until all have gone.
///
/// # Errors
/// When pods would be lost, or the time is over.
pub(super) async fn drain(client: &Client, name: &str, how: &How) -> anyhow::Result<()> {
    let deadline = how.timeout.map(|timeout| Instant::now() + timeout);
    let mut owners: BTreeMap<String, Move> = BTreeMap::new();
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut namespaces: BTreeSet<String> = BTreeSet::new();
    loop {
        let here: Vec<Value> = node::pods(client, Some(name)).await?.into_iter().filter(|pod| !stays(pod)).collect();
        if !how.force {
            let lonely: Vec<String> = lonely(&here);
            if !lonely.is_empty() {
                bail!(
                    "{} would be lost, since nothing replaces them: with --force they are ended ({name} takes no new \
                     pods by now; `naru node uncordon {name}` undoes that)",
                    lonely.join(", ")
                );
            }
        }
        namespaces.extend(here.iter().map(|pod| meta::namespace(pod).to_owned()));
        if here.is_empty() && owners.is_empty() {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!(
                "node {name} is not drained after the given time; it takes no new pods. It still runs: {}",
                names(&here)
            );
        }
        let mut ready: BTreeMap<String, usize> = BTreeMap::new();
        for namespace in &namespaces {
            let api = client.dynamic(Resource::of::<Pod>(), Some(namespace));
            for pod in api.list(&Default::default()).await.context("cannot list pods")?.items {
                if is_ready(&pod) && !meta::is_deleting(&pod) {
                    *ready.entry(owner(&pod)).or_default() += 1;
                }
            }
        }
        if here.is_empty() {
            // What was moved is in its new place before anybody drains the next node.
            let waits = |last: &Move, ready: usize| ready < last.ready && last.since.elapsed() < REPLACED;
            owners.retain(|owner, last| waits(last, ready.get(owner).copied().unwrap_or(0)));
            owners.retain(|owner, last| *owner != last.uid);
        }
        for pod in next(&here, &mut owners, &ready, Instant::now()) {
            let said = evict(client, pod, how.grace_period).await?;
            if let Some(why) = said
                && told.insert(format!("{}{why}", meta::uid(pod)))
            {
                eprintln!("waiting: {}: {why}", meta::name(pod));
            }
        }
        if !(here.is_empty() && owners.is_empty()) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What is under way for one owner.
struct Move {
    /// The pod that goes.
    uid: String,
    /// How many were ready before.
    ready: usize,
    since: Instant,
}

/// The pods to evict now: one of each owner, the next when the last has gone and is replaced.
fn next<'a>(
    here: &'a [Value],
    owners: &mut BTreeMap<String, Move>,
    ready: &BTreeMap<String, usize>,
    now: Instant,
) -> Vec<&'a Value> {
    let mut chosen: BTreeMap<String, &Value> = BTreeMap::new();
    for pod in here {
        let owner = owner(pod);
        let ready = ready.get(&owner).copied().unwrap_or(0);
        if let Some(last) = owners.get(&owner) {
            let gone = here.iter().all(|pod| meta::uid(pod) != last.uid);
            let replaced = ready >= last.ready || now.duration_since(last.since) > REPLACED;
            if !(gone && replaced) {
                // A refused eviction is asked for again.
                if meta::uid(pod) == last.uid && !meta::is_deleting(pod) {
                    chosen.insert(owner, pod);
                }
                continue;
            }
        }
        if !meta::is_deleting(pod) {
            chosen.entry(owner).or_insert(pod);
        }
    }
    for (owner, pod) in &chosen {
        let same = owners.get(owner).is_some_and(|last| last.uid == meta::uid(pod));
        if !same {
            let ready = ready.get(owner).copied().unwrap_or(0);
            owners.insert(owner.clone(), Move { uid: meta::uid(pod).to_owned(), ready, since: now });
        }
    }
    chosen.into_values().collect()
}

/// The owner by which pods replace one another: a Deployment's revision counts with the others.
fn owner(pod: &Value) -> String {
    match meta::controller_ref(pod) {
        Some(owner) => owner.uid.to_owned(),
        None => meta::uid(pod).to_owned(),
    }
}

fn is_ready(pod: &Value) -> bool {
    node::condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn lonely(pods: &[Value]) -> Vec<String> {
    let lonely = pods
        .iter()
        .filter(|pod| meta::controller_ref(pod).is_none() && !node::is_finished(pod) && !meta::is_deleting(pod));
    lonely.map(|pod| format!("{}/{}", meta::namespace(pod), meta::name(pod))).collect()
}

fn names(pods: &[Value]) -> String {
    let names: Vec<String> = pods.iter().map(|pod| format!("{}/{}", meta::namespace(pod), meta::name(pod))).collect();
    names.join(", ")
}

/// Asks for an eviction; gives why it has to wait.
async fn evict(client: &Client, pod: &Value, grace: Option<i64>) -> anyhow::Result<Option<String>> {
    let (namespace, name) = (meta::namespace(pod), meta::name(pod));
    let mut options = json!({"preconditions": {"uid": meta::uid(pod)}});
    if let Some(grace) = grace {
        options["gracePeriodSeconds"] = grace.into();
    }
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace}, "deleteOptions": options});
    let api = client.dynamic(Resource::of::<Pod>(), Some(namespace));
    match api.create_subresource(name, "eviction", &eviction).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(None),
        Err(error) => match error.status() {
            Some(status) if status.code() == 429 => Ok(Some(status.message.clone())),
            _ => Err(error).with_context(|| format!("pod {namespace}/{name} cannot be evicted")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, owner: &str, deleting: bool) -> Value {
        let mut pod = json!({"metadata": {"name": uid, "namespace": "shop", "uid": uid}});
        if !owner.is_empty() {
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
        }
        if deleting {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        pod
    }

    fn uids(pods: &[&Value]) -> Vec<String> {
        pods.iter().map(|pod| meta::uid(pod).to_owned()).collect()
    }

    #[test]
    fn of_each_owner_one_goes_at_a_time_and_the_next_when_it_is_replaced() {
        let (mut owners, now) = (BTreeMap::new(), Instant::now());
        let ready = |web: usize| BTreeMap::from([("web".to_owned(), web), ("db".to_owned(), 1)]);
        let all = [pod("w1", "web", false), pod("w2", "web", false), pod("d1", "db", false)];
        assert_eq!(uids(&next(&all, &mut owners, &ready(2), now)), ["d1", "w1"]);
        // Refused by a budget: the same ones are asked for again.
        assert_eq!(uids(&next(&all, &mut owners, &ready(2), now)), ["d1", "w1"]);
        let going = [pod("w1", "web", true), pod("w2", "web", false), pod("d1", "db", true)];
        assert!(next(&going, &mut owners, &ready(1), now).is_empty());
        let left = [pod("w2", "web", false)];
        assert!(next(&left, &mut owners, &ready(1), now).is_empty(), "its replacement is not ready");
        assert_eq!(uids(&next(&left, &mut owners, &ready(2), now)), ["w2"]);
    }

    #[test]
    fn a_replacement_that_never_comes_does_not_hold_the_rest_up_for_ever() {
        let (mut owners, now) = (BTreeMap::new(), Instant::now());
        let ready = BTreeMap::from([("web".to_owned(), 2)]);
        next(&[pod("w1", "web", false), pod("w2", "web", false)], &mut owners, &ready, now);
        let (left, none) = ([pod("w2", "web", false)], BTreeMap::new());
        assert!(next(&left, &mut owners, &none, now).is_empty());
        assert_eq!(uids(&next(&left, &mut owners, &none, now + REPLACED + LOOK)), ["w2"]);
    }

    #[test]
    fn pods_that_nothing_replaces_are_named() {
        assert_eq!(lonely(&[pod("w1", "web", false), pod("alone", "", false), pod("gone", "", true)]), ["shop/alone"]);
        let mut daemon = pod("d", "ds", false);
        daemon["metadata"]["ownerReferences"][0]["kind"] = "DaemonSet".into();
        assert!(stays(&daemon) && !stays(&pod("w1", "web", false)));
    }
}
