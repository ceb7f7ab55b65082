//! Service-account tokens: JSON web tokens signed with ES256, with the claims of Kubernetes' bound tokens
//! (KEP-1205): issuer, subject, audiences, expiry, and the objects the token is bound to.
//!
//! Own code over ring, about a hundred lines: the well-kept library for it has no ring backend, and a second
//! cryptographic backend in the process is not wanted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
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
    /// The signing key's file does not hold a P-256 key.
    #[error("{path} does not hold a P-256 key: restore it from a backup, or remove it to invalidate every token")]
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

/// The name of a key: of what it is made.
fn name_of(key: &EcdsaKeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
    BASE64.encode(&digest.as_ref()[..12])
}

/// Signs and verifies service-account tokens with the cluster's token key.
pub struct TokenSigner {
    key: EcdsaKeyPair,
    random: SystemRandom,
    header: String,
}

impl TokenSigner {
    /// Opens the token key kept at `path` (PKCS#8, DER), or makes one there.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood.
    pub fn open_or_create(path: &Path) -> Result<Self, TokenError> {
        let random = SystemRandom::new();
        let file = |source| TokenError::File { path: path.to_owned(), source };
        let unusable = || TokenError::Key { path: path.to_owned() };
        let pkcs8 = match fs::read(path) {
            Ok(pkcs8) => pkcs8,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    files::private_dir(dir).map_err(file)?;
                }
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(|_| file(io::Error::other("the system's random source failed")))?;
                files::write(path, made.as_ref(), 0o600).map_err(file)?;
                made.as_ref().to_vec()
            }
            Err(error) => return Err(file(error)),
        };
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random).map_err(|_| unusable())?;
        let header = serde_json::json!({"alg": ALGORITHM, "typ": "JWT", "kid": name_of(&key)}).to_string();
        Ok(Self { key, random, header: BASE64.encode(header) })
    }

    /// The key by which others verify the tokens, as a JSON web key set (RFC 7517).
    pub fn key_set(&self) -> serde_json::Value {
        // An uncompressed point: a byte that says so, x, y.
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).map_or((point, point), |both| both.split_at(both.len() / 2));
        serde_json::json!({"keys": [{"use": "sig", "kty": "EC", "crv": "P-256", "alg": ALGORITHM,
            "kid": name_of(&self.key), "x": BASE64.encode(x), "y": BASE64.encode(y)}]})
    }

    /// A signed token with `claims`.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let payload = serde_json::to_vec(claims).map_err(|_| TokenError::Malformed("claims that JSON cannot hold"))?;
        let signed = format!("{}.{}", self.header, BASE64.encode(payload));
        let signature = self.key.sign(&self.random, signed.as_bytes()).map_err(|_| TokenError::Signature)?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// The claims of `token` if this cluster signed it, it is valid at `now`, and it is for one of `audiences`.
    ///
    /// # Errors
    /// Says which of these does not hold.
    pub fn verify(&self, token: &str, audiences: &[&str], now: Timestamp) -> Result<Claims, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("no payload"))?;
        // Only our own header is accepted, to the letter: nothing in it is negotiable (an attacker's "alg" least).
        if header != self.header {
            return Err(TokenError::Signature);
        }
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Malformed("signature is not base64url"))?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        let payload = BASE64.decode(payload).map_err(|_| TokenError::Malformed("payload is not base64url"))?;
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
