//! Certificates of nodes: signed in the write that asks for them, for machines that were invited and for nodes that
//! renew their own.
//!
//! With a machine's first certificate its Node comes into being, in the same transaction: that is how a name is taken,
//! and two machines that want the same one meet there. Anyone else's request for such a certificate stays pending.

use jiff::Timestamp;
use naru_api::{Kind, Status, meta};
use naru_identity::{Subject, key_hash_of_request};
use naru_store::{Key, Prefix, Revision, Snapshot};
use serde_json::{Value, json};

use super::Effects;
use crate::authentication::bootstrap::{self, ONCE, WORKERS};
use crate::authentication::member::{KEY, KEY_HASH, NODES, UNTIL, node_of};
use crate::routes::Route;
use crate::state::Core;
use crate::subresource::approval;
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::update::{Part, update};
use crate::{encode, object};

/// The signer of nodes' certificates.
pub(crate) const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const COLLECTION: &str = "certificatesigningrequests.certificates.k8s.io";

/// Whoever may have a node's certificate.
enum Requester<'a> {
    /// A machine with a join token.
    Invited,
    /// A node, for itself.
    Node(&'a str),
}

fn requester<'a>(user: &'a User, collection: &str, request: &Value) -> Option<Requester<'a>> {
    if collection != COLLECTION || meta::text(request, "spec.signerName") != SIGNER {
        return None;
    }
    if user.groups.iter().any(|group| group == WORKERS) {
        return Some(Requester::Invited);
    }
    node_of(user).map(Requester::Node)
}

/// The node that a request is for, and the hash of its key.
fn wish(kind: &Kind, request: &Value) -> Result<(String, String, String), Status> {
    let refuse = |why: &str| Status::forbidden(kind, meta::name(request), why);
    let (pem, subject) = approval::read(request)
        .ok_or_else(|| refuse("spec.request is not a PEM certificate request with a common name"))?;
    let node = subject.user.strip_prefix("system:node:").unwrap_or_default().to_owned();
    if !is_name(&node) || subject.groups != [NODES] {
        return Err(refuse(&format!(
            "expected the common name system:node:NAME, NAME of lower-case letters, digits, '-' and '.', and the \
             organisation {NODES}; got {:?} and {:?}",
            subject.user, subject.groups
        )));
    }
    if !approval::usages_are_a_clients(request) {
        return Err(refuse("expected the usage \"client auth\", and at most digital signature and key encipherment"));
    }
    let hash = key_hash_of_request(&pem).ok_or_else(|| refuse("spec.request holds no readable key"))?;
    Ok((node, hash, pem))
}

/// A name that objects and DNS can have.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 63 && name.split('.').all(label)
}

/// Before a node's own request: its new key counts from now on, beside the one it came with.
///
/// # Errors
/// 403 for a request in another's name.
pub(crate) async fn announce(core: &Core, user: &User, route: &Route, request: &Value) -> Result<(), Status> {
    let Some(Requester::Node(node)) = requester(user, &route.collection, request) else { return Ok(()) };
    let (wanted, hash, _) = wish(&route.kind, request)?;
    if wanted != node {
        let why = format!("node {node} asks for its own certificate only, not for {wanted}'s");
        return Err(Status::forbidden(&route.kind, meta::name(request), &why));
    }
    let present = user.extra.get(KEY).and_then(|keys| keys.first()).cloned();
    let keys: Vec<String> = std::iter::once(hash).chain(present).collect();
    let until = until(core, request);
    let change = |node: &Value| {
        let mut new = node.clone();
        meta::set_annotation(&mut new, KEY_HASH, &keys.join(","));
        meta::set_annotation(&mut new, UNTIL, &until);
        meta::unset(&mut new, "resourceVersion");
        Ok(new)
    };
    let nodes = core.route("", "v1", "nodes")?;
    let server = User::new("system:apiserver", &[crate::user::MASTERS]);
    update(core, &server, &nodes, ("", node), Part::Main, &change, WriteOptions::default()).await.map(drop)
}

/// Signs a request that may be signed; gives what its write takes with it.
///
/// # Errors
/// 403 for a request that is not a node's, 409 when the name is taken, 401 when the token went meanwhile.
pub(crate) fn sign(
    core: &Core,
    snapshot: &Snapshot,
    user: &User,
    kind: &Kind,
    request: &mut Value,
) -> Result<Effects, Status> {
    let Some(requester) = requester(user, kind.collection(), request) else { return Ok(Effects::default()) };
    let (node, hash, pem) = wish(kind, request)?;
    let mut effects = Effects::default();
    if let Requester::Invited = requester {
        effects = invited(core, snapshot, user, &node, &hash, &until(core, request))?;
    }
    if is_time_to_sweep(core) {
        effects.release.extend(stale(snapshot, Timestamp::now()));
    }
    let life = life(core, request);
    let subject = Subject { user: format!("system:node:{node}"), groups: vec![NODES.to_owned()] };
    let why = |error: naru_identity::IdentityError| {
        Status::forbidden(kind, meta::name(request), &format!("the certificate cannot be signed: {error}"))
    };
    let certificate = core.authority.sign_request_for(&pem, &subject, life).map_err(why)?;
    let now = meta::time(Timestamp::now());
    let reason = if matches!(requester, Requester::Invited) { "JoinToken" } else { "Renewal" };
    request["status"] = json!({
        "conditions": [{"type": "Approved", "status": "True", "reason": reason,
            "message": "signed in the write that asked for it", "lastUpdateTime": now, "lastTransitionTime": now}],
        "certificate": approval::encoded(&certificate),
    });
    Ok(effects)
}

/// How long requests that were answered are kept for people to look at.
const KEEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// How often they are looked through: each look reads all of them, and thousands of machines may join one after another.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(60);
/// So many go at most with one write.
const SWEPT: usize = 1_000;

fn is_time_to_sweep(core: &Core) -> bool {
    let now = std::time::Instant::now();
    let mut last = core.swept.lock();
    let due = last.is_none_or(|last| now.duration_since(last) >= SWEEP);
    if due {
        *last = Some(now);
    }
    due
}

/// Requests of nodes that were answered long ago; they go as new ones come.
fn stale(snapshot: &Snapshot, now: Timestamp) -> Vec<Key> {
    let prefix = Prefix::collection(COLLECTION);
    let all = snapshot.range(&prefix);
    all.filter(|entry| is_stale(&object::parse(&entry.served), now))
        .map(|entry| entry.key.clone())
        .take(SWEPT)
        .collect()
}

fn is_stale(request: &Value, now: Timestamp) -> bool {
    let answered = request["status"]["certificate"].is_string();
    let old = meta::creation_timestamp(request).is_some_and(|made| now.duration_since(made) > KEEP);
    answered && old && meta::text(request, "spec.signerName") == SIGNER
}

/// How long the certificate of a request is to be valid.
fn life(core: &Core, request: &Value) -> std::time::Duration {
    let asked = request["spec"]["expirationSeconds"].as_u64().map(std::time::Duration::from_secs);
    asked.map_or(core.settings.node_certificate, |asked| asked.min(core.settings.node_certificate))
}

fn until(core: &Core, request: &Value) -> String {
    let life = jiff::SignedDuration::try_from(life(core, request)).unwrap_or(jiff::SignedDuration::MAX);
    meta::time(Timestamp::now().saturating_add(life).unwrap_or(Timestamp::MAX))
}

fn invited(
    core: &Core,
    snapshot: &Snapshot,
    user: &User,
    node: &str,
    hash: &str,
    until: &str,
) -> Result<Effects, Status> {
    let mut effects = Effects::default();
    let route = core.route("", "v1", "nodes")?;
    let key = route.key("", node);
    if let Some(entry) = snapshot.get(&key) {
        let present = object::parse(&entry.served);
        let known = meta::annotation(&present, KEY_HASH).unwrap_or_default();
        if !known.split(',').any(|known| known == hash) {
            return Err(taken(&route.kind, &present));
        }
        // The same machine asks again: its answer was lost.
        return Ok(effects);
    }
    let object = newcomer(&route.kind, node, hash, until);
    let stored = encode::encode(&core.sealer, &key, &object).map_err(Status::internal)?;
    effects.reserve.push((key, stored));
    if user.extra.contains_key(ONCE) {
        let token = bootstrap::key(user.name.rsplit(':').next().unwrap_or_default());
        let seen: Option<Revision> = snapshot.get(&token).map(|entry| entry.modified);
        let seen = seen.ok_or_else(|| {
            let why =
                "the join token was good for one machine and has been used: make another with `naru token create`";
            Status::new(naru_api::Reason::Unauthorized, why)
        })?;
        effects.release.push(token.clone());
        effects.unchanged = Some((token, seen));
    }
    Ok(effects)
}

/// The Node of a machine that has just got its certificate.
pub(crate) fn newcomer(kind: &Kind, node: &str, hash: &str, until: &str) -> Value {
    let mut object = json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {"name": node, "annotations": {KEY_HASH: hash, UNTIL: until},
            "labels": {"kubernetes.io/hostname": node, "naru.io/role": "worker"}},
        // Until it says that it is ready.
        "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}, "status": {},
    });
    crate::verbs::create::identify(kind, &mut object);
    naru_api::admit::default(kind, &mut object);
    object
}

fn taken(kind: &Kind, node: &Value) -> Status {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let address = addresses.into_iter().find(|a| a["type"] == "InternalIP").and_then(|a| a["address"].as_str());
    let by = address.map(|address| format!(" by the machine at {address}")).unwrap_or_default();
    let name = meta::name(node);
    let mut status = Status::already_exists(kind, name);
    status.message = format!(
        "the name {name} is taken{by}: choose another with --node-name, or remove that node first (`naru node rm {name}`)"
    );
    status
}

/// The key that must be as it was seen, for [`crate::write::Plan::namespace`].
pub(crate) type Unchanged = (Key, Revision);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answered_requests_of_nodes_are_forgotten_and_only_after_a_day() {
        let now: Timestamp = "2026-05-03T00:00:00Z".parse().expect("a time");
        let request = |signer: &str, made: &str, status: Value| json!({"metadata": {"creationTimestamp": made}, "spec": {"signerName": signer}, "status": status});
        let (old, new) = ("2026-05-01T23:59:59Z", "2026-05-02T00:00:00Z");
        let signed = || json!({"certificate": "c"});
        assert!(is_stale(&request(SIGNER, old, signed()), now));
        assert!(!is_stale(&request(SIGNER, new, signed()), now));
        assert!(!is_stale(&request(SIGNER, old, json!({})), now));
        assert!(!is_stale(&request(approval::SIGNER, old, signed()), now));
    }

    #[test]
    fn names_of_nodes_are_names_of_objects() {
        for good in ["a", "worker-1", "w1.example.org", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", "a b", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
