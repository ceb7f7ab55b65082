//! Service-account tokens: the signature is checked once, what the token is bound to in every request.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use naru_identity::{BoundObject, Claims, TokenError, TokenSigner};
use naru_store::{Key, Snapshot};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use crate::state::Core;
use crate::user::User;

/// Verified tokens that are remembered; beyond it, all are forgotten and verified again (0.1 ms each).
const REMEMBERED: usize = 10_000;

/// Verifies tokens.
pub(crate) struct Authenticator {
    signer: Arc<TokenSigner>,
    audience: String,
    verified: Mutex<HashMap<[u8; 32], Arc<Verified>>>,
}

struct Verified {
    claims: Claims,
    user: Arc<User>,
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the token does not hold")]
    Token(#[source] TokenError),
    #[error("the token expired")]
    Expired,
    #[error("the token is bound to {0}, which is gone or was replaced")]
    Unbound(String),
}

// === impl Authenticator ===

impl Authenticator {
    /// An authenticator of tokens for `audience` (the issuer's own name).
    pub(crate) fn new(signer: Arc<TokenSigner>, audience: String) -> Self {
        Self { signer, audience, verified: Mutex::default() }
    }

    /// The user of a token for this server.
    pub(crate) fn user(&self, core: &Core, token: &str) -> Result<Arc<User>, Refusal> {
        let now = Timestamp::now();
        let verified = self.verified(token, now)?;
        still_bound(&core.store.snapshot(), &verified.claims)?;
        Ok(verified.user.clone())
    }

    /// The user of a token for any of `audiences`, and which of them it is for.
    pub(crate) fn review(
        &self,
        core: &Core,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), Refusal> {
        let own = [self.audience.clone()];
        let audiences = if audiences.is_empty() { &own[..] } else { audiences };
        let asked: Vec<&str> = audiences.iter().map(String::as_str).collect();
        let claims = self.signer.verify(token, &asked, Timestamp::now()).map_err(Refusal::Token)?;
        still_bound(&core.store.snapshot(), &claims)?;
        let shared = audiences.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        Ok((user_of(&claims), shared))
    }

    fn verified(&self, token: &str, now: Timestamp) -> Result<Arc<Verified>, Refusal> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let known = self.verified.lock().get(&key).cloned();
        if let Some(known) = known {
            return if known.claims.exp > now.as_second() { Ok(known) } else { Err(Refusal::Expired) };
        }
        let claims = self.signer.verify(token, &[&self.audience], now).map_err(Refusal::Token)?;
        let verified = Arc::new(Verified { user: Arc::new(user_of(&claims)), claims });
        let mut remembered = self.verified.lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, verified.clone());
        Ok(verified)
    }
}

fn user_of(claims: &Claims) -> User {
    let bound = &claims.kubernetes;
    let mut user = User::service_account(&bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
    let mut fact = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    fact("credential-id", &format!("JTI={}", claims.jti));
    for (kind, object) in [("pod", &bound.pod), ("node", &bound.node)] {
        if let Some(object) = object {
            fact(&format!("{kind}-name"), &object.name);
            fact(&format!("{kind}-uid"), &object.uid);
        }
    }
    user
}

/// Whether everything the token is bound to still exists, under the same identifier.
fn still_bound(snapshot: &Snapshot, claims: &Claims) -> Result<(), Refusal> {
    let bound = &claims.kubernetes;
    let check = |collection: &str, namespace: &str, name: &str, uid: &str| {
        let key = Key::new(collection, namespace, name);
        let present = snapshot.get(&key).is_some_and(|e| crate::object::uid(&e.served).as_deref() == Some(uid));
        if present { Ok(()) } else { Err(Refusal::Unbound(key.to_string())) }
    };
    check("serviceaccounts", &bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid)?;
    let object = |collection: &str, namespace: &str, object: &Option<BoundObject>| {
        object.as_ref().map_or(Ok(()), |o| check(collection, namespace, &o.name, &o.uid))
    };
    object("pods", &bound.namespace, &bound.pod)?;
    object("secrets", &bound.namespace, &bound.secret)?;
    object("nodes", "", &bound.node)
}
