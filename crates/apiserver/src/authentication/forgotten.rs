//! Nodes that come to a restored cluster: those that it has forgotten, and those that it should have.
//!
//! Forgotten are those that joined, or renewed their certificate, after the backup was made.
//! Their certificates are the authority's and say when they were signed. One signed between the backup and its
//! restoration is believed once more, for a week, and its Node then names its key as any other's; from that moment the
//! Node alone counts, so that a node which is removed stays out. Refused: believing every certificate after a restoration,
//! which would bring back whoever was removed in years.
//!
//! A node that the backup knows may have been removed after it was made, and nobody here can tell. One that ran was told so
//! by the server of then, and stays away by itself. One that was off was not: so whoever comes back later than nodes that
//! work do gets no pods until a person says that it belongs here. Refused: asking about every node, which would leave a
//! restored cluster without machines until somebody has come.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem;
use naru_api::{Kind, Status, meta};
use naru_store::{CommitError, Key, Snapshot};
use serde_json::{Value, json};

use super::member::{KEY, KEY_HASH, UNTIL, has_key, node_of};
use crate::admission::joining;
use crate::state::Core;
use crate::user::User;
use crate::{encode, object};

/// Annotation of a Node that a restored cluster knew nothing of: since when it is back. A person says whether it may stay.
const RETURNED: &str = "naru.io/returned";
/// Annotation of a Node that the backup knew: the restoration after which it came back.
pub(crate) const BACK: &str = "naru.io/back-since";
/// Annotation, and taint, of one that came back so late that a person has to say whether it belongs here.
pub(crate) const UNCONFIRMED: &str = "naru.io/unconfirmed";
/// How long after a restoration nodes may come back.
const WAITS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The clocks of the old and the new server may differ by so much.
const DIFFER: SignedDuration = SignedDuration::from_secs(60);
/// The ConfigMap of `kube-system` that lists the keys which were taken in: each is, once.
const LIST: &str = "naru-restored-nodes";

/// Whether the certificate with this key is one that a restored cluster has forgotten.
pub(super) fn is(core: &Core, snapshot: &Snapshot, user: &User, key: &str, signed: Option<Timestamp>) -> bool {
    let (Some(restored), Some(signed), Some(_)) = (core.settings.restored, signed, node_of(user)) else { return false };
    may(restored, signed, Timestamp::now()) && !was_taken_in(snapshot, key)
}

/// Whether a certificate signed then may be believed now.
fn may((taken, at): (Timestamp, Timestamp), signed: Timestamp, now: Timestamp) -> bool {
    let between = signed.duration_since(taken) >= -DIFFER && signed.duration_since(at) <= DIFFER;
    between && now.duration_since(at) <= WAITS
}

fn list() -> Key {
    Key::new("configmaps", "kube-system", LIST)
}

fn was_taken_in(snapshot: &Snapshot, key: &str) -> bool {
    snapshot.get(&list()).is_some_and(|entry| memmem::find(&entry.served, format!("\"{key}\"").as_bytes()).is_some())
}

/// Makes the node that connects a member again, where the cluster has forgotten it.
pub(crate) fn take_in(core: &Arc<Core>, user: &User) {
    let (Some(node), Some(key)) = (node_of(user), user.extra.get(KEY).and_then(|keys| keys.first())) else { return };
    let snapshot = core.store.snapshot();
    let known = snapshot.get(&Key::new("nodes", "", node)).is_some_and(|entry| has_key(&entry.served, key));
    let Some(restored) = core.settings.restored else { return };
    let (core, node, key) = (core.clone(), node.to_owned(), key.clone());
    if known {
        tokio::spawn(async move {
            match note_return(&core, &node, restored).await {
                Ok(true) => tracing::warn!(
                    node,
                    "a node is back long after the restoration: a person has to say that it belongs here"
                ),
                Ok(false) => {}
                Err(error) => tracing::warn!(node, %error, "that a node is back after the restoration cannot be noted"),
            }
        });
        return;
    }
    tokio::spawn(async move {
        match write(&core, &node, &key).await {
            Ok(()) => tracing::info!(node, "a node of before the restoration is back"),
            Err(error) => tracing::warn!(node, %error, "a node of before the restoration cannot be taken in"),
        }
    });
}

/// Notes that a node of the backup is back; whether it has to be confirmed.
async fn note_return(core: &Core, node: &str, restored: (Timestamp, Timestamp)) -> Result<bool, Status> {
    let nodes = core.route("", "v1", "nodes")?;
    let at = nodes.key("", node);
    let now = Timestamp::now();
    let judge = |entry: Option<Arc<naru_store::Entry>>| {
        let there = object::parse(&entry?.served);
        let late = first_return(&there, restored, core.settings.returning, now)?;
        Some((there, late))
    };
    // Most often it was noted long ago, and nothing is written.
    let Some((_, late)) = judge(core.store.snapshot().get(&at).cloned()) else { return Ok(false) };
    let committed = core.store.commit(|txn| {
        if let Some((mut there, late)) = judge(txn.get(&at)) {
            returned(&mut there, restored, late, now);
            txn.put(at.clone(), encode::encode(&core.sealer, &at, &there).map_err(Status::internal)?);
        }
        Ok::<(), Status>(())
    });
    match committed.await {
        Ok(_) => Ok(late),
        Err(CommitError::Rejected(status)) => Err(status),
        Err(other) => Err(Status::internal(other)),
    }
}

/// Whether a node that the backup knew, and that comes back for the first time, does so late; `None` for all others.
fn first_return(
    node: &Value,
    (taken, at): (Timestamp, Timestamp),
    returning: SignedDuration,
    now: Timestamp,
) -> Option<bool> {
    let created: Timestamp = meta::text(node, "metadata.creationTimestamp").parse().ok()?;
    // A second is what such a time stamp is exact to.
    let of_the_backup = created.duration_since(taken) <= SignedDuration::from_secs(1);
    let noted = meta::annotation(node, BACK) == Some(at.to_string().as_str());
    (of_the_backup && !noted).then(|| now.duration_since(at) >= returning)
}

fn returned(node: &mut Value, (_, at): (Timestamp, Timestamp), late: bool, now: Timestamp) {
    meta::set_annotation(node, BACK, &at.to_string());
    if !late {
        return;
    }
    meta::set_annotation(node, UNCONFIRMED, &meta::time(now));
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.retain(|taint| taint["key"] != UNCONFIRMED);
    taints.push(json!({"key": UNCONFIRMED, "effect": "NoExecute", "timeAdded": meta::time(now)}));
    node["spec"]["taints"] = taints.into();
}

async fn write(core: &Core, node: &str, key: &str) -> Result<(), Status> {
    let (nodes, maps) = (core.route("", "v1", "nodes")?, core.route("", "v1", "configmaps")?);
    let (at, listed) = (nodes.key("", node), list());
    let committed = core.store.commit(|txn| {
        let read = |entry: Option<Arc<naru_store::Entry>>| entry.map(|entry| object::parse(&entry.served));
        let there = member(read(txn.get(&at)), &nodes.kind, node, key);
        let map = noted(read(txn.get(&listed)), &maps.kind, node, key);
        txn.put(at.clone(), encode::encode(&core.sealer, &at, &there).map_err(Status::internal)?);
        txn.put(listed.clone(), encode::encode(&core.sealer, &listed, &map).map_err(Status::internal)?);
        Ok::<(), Status>(())
    });
    match committed.await {
        Ok(_) => Ok(()),
        Err(CommitError::Rejected(status)) => Err(status),
        Err(other) => Err(Status::internal(other)),
    }
}

/// The Node with this key first among those that it names.
fn member(there: Option<Value>, kind: &Kind, node: &str, key: &str) -> Value {
    let Some(mut there) = there else {
        let mut fresh = joining::newcomer(kind, node, key, "");
        // Until when it is valid is said with its next certificate.
        if let Some(annotations) = fresh["metadata"]["annotations"].as_object_mut() {
            annotations.remove(UNTIL);
        }
        meta::set_annotation(&mut fresh, RETURNED, &meta::time(Timestamp::now()));
        return fresh;
    };
    let before = meta::annotation(&there, KEY_HASH).and_then(|keys| keys.split(',').next()).unwrap_or_default();
    let keys = if before.is_empty() { key.to_owned() } else { format!("{key},{before}") };
    meta::set_annotation(&mut there, KEY_HASH, &keys);
    there
}

fn noted(there: Option<Value>, kind: &Kind, node: &str, key: &str) -> Value {
    let mut map = there.unwrap_or_else(|| {
        let mut map =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": LIST, "namespace": "kube-system"}});
        crate::verbs::create::identify(kind, &mut map);
        map
    });
    map["data"][key] = node.into();
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_of_the_lost_time_are_believed_and_not_for_ever() {
        let hour = |hour: i64| Timestamp::from_second(1_790_000_000 + hour * 3_600).expect("a time");
        let restored = (hour(0), hour(10));
        assert!(may(restored, hour(5), hour(11)));
        assert!(!may(restored, hour(-1), hour(11)), "known to the backup, or removed before it");
        assert!(!may(restored, hour(11), hour(12)), "signed by the restored cluster itself");
        assert!(!may(restored, hour(5), hour(10 + 8 * 24)));
    }

    #[test]
    fn a_node_of_the_backup_that_comes_late_is_asked_about_once() {
        let hour = |hour: i64| Timestamp::from_second(1_790_000_000 + hour * 3_600).expect("a time");
        let (restored, returning) = ((hour(0), hour(10)), SignedDuration::from_hours(1));
        let mut node = json!({"metadata": {"name": "w1", "creationTimestamp": meta::time(hour(-5))}, "spec": {
            "taints": [{"key": "gpu", "effect": "NoSchedule"}]}});
        let first = |node: &Value, now| first_return(node, restored, returning, now);
        assert_eq!(first(&node, hour(10)), Some(false), "as all that work");
        assert_eq!(first(&node, hour(11)), Some(true));
        returned(&mut node, restored, true, hour(11));
        let keys: Vec<&str> =
            node["spec"]["taints"].as_array().expect("taints").iter().filter_map(|t| t["key"].as_str()).collect();
        assert_eq!(keys, ["gpu", UNCONFIRMED]);
        assert_eq!(first(&node, hour(50)), None, "it was noted");
        let later = (hour(20), hour(30));
        assert_eq!(first_return(&node, later, returning, hour(40)), Some(true), "another restoration");
        let joined = json!({"metadata": {"name": "w2", "creationTimestamp": meta::time(hour(5))}});
        assert_eq!(first(&joined, hour(50)), None, "it joined after the backup");
    }

    #[test]
    fn a_node_keeps_the_key_that_the_backup_knew() {
        let registry = naru_api::Registry::builtin();
        let kind = registry.by_kind("", "v1", "Node").expect("a kind");
        let keys = |node: &Value| meta::annotation(node, KEY_HASH).unwrap_or_default().to_owned();
        let made = member(None, kind, "w1", "aa");
        assert_eq!((meta::name(&made), keys(&made).as_str()), ("w1", "aa"));
        assert!(meta::annotation(&made, RETURNED).is_some(), "a person is asked about it");
        assert_eq!(keys(&member(Some(made), kind, "w1", "bb")), "bb,aa");
    }
}
