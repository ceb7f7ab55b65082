//! Nodes by certificate: believed for as long as the cluster has a Node object that names their key.
//!
//! A certificate cannot be taken back, but a Node can be removed: from then on its certificate proves nothing, also when
//! another machine gets the same name. Refused: a list of revoked certificates, which must be kept as long as they live.

use memchr::memmem;
use naru_api::{Reason, Status};
use naru_store::{Key, Snapshot};

use crate::user::User;

/// The group of nodes.
pub(crate) const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";
/// Annotation of a Node: the hashes of its keys, the newest first. Two, so that a renewal breaks nothing.
pub(crate) const KEY_HASH: &str = "naru.io/key-hash";
/// Annotation of a Node: until when its newest certificate is valid.
pub(crate) const UNTIL: &str = "naru.io/certificate-until";
/// In a user: the hash of the key by which they came.
pub(crate) const KEY: &str = "naru.io/key";

/// The node that a user is, unless they are all-mighty.
pub(crate) fn node_of(user: &User) -> Option<&str> {
    let node = user.name.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
    (user.groups.iter().any(|group| group == NODES) && !user.is_master()).then_some(node)
}

/// Whether a user who came by the certificate with this key may still be believed: everyone may but nodes that are no
/// members.
///
/// # Errors
/// 401 for these.
pub(crate) fn check(snapshot: &Snapshot, user: &User, key: &str) -> Result<(), Status> {
    if user.is_master() || !user.groups.iter().any(|group| group == NODES) {
        return Ok(());
    }
    let refuse = |why: String| Err(Status::new(Reason::Unauthorized, why));
    // By this a node knows that it was meant, and not some fault: it does not come back by itself.
    let removed = |node: &str, why: String| {
        let plain = Status::new(Reason::Unauthorized, why);
        let registry = naru_api::Registry::builtin();
        let details = registry.by_kind("", "v1", "Node").and_then(|kind| Status::not_found(kind, node).details);
        Err(Status { details, ..plain })
    };
    let Some(node) = node_of(user) else {
        return refuse(format!("a certificate of {NODES} must name a node, {:?} does not", user.name));
    };
    match snapshot.get(&Key::new("nodes", "", node)) {
        Some(entry) if has_key(&entry.served, key) => Ok(()),
        Some(_) => removed(
            node,
            format!(
                "the name {node} is another machine's by now: run `naru leave` on this one, then join under another name"
            ),
        ),
        None => removed(
            node,
            format!("node {node} was removed from the cluster: run `naru leave` there before it joins again"),
        ),
    }
}

/// Whether a Node's bytes name the key. They are searched and not parsed, for this is asked in every request of a node:
/// keys of maps stand in order, so annotations come before anything else in which the text could be (labels, status).
pub(super) fn has_key(served: &[u8], key: &str) -> bool {
    const FIELD: &[u8] = b"\"naru.io/key-hash\":\"";
    let Some(start) = memmem::find(served, FIELD).map(|at| at + FIELD.len()) else { return false };
    let rest = &served[start..];
    let end = memchr::memchr(b'"', rest).unwrap_or(0);
    !key.is_empty() && rest[..end].split(|byte| *byte == b',').any(|known| known == key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_its_name_and_group_together() {
        assert_eq!(node_of(&User::new("system:node:a", &[NODES])), Some("a"));
        assert_eq!(node_of(&User::new("system:node:a", &[])), None);
        assert_eq!(node_of(&User::new("a", &[NODES])), None);
        assert_eq!(node_of(&User::new("system:node:", &[NODES])), None);
        assert_eq!(node_of(&User::master("system:node:a")), None);
    }

    #[test]
    fn only_keys_in_the_annotation_count() {
        let node = br#"{"kind":"Node","metadata":{"annotations":{"naru.io/key-hash":"aa,bb"},"name":"a"}}"#;
        assert!(has_key(node, "aa") && has_key(node, "bb"));
        for wrong in ["", "a", "aa,bb", "cc", "a\"},\"name"] {
            assert!(!has_key(node, wrong), "{wrong}");
        }
        assert!(!has_key(br#"{"kind":"Node","metadata":{"name":"aa"}}"#, "aa"));
    }
}
