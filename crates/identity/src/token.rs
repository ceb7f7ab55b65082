//! Service-account tokens: JSON web tokens signed with ES256, with the claims of Kubernetes' bound tokens
//! (KEP-1205): issuer, subject, audiences, expiry, and the objects the token is bound to.
//!
//! The key file holds several keys: the newest signs, all verify, so that a key can be replaced while tokens of the one
//! before are in use, and taken away when none are.
//!
//! Own code over ring, about two hundred lines: the well-kept library for it has no ring backend, and a second
//! cryptographic backend in the process is not wanted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use crate::files;

/// Why a token was not made or not believed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The signing key's file could not be read or written.
    #[error("cannot use the token key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The signing key's file does not hold P-256 keys.
    #[error("{path} does not hold P-256 keys: restore it from a backup, or remove it to invalidate every token")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The token is not a JSON web token of ours.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Someone else signed the token, or it was altered.
    #[error("the token's signature is not this cluster's")]
    Signature,
    /// The token's life is over, or not begun.
    #[error("the token is valid from {not_before} to {expires}, it is now {now}")]
    Time {
        /// From.
        not_before: Timestamp,
        /// To.
        expires: Timestamp,
        /// The present.
        now: Timestamp,
    },
    /// The token was made for another audience.
    #[error("the token is for the audiences {actual:?}, not {expected:?}")]
    Audience {
        /// What the token names.
        actual: Vec<String>,
        /// What was asked for.
        expected: Vec<String>,
    },
}

/// A reference to a service account in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccountRef {
    /// Its name.
    pub name: String,
    /// Its unique identifier: a recreated account does not inherit tokens.
    pub uid: String,
}

/// A reference to the object that a token dies with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its unique identifier.
    pub uid: String,
}

/// The `kubernetes.io` claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The account's namespace.
    pub namespace: String,
    /// The account.
    pub serviceaccount: ServiceAccountRef,
    /// The pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
}

/// The claims of a token. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: the cluster's URL.
    pub iss: String,
    /// Subject: `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
    /// Audiences.
    pub aud: Vec<String>,
    /// Expires.
    pub exp: i64,
    /// Issued at.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Unique identifier of the token.
    pub jti: String,
    /// What Kubernetes adds.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
}

/// How tokens are signed, as RFC 7518 names it.
pub const ALGORITHM: &str = "ES256";

/// The claims of a token that a secret holds for ever (`kubernetes.io/service-account-token`): it has no end and no
/// audience, and is worth what the secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyClaims {
    /// Issuer: [`LEGACY_ISSUER`].
    pub iss: String,
    /// Subject: `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
    /// The account's namespace.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// The secret that holds it.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    /// The account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    /// The account's unique identifier.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
}

/// Who issues tokens that secrets hold.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

const PEM: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// The name of a key: of what it is made.
fn name_of(key: &EcdsaKeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
    BASE64.encode(&digest.as_ref()[..12])
}

/// One key, with what its tokens begin with.
struct TokenKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    header: String,
    name: String,
}

/// Signs and verifies service-account tokens with the cluster's token keys.
pub struct TokenSigner {
    path: PathBuf,
    /// The newest last. Never empty.
    keys: RwLock<Vec<Arc<TokenKey>>>,
    random: SystemRandom,
}

// === impl TokenKey ===

impl TokenKey {
    fn read(pkcs8: Vec<u8>, random: &SystemRandom) -> Option<TokenKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, random).ok()?;
        let name = name_of(&pair);
        let header = serde_json::json!({"alg": ALGORITHM, "typ": "JWT", "kid": name}).to_string();
        Some(TokenKey { pair, pkcs8, header: BASE64.encode(header), name })
    }

    fn generate(random: &SystemRandom) -> Option<TokenKey> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random).ok()?;
        TokenKey::read(made.as_ref().to_vec(), random)
    }

    /// As a JSON web key (RFC 7517).
    fn public(&self) -> serde_json::Value {
        // An uncompressed point: a byte that says so, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).map_or((point, point), |both| both.split_at(both.len() / 2));
        serde_json::json!({"use": "sig", "kty": "EC", "crv": "P-256", "alg": ALGORITHM,
            "kid": self.name, "x": BASE64.encode(x), "y": BASE64.encode(y)})
    }
}

// === impl TokenSigner ===

impl TokenSigner {
    /// Opens the token keys kept at `path` (PKCS#8: PEM, the newest last, or a single one in DER), or makes one there.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood.
    pub fn open_or_create(path: &Path) -> Result<Self, TokenError> {
        let random = SystemRandom::new();
        let file = |source| TokenError::File { path: path.to_owned(), source };
        let unusable = || TokenError::Key { path: path.to_owned() };
        let keys = match fs::read(path) {
            Ok(content) => {
                let blocks = blocks(&content).ok_or_else(unusable)?;
                let keys = blocks.into_iter().map(|pkcs8| TokenKey::read(pkcs8, &random).map(Arc::new));
                keys.collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty()).ok_or_else(unusable)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    files::private_dir(dir).map_err(file)?;
                }
                let no_key = || file(io::Error::other("the system's random source failed"));
                let made = TokenKey::generate(&random).ok_or_else(no_key)?;
                files::write(path, &made.pkcs8, 0o600).map_err(file)?;
                vec![Arc::new(made)]
            }
            Err(error) => return Err(file(error)),
        };
        Ok(Self { path: path.to_owned(), keys: RwLock::new(keys), random })
    }

    fn keys(&self) -> Vec<Arc<TokenKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of the keys, the newest last.
    pub fn key_names(&self) -> Vec<String> {
        self.keys().iter().map(|key| key.name.clone()).collect()
    }

    /// Makes a new key, which signs from now on; those before it verify. It is durable before it signs.
    ///
    /// # Errors
    /// When the key file cannot be written: nothing has changed then.
    pub fn rotate(&self) -> Result<String, TokenError> {
        let made = TokenKey::generate(&self.random).ok_or(TokenError::Signature)?;
        let name = made.name.clone();
        self.replace(|keys| keys.push(Arc::new(made)))?;
        Ok(name)
    }

    /// Takes all keys away but the newest: tokens that they signed are worth nothing from now on. Tells how many went.
    ///
    /// # Errors
    /// When the key file cannot be written: nothing has changed then.
    pub fn drop_old(&self) -> Result<usize, TokenError> {
        let mut gone = 0;
        self.replace(|keys| {
            gone = keys.len().saturating_sub(1);
            drop(keys.drain(..gone));
        })?;
        Ok(gone)
    }

    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<TokenKey>>)) -> Result<(), TokenError> {
        // Held while the file is written, so that two changes do not lose one another's.
        let mut present = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut keys = present.clone();
        change(&mut keys);
        let text: String =
            keys.iter().map(|key| format!("{PEM}\n{}\n{PEM_END}\n", STANDARD.encode(&key.pkcs8))).collect();
        files::write(&self.path, text.as_bytes(), 0o600)
            .map_err(|source| TokenError::File { path: self.path.clone(), source })?;
        *present = keys;
        Ok(())
    }

    /// The keys by which others verify the tokens, as a JSON web key set (RFC 7517).
    pub fn key_set(&self) -> serde_json::Value {
        // The newest first: most tokens are its.
        serde_json::json!({"keys": self.keys().iter().rev().map(|key| key.public()).collect::<Vec<_>>()})
    }

    /// A signed token with `claims`.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        self.sign(claims)
    }

    /// A signed token for a secret to hold.
    ///
    /// # Errors
    /// As [`TokenSigner::issue`].
    pub fn issue_legacy(&self, claims: &LegacyClaims) -> Result<String, TokenError> {
        self.sign(claims)
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        let keys = self.keys();
        let key = keys.last().ok_or(TokenError::Signature)?;
        let payload = serde_json::to_vec(claims).map_err(|_| TokenError::Malformed("claims that JSON cannot hold"))?;
        let signed = format!("{}.{}", key.header, BASE64.encode(payload));
        let signature = key.pair.sign(&self.random, signed.as_bytes()).map_err(|_| TokenError::Signature)?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// The claims of `token` if this cluster signed it, it is valid at `now`, and it is for one of `audiences`.
    ///
    /// # Errors
    /// Says which of these does not hold.
    pub fn verify(&self, token: &str, audiences: &[&str], now: Timestamp) -> Result<Claims, TokenError> {
        let payload = self.payload(token)?;
        let claims: Claims =
            serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed("claims are not Kubernetes'"))?;
        if claims.exp <= now.as_second() || claims.nbf > now.as_second() {
            let at = |second| Timestamp::from_second(second).unwrap_or(Timestamp::MIN);
            return Err(TokenError::Time { not_before: at(claims.nbf), expires: at(claims.exp), now });
        }
        if !claims.aud.iter().any(|a| audiences.contains(&a.as_str())) {
            let expected = audiences.iter().map(|a| (*a).to_owned()).collect();
            return Err(TokenError::Audience { actual: claims.aud, expected });
        }
        Ok(claims)
    }

    /// The claims of a token that a secret holds, if this cluster signed it.
    ///
    /// # Errors
    /// When it is none, or somebody else's.
    pub fn verify_legacy(&self, token: &str) -> Result<LegacyClaims, TokenError> {
        let claims: LegacyClaims = serde_json::from_slice(&self.payload(token)?)
            .map_err(|_| TokenError::Malformed("claims are not Kubernetes'"))?;
        if claims.iss == LEGACY_ISSUER { Ok(claims) } else { Err(TokenError::Malformed("another issuer")) }
    }

    /// The claims' bytes of a token that one of the keys signed.
    fn payload(&self, token: &str) -> Result<Vec<u8>, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("no payload"))?;
        // Only headers of our own are accepted, to the letter: nothing in one is negotiable (an attacker's "alg" least).
        let keys = self.keys();
        let key = keys.iter().find(|key| key.header == header).ok_or(TokenError::Signature)?;
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Malformed("signature is not base64url"))?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        BASE64.decode(payload).map_err(|_| TokenError::Malformed("payload is not base64url"))
    }
}

/// The keys of a file.
fn blocks(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.contains(PEM));
    let Some(text) = text else { return Some(vec![content.to_vec()]) };
    let bodies = text.split(PEM).skip(1).map(|rest| rest.split_once(PEM_END).map(|(body, _)| body));
    bodies.map(|body| STANDARD.decode(body?.split_whitespace().collect::<String>()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: "https://kubernetes.default.svc".into(),
            sub: "system:serviceaccount:shop:web".into(),
            aud: vec!["api".into()],
            exp: 2_000,
            iat: 1_000,
            nbf: 1_000,
            jti: "1".into(),
            kubernetes: KubernetesClaims {
                namespace: "shop".into(),
                serviceaccount: ServiceAccountRef { name: "web".into(), uid: "u".into() },
                pod: None,
                secret: None,
                node: None,
            },
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_token_is_believed_in_its_time_and_for_its_audience() {
        let dir = tempfile::tempdir().expect("a folder");
        let signer = TokenSigner::open_or_create(&dir.path().join("sa.key")).expect("a signer");
        let token = signer.issue(&claims()).expect("a token");
        assert_eq!(signer.verify(&token, &["api"], at(1_500)).expect("valid"), claims());
        assert!(matches!(signer.verify(&token, &["api"], at(2_000)), Err(TokenError::Time { .. })));
        assert!(matches!(signer.verify(&token, &["api"], at(999)), Err(TokenError::Time { .. })));
        assert!(matches!(signer.verify(&token, &["vault"], at(1_500)), Err(TokenError::Audience { .. })));
    }

    #[test]
    fn the_key_survives_a_restart_and_no_other_key_is_believed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sa.key");
        let token = TokenSigner::open_or_create(&path).expect("a signer").issue(&claims()).expect("a token");
        TokenSigner::open_or_create(&path).expect("again").verify(&token, &["api"], at(1_500)).expect("valid");
        let other = TokenSigner::open_or_create(&dir.path().join("other.key")).expect("another");
        assert!(matches!(other.verify(&token, &["api"], at(1_500)), Err(TokenError::Signature)));
    }

    #[test]
    fn a_token_outlives_the_key_that_signs_until_its_own_is_taken_away() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sa.key");
        let signer = TokenSigner::open_or_create(&path).expect("a signer");
        let old = signer.issue(&claims()).expect("a token");
        let name = signer.rotate().expect("a key");
        let new = signer.issue(&claims()).expect("a token");
        assert_ne!(old.split('.').next(), new.split('.').next());
        assert_eq!(signer.key_set()["keys"].as_array().map(Vec::len), Some(2));
        assert_eq!(signer.key_set()["keys"][0]["kid"], name.as_str());
        for signer in [&signer, &TokenSigner::open_or_create(&path).expect("after a restart")] {
            signer.verify(&old, &["api"], at(1_500)).expect("by its key");
            signer.verify(&new, &["api"], at(1_500)).expect("by the newest");
        }
        assert_eq!(signer.drop_old().expect("written"), 1);
        for signer in [&signer, &TokenSigner::open_or_create(&path).expect("after a restart")] {
            assert!(matches!(signer.verify(&old, &["api"], at(1_500)), Err(TokenError::Signature)));
            signer.verify(&new, &["api"], at(1_500)).expect("by the only one");
            assert_eq!(signer.key_names(), [name.as_str()]);
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_secrets_token_is_told_from_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let signer = TokenSigner::open_or_create(&dir.path().join("sa.key")).expect("a signer");
        let legacy = LegacyClaims {
            iss: LEGACY_ISSUER.into(),
            sub: "system:serviceaccount:shop:web".into(),
            namespace: "shop".into(),
            secret: "web-token".into(),
            account: "web".into(),
            uid: "u".into(),
        };
        let token = signer.issue_legacy(&legacy).expect("a token");
        assert_eq!(signer.verify_legacy(&token).expect("ours"), legacy);
        signer.verify(&token, &["api"], at(1_500)).expect_err("no bound one");
        let bound = signer.issue(&claims()).expect("a token");
        signer.verify_legacy(&bound).expect_err("no secret's");
    }

    #[test]
    fn a_damaged_key_file_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sa.key");
        for junk in ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", PEM] {
            fs::write(&path, junk).expect("write");
            assert!(matches!(TokenSigner::open_or_create(&path), Err(TokenError::Key { .. })), "{junk}");
        }
    }

    #[test]
    fn an_altered_or_unsigned_token_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let signer = TokenSigner::open_or_create(&dir.path().join("sa.key")).expect("a signer");
        let token = signer.issue(&claims()).expect("a token");
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = BASE64.encode(serde_json::to_vec(&Claims { sub: "admin".into(), ..claims() }).expect("JSON"));
        parts[1] = &forged;
        assert!(matches!(signer.verify(&parts.join("."), &["api"], at(1_500)), Err(TokenError::Signature)));
        let none = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), token.split('.').nth(1).expect("a payload"));
        assert!(matches!(signer.verify(&none, &["api"], at(1_500)), Err(TokenError::Signature)));
        for junk in ["", ".", "..", "a.b.c", "\u{0}"] {
            signer.verify(junk, &["api"], at(1_500)).expect_err("junk");
        }
    }
}
