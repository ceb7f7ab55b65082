//! Tokens: of service accounts, whose signature is checked once and what they are bound to in every request; and of issuers
//! that the operator trusts.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use naru_identity::{BootstrapToken, BoundObject, Claims, LegacyClaims, TokenError, TokenSigner, WebToken};
use naru_store::{Key, Snapshot};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use super::bootstrap;
use super::config::{Anonymous, Authentication};
use super::oidc::{Issuer, OidcRefusal};
use super::secret;
use crate::state::Core;
use crate::user::User;

/// Verified tokens that are remembered; beyond it, all are forgotten and verified again (0.1 ms each).
const REMEMBERED: usize = 10_000;

/// Verifies tokens.
pub(crate) struct Authenticator {
    signer: Arc<TokenSigner>,
    audience: String,
    verified: Mutex<HashMap<[u8; 32], Arc<Verified>>>,
    issuers: Vec<Issuer>,
    pub(crate) anonymous: Anonymous,
}

struct Verified {
    claims: Proof,
    user: Arc<User>,
}

/// What a service account's token says.
enum Proof {
    Bound(Claims),
    /// It is as good as the secret that holds it.
    Held(LegacyClaims),
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
    #[error("the token is not of its issuer")]
    Oidc(#[source] OidcRefusal),
    #[error("token audiences {actual:?} is invalid for the target audiences {expected:?}")]
    Audience { actual: Vec<String>, expected: Vec<String> },
    #[error("{0}")]
    Join(String),
}

// === impl Authenticator ===

impl Authenticator {
    /// An authenticator of tokens for `audience` (the issuer's own name).
    pub(crate) fn new(signer: Arc<TokenSigner>, audience: String, settings: &Authentication) -> Self {
        let issuers = settings.issuers.iter().cloned().map(Issuer::new).collect();
        let anonymous = settings.anonymous.clone();
        Self { signer, audience, verified: Mutex::default(), issuers, anonymous }
    }

    /// The user of a token for this server.
    pub(crate) async fn user(&self, core: &Core, token: &str) -> Result<Arc<User>, Refusal> {
        let now = Timestamp::now();
        if let Some((issuer, token)) = self.issuer(token) {
            return Box::pin(issuer.user(&token, now)).await.map(Arc::new).map_err(Refusal::Oidc);
        }
        let verified = self.verified(token, now)?;
        still_good(&core.store.snapshot(), &verified.claims, token)?;
        Ok(verified.user.clone())
    }

    /// The user of a token for any of `audiences`, and which of them it is for.
    pub(crate) async fn review(
        &self,
        core: &Core,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), Refusal> {
        let own = [self.audience.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let (now, snapshot) = (Timestamp::now(), core.store.snapshot());
        // Tokens that say nothing of this server are for it, and for nobody else.
        let only_here = || match wanted.contains(&self.audience) {
            true => Ok(own.to_vec()),
            false => Err(Refusal::Audience { actual: own.to_vec(), expected: wanted.to_vec() }),
        };
        if let Some(token) = BootstrapToken::parse(token) {
            let user = bootstrap::user(&snapshot, &token, now).map_err(|status| Refusal::Join(status.message))?;
            return Ok((User::clone(&user), only_here()?));
        }
        if let Some((issuer, token)) = self.issuer(token) {
            let user = Box::pin(issuer.user(&token, now)).await.map_err(Refusal::Oidc)?;
            // Whoever asks for the issuer's own audience means this server by that.
            let shared = if issuer.is_for(wanted) { own.to_vec() } else { only_here()? };
            return Ok((user, shared));
        }
        if let Ok(claims) = self.signer.verify_legacy(token) {
            let user = user_of_secret(&claims);
            still_good(&snapshot, &Proof::Held(claims), token)?;
            return Ok((user, only_here()?));
        }
        let asked: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let claims = self.signer.verify(token, &asked, now).map_err(Refusal::Token)?;
        still_bound(&snapshot, &claims)?;
        let shared = wanted.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        Ok((user_of(&claims), shared))
    }

    /// Forgets what was verified: keys have been taken away.
    pub(crate) fn forget(&self) {
        self.verified.lock().clear();
    }

    /// The issuer that a token says it is of, if it is one that is trusted.
    fn issuer(&self, token: &str) -> Option<(&Issuer, WebToken)> {
        if self.issuers.is_empty() {
            return None;
        }
        let token = WebToken::read(token).ok()?;
        self.issuers.iter().find(|issuer| issuer.issued(&token)).map(|issuer| (issuer, token))
    }

    fn verified(&self, token: &str, now: Timestamp) -> Result<Arc<Verified>, Refusal> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let known = self.verified.lock().get(&key).cloned();
        if let Some(known) = known {
            let lasts = match &known.claims {
                Proof::Bound(claims) => claims.exp > now.as_second(),
                Proof::Held(_) => true,
            };
            return if lasts { Ok(known) } else { Err(Refusal::Expired) };
        }
        let verified = match self.signer.verify_legacy(token) {
            Ok(claims) => Verified { user: Arc::new(user_of_secret(&claims)), claims: Proof::Held(claims) },
            Err(_) => {
                let claims = self.signer.verify(token, &[&self.audience], now).map_err(Refusal::Token)?;
                Verified { user: Arc::new(user_of(&claims)), claims: Proof::Bound(claims) }
            }
        };
        let verified = Arc::new(verified);
        let mut remembered = self.verified.lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, verified.clone());
        Ok(verified)
    }
}

fn user_of_secret(claims: &LegacyClaims) -> User {
    User::service_account(&claims.namespace, &claims.account, &claims.uid)
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

/// Whether what a token rests on is still there.
fn still_good(snapshot: &Snapshot, proof: &Proof, token: &str) -> Result<(), Refusal> {
    match proof {
        Proof::Bound(claims) => still_bound(snapshot, claims),
        Proof::Held(claims) => {
            is_there(snapshot, "serviceaccounts", &claims.namespace, &claims.account, &claims.uid)?;
            let key = Key::new("secrets", &claims.namespace, &claims.secret);
            match snapshot.get(&key).is_some_and(|entry| secret::holds(&entry.served, token)) {
                true => Ok(()),
                false => Err(Refusal::Unbound(key.to_string())),
            }
        }
    }
}

fn is_there(snapshot: &Snapshot, collection: &str, namespace: &str, name: &str, uid: &str) -> Result<(), Refusal> {
    let key = Key::new(collection, namespace, name);
    let present = snapshot.get(&key).is_some_and(|e| crate::object::uid(&e.served).as_deref() == Some(uid));
    if present { Ok(()) } else { Err(Refusal::Unbound(key.to_string())) }
}

/// Whether everything the token is bound to still exists, under the same identifier.
fn still_bound(snapshot: &Snapshot, claims: &Claims) -> Result<(), Refusal> {
    let bound = &claims.kubernetes;
    let account = &bound.serviceaccount;
    is_there(snapshot, "serviceaccounts", &bound.namespace, &account.name, &account.uid)?;
    let object = |collection: &str, namespace: &str, object: &Option<BoundObject>| {
        object.as_ref().map_or(Ok(()), |o| is_there(snapshot, collection, namespace, &o.name, &o.uid))
    };
    object("pods", &bound.namespace, &bound.pod)?;
    object("secrets", &bound.namespace, &bound.secret)?;
    object("nodes", "", &bound.node)
}
