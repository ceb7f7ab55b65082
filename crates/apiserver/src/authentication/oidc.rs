//! Tokens of issuers that the operator trusts (OpenID Connect).
//!
//! A token says who issued it; if that is one of the issuers, its keys decide whether that is true, its times and
//! audience whether it is meant for now and for here, and the configuration what its claims mean. Keys are fetched when
//! they are needed and bounded in every way: how often, how large, how long. Refused: fetching at start alone, which would
//! make the server depend on its issuer's.

pub(crate) mod claims;
mod keys;

use std::sync::Arc;

use jiff::Timestamp;
use naru_identity::{JwtError, WebToken};
use serde_json::Value;

use self::keys::Keys;
use super::config::IssuerConfig;
use crate::user::User;

/// By how much an issuer's clock may be ahead of ours, in seconds.
const AHEAD: i64 = 300;

/// An issuer, with the keys that it published.
pub(crate) struct Issuer {
    config: Arc<IssuerConfig>,
    keys: Keys,
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcRefusal {
    #[error("oidc: the token does not hold")]
    Token(#[source] JwtError),
    #[error("oidc: the keys of {issuer} cannot be fetched: {why}")]
    Keys { issuer: String, why: String },
    #[error("oidc: token is expired (Token Expiry: {0})")]
    Expired(Timestamp),
    #[error("oidc: the token is not valid before {0}")]
    Early(Timestamp),
    #[error("oidc: the token names no time at which it expires")]
    Endless,
    #[error("oidc: expected one of the audiences {expected:?}, got {actual:?}")]
    Audience { expected: Vec<String>, actual: Vec<String> },
    #[error("{0}")]
    Claims(String),
}

// === impl Issuer ===

impl Issuer {
    pub(crate) fn new(config: Arc<IssuerConfig>) -> Issuer {
        Issuer { keys: Keys::new(&config), config }
    }

    /// Whether a token says that it is of this issuer.
    pub(crate) fn issued(&self, token: &WebToken) -> bool {
        token.issuer() == self.config.url
    }

    /// The user of a token.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(crate) async fn user(&self, token: &WebToken, now: Timestamp) -> Result<User, OidcRefusal> {
        self.keys.verify(token, &self.config.algorithms).await?;
        meant(token.claims(), &self.config.audiences, now)?;
        claims::user(&self.config.mapping, token.claims()).map_err(OidcRefusal::Claims)
    }

    /// Whether tokens of this issuer are for one of these audiences.
    pub(crate) fn is_for(&self, audiences: &[String]) -> bool {
        audiences.iter().any(|audience| self.config.audiences.contains(audience))
    }
}

/// Whether a token is meant for now, and for one of `audiences`. Pure.
fn meant(claims: &Value, audiences: &[String], now: Timestamp) -> Result<(), OidcRefusal> {
    // Some issuers write fractions of seconds.
    let second = |field: &str| claims[field].as_i64().or_else(|| claims[field].as_f64().map(|at| at as i64));
    let at = |second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    let expires = second("exp").ok_or(OidcRefusal::Endless)?;
    if expires <= now.as_second() {
        return Err(OidcRefusal::Expired(at(expires)));
    }
    if let Some(begins) = second("nbf").filter(|begins| *begins > now.as_second().saturating_add(AHEAD)) {
        return Err(OidcRefusal::Early(at(begins)));
    }
    let actual: Vec<String> = match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    match actual.iter().any(|audience| audiences.contains(audience)) {
        true => Ok(()),
        false => Err(OidcRefusal::Audience { expected: audiences.to_vec(), actual }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_is_meant_for_a_time_and_an_audience() {
        let now = Timestamp::from_second(1_000).expect("a time");
        let judge = |claims: Value| meant(&claims, &["naru".to_owned()], now);
        judge(json!({"exp": 1_001, "aud": "naru"})).expect("good");
        judge(json!({"exp": 1_001.5, "nbf": 1_300, "aud": ["a", "naru"]})).expect("good");
        assert!(matches!(judge(json!({"exp": 1_000, "aud": "naru"})), Err(OidcRefusal::Expired(_))));
        assert!(matches!(judge(json!({"aud": "naru"})), Err(OidcRefusal::Endless)));
        assert!(matches!(judge(json!({"exp": 2_000, "nbf": 1_301, "aud": "naru"})), Err(OidcRefusal::Early(_))));
        for aud in [json!("other"), json!([]), json!(null), json!(7)] {
            let judged = judge(json!({"exp": 2_000, "aud": aud}));
            assert!(matches!(judged, Err(OidcRefusal::Audience { .. })), "{judged:?}");
        }
    }
}
