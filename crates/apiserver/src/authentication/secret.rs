//! Tokens that secrets hold (`kubernetes.io/service-account-token`): made in the write that asks for one, without an end,
//! and good for as long as the secret and the account are there.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_api::{Status, meta};
use naru_identity::{LEGACY_ISSUER, LegacyClaims};
use naru_store::{Key, Snapshot};
use serde_json::{Value, json};

use crate::object;
use crate::state::Core;

/// The type of such secrets.
const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotations of one: its account's name and unique identifier.
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Fills in what such a secret lacks. Without its account it stays empty, and is taken away by whoever does that.
///
/// # Errors
/// When the token cannot be signed.
pub(crate) fn fill(core: &Core, snapshot: &Snapshot, secret: &mut Value) -> Result<(), Status> {
    if secret["type"] != TYPE {
        return Ok(());
    }
    let namespace = meta::namespace(secret).to_owned();
    let account = meta::annotation(secret, NAME).unwrap_or_default().to_owned();
    let Some(entry) = snapshot.get(&Key::new("serviceaccounts", &namespace, &account)) else { return Ok(()) };
    let uid = object::uid(&entry.served).unwrap_or_default();
    match meta::annotation(secret, UID) {
        // Another account of the same name: its token is not this one's.
        Some(known) if !known.is_empty() && known != uid => return Ok(()),
        _ => meta::set_annotation(secret, UID, &uid),
    }
    let claims = LegacyClaims {
        iss: LEGACY_ISSUER.to_owned(),
        sub: format!("system:serviceaccount:{namespace}:{account}"),
        secret: meta::name(secret).to_owned(),
        namespace: namespace.clone(),
        account,
        uid,
    };
    if !secret["data"].is_object() {
        secret["data"] = json!({});
    }
    let data = &mut secret["data"];
    let mut set = |field: &str, text: &str| data[field] = BASE64.encode(text).into();
    set("ca.crt", core.authority.certificate());
    set("namespace", &namespace);
    let given = data["token"].as_str().and_then(|text| BASE64.decode(text).ok()).unwrap_or_default();
    let own = std::str::from_utf8(&given)
        .is_ok_and(|token| core.tokens.verify_legacy(token).is_ok_and(|known| known == claims));
    if !own {
        let token = core.tokens.issue_legacy(&claims).map_err(Status::internal)?;
        data["token"] = BASE64.encode(token).into();
    }
    Ok(())
}

/// Whether a secret's bytes hold this very token.
pub(super) fn holds(served: &[u8], token: &str) -> bool {
    let secret = object::parse(served);
    secret["type"] == TYPE && secret["data"]["token"].as_str() == Some(&BASE64.encode(token))
}
