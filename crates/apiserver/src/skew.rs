//! Programs of versions too far apart do not work together, and are told so before anything goes wrong.
//!
//! A machine says its version with every request. One that joins, and a node that asks for its connection, are refused
//! when it is more than one minor version from this server's. The refusal of a node is its Node's condition as well: who
//! looks at the cluster sees why the node is away. Other requests of such a node are answered: what it runs and says is
//! still true.

use std::sync::Arc;

use http::HeaderMap;
use http::header::USER_AGENT;
use jiff::Timestamp;
use naru_api::{ProgramFacts, Reason, Skew, Status, Version, meta};
use naru_store::CommitError;
use serde_json::{Value, json};

use crate::authentication::member::node_of;
use crate::state::Core;
use crate::user::User;
use crate::{encode, object};

/// Condition of a Node whose program is too far from the server's.
const CONDITION: &str = "naru.io/VersionSkew";

/// The version of the program that asks, where it is one of ours: `naru/1.2.3`.
fn version_of(headers: &HeaderMap) -> Option<Version> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Version::parse(text.strip_prefix("naru/")?.split(' ').next()?)
}

/// Why a program of one version cannot work with a server of another.
fn refusal(theirs: &Version, server: &Version) -> Option<String> {
    if theirs.skew(server) != Skew::TooFar {
        return None;
    }
    let mend = match theirs < server {
        true => "put a newer program there",
        false => "put a newer program on the server (`naru upgrade` there), or an older one here",
    };
    Some(format!(
        "this machine's program is naru {theirs}, the server's {server}: they may be one minor version apart, not more; {mend}"
    ))
}

/// Judges a machine that wants to join.
///
/// # Errors
/// 403 with both versions.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Status> {
    let why = version_of(headers).and_then(|theirs| refusal(&theirs, &ProgramFacts::own().version));
    match why {
        Some(why) => Err(Status::new(Reason::Forbidden, why)),
        None => Ok(()),
    }
}

/// Judges a node that asks for its connection, and notes the judgement in its Node.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_node(core: &Arc<Core>, user: &User, headers: &HeaderMap) -> Result<(), Status> {
    let judged = check(headers);
    if let Some(node) = node_of(user) {
        let why = judged.as_ref().err().map(|status| status.message.clone());
        let (core, node) = (core.clone(), node.to_owned());
        tokio::spawn(async move {
            if let Err(error) = note(&core, &node, why.as_deref()).await {
                tracing::warn!(node, %error, "how a node's version fits cannot be noted");
            }
        });
    }
    judged
}

async fn note(core: &Core, node: &str, why: Option<&str>) -> Result<(), Status> {
    let key = core.route("", "v1", "nodes")?.key("", node);
    // Most often there is nothing to say.
    let now = core.store.snapshot().get(&key).map(|entry| object::parse(&entry.served));
    if now.is_none_or(|mut there| !set(&mut there, why)) {
        return Ok(());
    }
    let committed = core.store.commit(|txn| {
        if let Some(mut there) = txn.get(&key).map(|entry| object::parse(&entry.served))
            && set(&mut there, why)
        {
            txn.put(key.clone(), encode::encode(&core.sealer, &key, &there).map_err(Status::internal)?);
        }
        Ok::<(), Status>(())
    });
    match committed.await {
        Ok(_) => Ok(()),
        Err(CommitError::Rejected(status)) => Err(status),
        Err(other) => Err(Status::internal(other)),
    }
}

/// Sets the condition in a Node; `false` where it is so already, or never was otherwise.
fn set(node: &mut Value, why: Option<&str>) -> bool {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = conditions.iter().find(|condition| condition["type"] == CONDITION);
    let is_so = match (now, why) {
        (None, None) => true,
        (Some(now), None) => now["status"] == "False",
        (Some(now), Some(why)) => now["status"] == "True" && now["message"] == why,
        (None, Some(_)) => false,
    };
    if is_so {
        return false;
    }
    let (status, reason) = if why.is_some() { ("True", "VersionTooFar") } else { ("False", "VersionFits") };
    let condition = json!({"type": CONDITION, "status": status, "reason": reason, "message": why.unwrap_or_default(),
        "lastTransitionTime": meta::time(Timestamp::now())});
    let others = conditions.into_iter().filter(|condition| condition["type"] != CONDITION);
    node["status"]["conditions"] = others.chain([condition]).collect();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).expect("a version")
    }

    #[test]
    fn two_minor_versions_are_too_many_in_either_direction() {
        let server = version("0.3.0");
        for fits in ["0.2.9", "0.3.1", "0.4.0"] {
            assert_eq!(refusal(&version(fits), &server), None, "{fits}");
        }
        let old = refusal(&version("0.1.0"), &server).expect("refused");
        assert!(old.contains("0.1.0") && old.contains("0.3.0") && old.contains("newer program there"), "{old}");
        assert!(refusal(&version("0.5.0"), &server).expect("refused").contains("naru upgrade"));
    }

    #[test]
    fn only_programs_of_ours_tell_a_version() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, http::HeaderValue::from_str(text).expect("a value"));
            version_of(&headers).map(|version| version.to_string())
        };
        assert_eq!(of("naru/0.1.0"), Some("0.1.0".to_owned()));
        assert_eq!(of("naru/0.1.0 (linux)"), Some("0.1.0".to_owned()));
        assert_eq!(of("kubectl/v1.36.0"), None);
        assert_eq!(version_of(&HeaderMap::new()), None);
    }

    #[test]
    fn the_condition_comes_and_goes_and_stays_where_nothing_changes() {
        let mut node = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(!set(&mut node, None), "nothing was ever wrong");
        assert!(set(&mut node, Some("too old")));
        assert!(!set(&mut node, Some("too old")));
        assert_eq!(node["status"]["conditions"].as_array().map(Vec::len), Some(2));
        assert!(set(&mut node, None));
        assert!(!set(&mut node, None));
        assert_eq!(node["status"]["conditions"][1]["status"], "False");
    }
}
