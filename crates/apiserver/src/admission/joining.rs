//! Certificates of nodes: signed in the write that asks for them, for machines that were invited and for nodes that
//! renew their own.
//!
//! With a machine's first certificate its Node comes into being, in the same transaction: that is how a name is taken,
//! and two machines that want the same one meet there. Whoever else has Kubernetes' right to a node's certificate
//! (`certificatesigningrequests/nodeclient`, `/selfnodeclient`) gets it for a name that is free; everything else is for a
//! person to decide about.

use jiff::Timestamp;
use naru_api::{Kind, Status, meta};
use naru_identity::Subject;
use naru_store::{Key, Prefix, Revision, Snapshot};
use serde_json::{Value, json};

use super::Effects;
use crate::authentication::bootstrap::{self, ONCE, WORKERS};
use crate::authentication::member::{KEY, KEY_HASH, NODES, UNTIL, node_of};
use crate::authorization::Attributes;
use crate::routes::Route;
use crate::state::Core;
use crate::subresource::approval::{self, COLLECTION, signers::Signer};
use crate::user::User;
use crate::verbs::WriteOptions;
use crate::verbs::create::create;
use crate::verbs::update::{Part, update};
use crate::write::unavailable;
use crate::{encode, object};

/// The signer of nodes' certificates.
pub(crate) const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

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
    let (pem, read) = approval::read(request).map_err(|why| refuse(&format!("spec.request: {why}")))?;
    let subject = &read.subject;
    let node = subject.user.strip_prefix("system:node:").unwrap_or_default().to_owned();
    if !is_name(&node) || subject.groups != [NODES] {
        return Err(refuse(&format!(
            "expected the common name system:node:NAME, NAME of lower-case letters, digits, '-' and '.', and the \
             organisation {NODES}; got {:?} and {:?}",
            subject.user, subject.groups
        )));
    }
    let usages = approval::usages(request);
    if Signer::ApiClient.judge(&read, &usages).is_err() {
        return Err(refuse("expected the usage \"client auth\", and at most digital signature and key encipherment"));
    }
    Ok((node, read.key_hash(), pem))
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
    let change = |node: &Value| Ok(with_keys(node, &keys.join(","), &until));
    let nodes = core.route("", "v1", "nodes")?;
    update(core, &server(), &nodes, ("", node), Part::Main, &change, WriteOptions::default()).await.map(drop)
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
    let Some(requester) = requester(user, kind.collection(), request) else {
        return Ok(granted(core, snapshot, user, kind, request));
    };
    let (node, hash, pem) = wish(kind, request)?;
    let mut effects = Effects::default();
    if let Requester::Invited = requester {
        effects = invited(core, snapshot, user, &node, &hash, &until(core, request))?;
    }
    if is_time_to_sweep(core) {
        effects.release.extend(stale(snapshot, Timestamp::now()));
    }
    let signed = signed(core, request, &node, &pem);
    let certificate = signed.map_err(|why| {
        Status::forbidden(kind, meta::name(request), &format!("the certificate cannot be signed: {why}"))
    })?;
    let reason = if matches!(requester, Requester::Invited) { "JoinToken" } else { "Renewal" };
    answer(request, &certificate, reason, "signed in the write that asked for it");
    Ok(effects)
}

fn signed(core: &Core, request: &Value, node: &str, pem: &str) -> Result<String, String> {
    let subject = Subject { user: format!("system:node:{node}"), groups: vec![NODES.to_owned()] };
    let signed = core.authority.sign_request_for(pem, &subject, life(core, request));
    signed.map_err(|error| approval::told(&error))
}

fn answer(request: &mut Value, certificate: &str, reason: &str, message: &str) {
    let now = meta::time(Timestamp::now());
    request["status"] = json!({
        "conditions": [{"type": "Approved", "status": "True", "reason": reason, "message": message,
            "lastUpdateTime": now, "lastTransitionTime": now}],
        "certificate": approval::encoded(certificate),
    });
}

/// Signs a request of somebody who was not invited and is no node, but has the right to a node's certificate. What is not
/// signed stays pending.
fn granted(core: &Core, snapshot: &Snapshot, user: &User, kind: &Kind, request: &mut Value) -> Effects {
    let wanted = kind.collection() == COLLECTION && meta::text(request, "spec.signerName") == SIGNER;
    let Some((node, hash, pem)) = wish(kind, request).ok().filter(|_| wanted) else { return Effects::default() };
    let judged = approval::read(request)
        .is_ok_and(|(_, read)| Signer::NodeClient.judge(&read, &approval::usages(request)).is_ok());
    let right = |subresource| Attributes {
        verb: "create",
        group: "certificates.k8s.io",
        resource: "certificatesigningrequests",
        subresource,
        ..Attributes::default()
    };
    let rbac = core.rbac.load();
    let itself = user.name == format!("system:node:{node}") && rbac.allows(user, &right("selfnodeclient"));
    if !judged || !(itself || rbac.allows(user, &right("nodeclient"))) {
        return Effects::default();
    }
    // A name that another machine has is not given away by a right that is held for all names.
    let Ok(effects) = invited(core, snapshot, user, &node, &hash, &until(core, request)) else {
        return Effects::default();
    };
    let Ok(certificate) = signed(core, request, &node, &pem) else { return Effects::default() };
    let whose = if itself { "self kubelet" } else { "kubelet" };
    let message = format!("Auto approving {whose} client certificate after SubjectAccessReview.");
    answer(request, &certificate, "AutoApproved", &message);
    effects
}

/// The certificate of a request that somebody approved.
///
/// # Errors
/// Why there is none.
pub(crate) fn certificate(core: &Core, request: &Value) -> Result<String, String> {
    let kind =
        core.route("certificates.k8s.io", "v1", "certificatesigningrequests").map_err(|status| status.message)?;
    let (node, _, pem) = wish(&kind.kind, request).map_err(|status| status.message)?;
    signed(core, request, &node, &pem)
}

/// Makes the machine a member whose request was approved: its Node names the key from now on, beside the one that it
/// named before. Whoever may approve gives away names.
///
/// # Errors
/// When the Node cannot be written.
pub(crate) async fn take_in(core: &Core, request: &Value) -> Result<(), Status> {
    let kind = core.route("certificates.k8s.io", "v1", "certificatesigningrequests")?;
    let (node, hash, _) = wish(&kind.kind, request)?;
    let nodes = core.route("", "v1", "nodes")?;
    let until = until(core, request);
    if core.store.confirm().await.map_err(|error| unavailable(&error))?.get(&nodes.key("", &node)).is_none() {
        let object = newcomer(&nodes.kind, &node, &hash, &until);
        match create(core, &server(), &nodes, "", object, WriteOptions::default()).await {
            Err(status) if status.is_already_exists() => {}
            made => return made.map(drop),
        }
    }
    let change = |node: &Value| {
        let known = meta::annotation(node, KEY_HASH).unwrap_or_default();
        let before = known.split(',').find(|known| !known.is_empty() && *known != hash);
        let keys: Vec<&str> = std::iter::once(hash.as_str()).chain(before).collect();
        Ok(with_keys(node, &keys.join(","), &until))
    };
    update(core, &server(), &nodes, ("", &node), Part::Main, &change, WriteOptions::default()).await.map(drop)
}

fn server() -> User {
    User::new("system:apiserver", &[crate::user::MASTERS])
}

fn with_keys(node: &Value, keys: &str, until: &str) -> Value {
    let mut new = node.clone();
    meta::set_annotation(&mut new, KEY_HASH, keys);
    meta::set_annotation(&mut new, UNTIL, until);
    meta::unset(&mut new, "resourceVersion");
    new
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
        assert!(!is_stale(&request("kubernetes.io/kube-apiserver-client", old, signed()), now));
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
