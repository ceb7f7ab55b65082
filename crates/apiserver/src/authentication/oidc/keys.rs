//! An issuer's keys: fetched when a token needs them, kept for as long as they are fresh.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::header::ACCEPT;
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use naru_client::{HttpTransport, TlsSettings, Transport, chain, empty_body};
use naru_identity::{JwtError, KeySet, WebToken};
use parking_lot::Mutex;
use serde_json::Value;

use super::OidcRefusal;
use crate::authentication::config::IssuerConfig;

/// How long keys are believed without looking whether they still are published.
const FRESH: Duration = Duration::from_secs(600);
/// How often an issuer is asked at most, whatever tokens come: so many times in this time.
const MOST: (usize, Duration) = (6, Duration::from_secs(60));
/// How long an issuer may take to answer, and how long its answer may be, in bytes.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: usize = 1 << 20;
/// Where machines keep the authorities that they trust.
const MACHINE: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    discovery: String,
    authorities: Vec<u8>,
    known: ArcSwap<KeySet>,
    /// When they were fetched.
    fetched: Mutex<Option<Instant>>,
    /// Held while they are fetched, so that many tokens wait for one answer.
    asked: tokio::sync::Mutex<Asked>,
}

/// When the issuer was asked.
#[derive(Default)]
struct Asked {
    /// Lately, the last one last.
    tries: VecDeque<Instant>,
    /// Why the last try failed.
    failed: Option<String>,
}

// === impl Asked ===

impl Asked {
    /// Whether the issuer may be asked again.
    fn may(&mut self, now: Instant) -> bool {
        let (most, within) = MOST;
        while self.tries.front().is_some_and(|first| now.duration_since(*first) >= within) {
            self.tries.pop_front();
        }
        self.tries.len() < most
    }
}

/// Whether what was fetched then is too old to be believed without asking.
fn is_stale(fetched: Option<Instant>, now: Instant) -> bool {
    fetched.is_none_or(|at| now.duration_since(at) >= FRESH)
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(config: &IssuerConfig) -> Keys {
        Keys {
            issuer: config.url.clone(),
            discovery: config.discovery.clone(),
            authorities: config.authorities.clone(),
            known: ArcSwap::default(),
            fetched: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// Verifies a token with the keys that are known, and with those that are published now if that does not do.
    pub(super) async fn verify(&self, token: &WebToken, allowed: &[String]) -> Result<(), OidcRefusal> {
        let known = self.known.load_full();
        let judged = known.verify(token, allowed);
        let stale = is_stale(*self.fetched.lock(), Instant::now());
        let asked = match &judged {
            Err(JwtError::UnknownKey) => Some(self.asked.lock().await),
            // Somebody asks already: until there is an answer, what is known holds.
            _ if stale => self.asked.try_lock().ok(),
            _ => None,
        };
        let Some(mut asked) = asked else { return judged.map_err(OidcRefusal::Token) };
        // While this one waited, somebody else may have fetched them.
        let newer = self.known.load_full();
        if Arc::ptr_eq(&newer, &known) || matches!(newer.verify(token, allowed), Err(JwtError::UnknownKey)) {
            self.refresh(&mut asked).await;
        }
        let known = self.known.load_full();
        if known.is_empty() {
            let why = asked.failed.clone().unwrap_or_else(|| "it publishes none that are known here".to_owned());
            return Err(OidcRefusal::Keys { issuer: self.issuer.clone(), why });
        }
        known.verify(token, allowed).map_err(OidcRefusal::Token)
    }

    async fn refresh(&self, asked: &mut Asked) {
        if !asked.may(Instant::now()) {
            return;
        }
        asked.tries.push_back(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                self.known.store(Arc::new(keys));
                *self.fetched.lock() = Some(Instant::now());
                asked.failed = None;
            }
            // The keys that are known go on to be believed: an issuer that is away for a while locks nobody out.
            Err(why) => {
                tracing::warn!(issuer = self.issuer, why, "an issuer's keys cannot be fetched");
                asked.failed = Some(why);
            }
        }
    }

    /// What the issuer publishes now.
    async fn fetch(&self) -> Result<KeySet, String> {
        let fetched = async {
            let about = self.get(&self.discovery).await?;
            let named = about["issuer"].as_str().unwrap_or_default();
            if named != self.issuer {
                return Err(format!("{} is about the issuer {named:?}, not {:?}", self.discovery, self.issuer));
            }
            let place = about["jwks_uri"].as_str().unwrap_or_default();
            if !place.starts_with("https://") {
                return Err(format!("jwks_uri: expected an address that begins with https://, got {place:?}"));
            }
            Ok(KeySet::read(&self.get(place).await?))
        };
        match tokio::time::timeout(PATIENCE, fetched).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("it did not answer within {PATIENCE:?}")),
        }
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let failed = |error: &dyn std::error::Error| format!("GET {url}: {}", chain(error));
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| failed(&error))?;
        let origin = format!("https://{}", uri.authority().map(ToString::to_string).unwrap_or_default());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let settings = TlsSettings { authorities: self.authorities(), ..TlsSettings::default() };
        // A connection of its own each time: it is seldom, and the issuer's address may have changed.
        let transport = HttpTransport::tcp(&origin, &settings).map_err(|error| failed(&error))?;
        let request = Request::builder().method(Method::GET).uri(path).header(ACCEPT, "application/json");
        let request = request.body(empty_body()).map_err(|error| failed(&error))?;
        let response = transport.call(request).await.map_err(|error| failed(&error))?;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            return Err(format!("GET {url}: {}", head.status));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(&*error))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if bytes.len() > LONGEST {
                return Err(format!("GET {url}: the answer has more than {LONGEST} bytes"));
            }
        }
        serde_json::from_slice(&bytes).map_err(|error| failed(&error))
    }

    fn authorities(&self) -> Vec<u8> {
        if !self.authorities.is_empty() {
            return self.authorities.clone();
        }
        MACHINE.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_asked_so_often_and_no_oftener() {
        let (mut asked, start) = (Asked::default(), Instant::now());
        assert!(is_stale(None, start), "never asked");
        for _ in 0..MOST.0 {
            assert!(asked.may(start));
            asked.tries.push_back(start);
        }
        assert!(!asked.may(start + MOST.1 / 2));
        assert!(asked.may(start + MOST.1));
        assert!(!is_stale(Some(start), start + FRESH / 2));
        assert!(is_stale(Some(start), start + FRESH));
    }
}
