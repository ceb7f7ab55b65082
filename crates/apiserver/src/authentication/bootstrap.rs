//! Bootstrap tokens: how a machine that is no node yet proves that it was invited.
//!
//! They are Kubernetes' own (`kube-system/bootstrap-token-<id>`), so that other tools make and list them as well. The
//! secret is compared in constant time, and only whoever knows it learns that a token expired.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use naru_api::{Reason, Status};
use naru_identity::BootstrapToken;
use naru_store::{Key, Snapshot};
use serde_json::Value;

use crate::object;
use crate::user::User;

/// The type of secrets that are bootstrap tokens.
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of everyone with such a token.
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The group of machines that may become nodes.
pub(crate) const WORKERS: &str = "system:bootstrappers:naru:worker";
/// Says in a user that their token is good for one machine.
pub(crate) const ONCE: &str = "naru.io/once";

/// The key of a token's secret.
pub(crate) fn key(id: &str) -> Key {
    Key::new("secrets", "kube-system", &format!("bootstrap-token-{id}"))
}

/// The user of a token.
///
/// # Errors
/// 401 for one that is not known, expired, or not for logging in.
pub(crate) fn user(snapshot: &Snapshot, given: &BootstrapToken, now: Timestamp) -> Result<Arc<User>, Status> {
    let entry = snapshot.get(&key(&given.id)).ok_or_else(unknown)?;
    judge(&object::parse(&entry.served), given, now).map(Arc::new)
}

/// The same answer for every token that is not ours: what differs would be worth guessing for.
fn unknown() -> Status {
    refuse(
        "the join token is not known here: it was removed or used up, or is another cluster's; make one with `naru token \
         create`",
    )
}

fn refuse(why: impl Into<String>) -> Status {
    Status::new(Reason::Unauthorized, why)
}

fn judge(secret: &Value, given: &BootstrapToken, now: Timestamp) -> Result<User, Status> {
    let field = |name: &str| -> Option<String> {
        let bytes = BASE64.decode(secret["data"][name].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let right = secret["type"] == TYPE
        && field("token-id").as_deref() == Some(&given.id)
        && given.is_secret(field("token-secret").unwrap_or_default().as_bytes());
    if !right {
        return Err(unknown());
    }
    if let Some(text) = field("expiration") {
        // What cannot be read as a time never was valid.
        let end = text.parse::<Timestamp>().map_err(|_| unknown())?;
        if end <= now {
            return Err(refuse(format!("the join token expired at {text}: make another with `naru token create`")));
        }
    }
    if field("usage-bootstrap-authentication").as_deref() != Some("true") {
        return Err(refuse("the join token is not for authentication: make another with `naru token create`"));
    }
    let extra = field("auth-extra-groups").unwrap_or_default();
    // A token never confers a group that other users have.
    let extra = extra.split(',').map(str::trim).filter(|g| g.starts_with("system:bootstrappers:"));
    let groups: Vec<&str> = std::iter::once(BOOTSTRAPPERS).chain(extra).collect();
    let mut user = User::new(format!("system:bootstrap:{}", given.id), &groups);
    if field("usage-once").as_deref() == Some("true") {
        user.extra.insert(ONCE.to_owned(), vec!["true".to_owned()]);
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token() -> BootstrapToken {
        BootstrapToken { id: "abcdef".into(), secret: "0123456789abcdef".into() }
    }

    fn secret(fields: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let usual = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:naru:worker,system:masters"),
        ];
        for (name, value) in usual.iter().chain(fields) {
            data[*name] = BASE64.encode(value).into();
        }
        json!({ "type": TYPE, "data": data })
    }

    fn now() -> Timestamp {
        "2026-05-01T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_token_stands_for_an_invited_machine_and_for_no_more() {
        let user = judge(&secret(&[("expiration", "2026-05-01T12:00:01Z")]), &token(), now()).expect("a user");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, [BOOTSTRAPPERS, WORKERS, "system:authenticated"], "no foreign group");
    }

    #[test]
    fn an_expired_token_says_so_to_those_who_know_its_secret() {
        let old = secret(&[("expiration", "2026-05-01T12:00:00Z")]);
        let message = judge(&old, &token(), now()).expect_err("expired").message;
        assert!(message.contains("expired at 2026-05-01T12:00:00Z"), "{message}");
        let guess = BootstrapToken { secret: "0123456789abcdee".into(), ..token() };
        let message = judge(&old, &guess, now()).expect_err("wrong").message;
        assert!(!message.contains("expired"), "{message}");
    }

    #[test]
    fn only_whole_tokens_are_believed() {
        for (name, value) in [
            ("token-id", "abcdeg"),
            ("token-secret", ""),
            ("usage-bootstrap-authentication", "false"),
            ("expiration", "tomorrow"),
        ] {
            judge(&secret(&[(name, value)]), &token(), now()).expect_err(name);
        }
        let mut other = secret(&[]);
        other["type"] = "Opaque".into();
        judge(&other, &token(), now()).expect_err("another type");
    }
}
