//! Tokens that others issue (JSON web tokens, RFC 7519) and the keys by which they are verified (RFC 7517).
//!
//! A token is read without believing it, so that it can be said whose it claims to be; only [`KeySet::verify`] makes it
//! worth something. What the token's header says counts for nothing beyond which key and which of the allowed ways to sign
//! it names: no way without a key exists here, and a key of one kind never verifies the signatures of another.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

/// The ways to sign that are known here, as RFC 7518 names them.
pub const SIGNATURES: [&str; 8] = ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512"];
/// The longest token that is read, in bytes.
const LONGEST: usize = 64 << 10;
/// So many keys of a set are kept; issuers have two or three.
const MOST_KEYS: usize = 64;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is none.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// It is signed in a way that is not allowed.
    #[error("the token is signed by {0:?}, which is not allowed")]
    Algorithm(String),
    /// None of the keys is the one it names.
    #[error("the token names a key that its issuer does not publish")]
    UnknownKey,
    /// It was altered, or somebody else signed it.
    #[error("the token's signature does not hold")]
    Signature,
}

/// A token that was read, and is not believed yet.
#[derive(Debug, Clone)]
pub struct WebToken {
    algorithm: String,
    key: Option<String>,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PublicKey {
    name: Option<String>,
    /// The one way of signing that it is for, where it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

// === impl WebToken ===

impl WebToken {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(token: &str) -> Result<WebToken, JwtError> {
        let malformed = JwtError::Malformed;
        if token.len() > LONGEST {
            return Err(malformed("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed("no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or(malformed("no payload"))?;
        let json = |part: &str, what| {
            let bytes = BASE64.decode(part).map_err(|_| malformed(what))?;
            serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object).ok_or(malformed(what))
        };
        let header = json(header, "its header is no JSON")?;
        let claims = json(payload, "its claims are no JSON")?;
        // Whoever says that something must be understood is refused rather than misunderstood (RFC 7515, 4.1.11).
        if header.get("crit").is_some() {
            return Err(malformed("its header has critical parts"));
        }
        let text = |field: &str| header[field].as_str().map(str::to_owned);
        let signature = BASE64.decode(signature).map_err(|_| malformed("its signature is not base64url"))?;
        let algorithm = text("alg").ok_or(malformed("its header names no algorithm"))?;
        Ok(WebToken { algorithm, key: text("kid"), claims, signed: signed.to_owned(), signature })
    }

    /// Who it says issued it.
    pub fn issuer(&self) -> &str {
        self.claims["iss"].as_str().unwrap_or_default()
    }

    /// What it says. Worth nothing before it was verified.
    pub fn claims(&self) -> &Value {
        &self.claims
    }
}

// === impl KeySet ===

impl KeySet {
    /// Reads a set of keys. Those of kinds that are not known, and those that are not for signatures, are left out, as
    /// sets grow by such.
    pub fn read(set: &Value) -> KeySet {
        let keys = set["keys"].as_array().into_iter().flatten();
        KeySet { keys: keys.filter_map(PublicKey::read).take(MOST_KEYS).collect() }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether one of the keys signed the token, in one of the ways that are `allowed`.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, token: &WebToken, allowed: &[impl AsRef<str>]) -> Result<(), JwtError> {
        let algorithm = token.algorithm.as_str();
        if !allowed.iter().any(|one| one.as_ref() == algorithm) {
            return Err(JwtError::Algorithm(token.algorithm.clone()));
        }
        let named = |key: &&PublicKey| match (&token.key, &key.name) {
            (Some(wanted), Some(name)) => wanted == name,
            // Issuers with one key need not name it.
            _ => true,
        };
        let fits = |key: &&PublicKey| key.algorithm.as_deref().is_none_or(|only| only == algorithm);
        let mut tried = false;
        for key in self.keys.iter().filter(named).filter(fits) {
            match key.holds(algorithm, token.signed.as_bytes(), &token.signature) {
                Some(true) => return Ok(()),
                Some(false) => tried = true,
                None => {}
            }
        }
        Err(if tried { JwtError::Signature } else { JwtError::UnknownKey })
    }
}

// === impl PublicKey ===

impl PublicKey {
    fn read(key: &Value) -> Option<PublicKey> {
        let text = |field: &str| key[field].as_str().map(str::to_owned);
        if key["use"].as_str().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let number = |field: &str| BASE64.decode(key[field].as_str()?.trim_end_matches('=')).ok();
        let point = |size: usize| {
            let mut point = vec![4]; // uncompressed
            for half in ["x", "y"] {
                let number = number(half)?;
                point.extend(std::iter::repeat_n(0, size.checked_sub(number.len())?));
                point.extend(number);
            }
            Some(point)
        };
        let material = match (key["kty"].as_str()?, key["crv"].as_str()) {
            ("RSA", _) => {
                let bare = |number: Vec<u8>| number.into_iter().skip_while(|byte| *byte == 0).collect();
                Material::Rsa { n: bare(number("n")?), e: bare(number("e")?) }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            _ => return None,
        };
        Some(PublicKey { name: text("kid"), algorithm: text("alg"), material })
    }

    /// Whether the signature is this key's; `None` where the key is not for signatures of this kind.
    fn holds(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> Option<bool> {
        let rsa = |parameters: &RsaParameters| match &self.material {
            Material::Rsa { n, e } => {
                Some(RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok())
            }
            _ => None,
        };
        match (algorithm, &self.material) {
            ("RS256", _) => rsa(&RSA_PKCS1_2048_8192_SHA256),
            ("RS384", _) => rsa(&RSA_PKCS1_2048_8192_SHA384),
            ("RS512", _) => rsa(&RSA_PKCS1_2048_8192_SHA512),
            ("PS256", _) => rsa(&RSA_PSS_2048_8192_SHA256),
            ("PS384", _) => rsa(&RSA_PSS_2048_8192_SHA384),
            ("PS512", _) => rsa(&RSA_PSS_2048_8192_SHA512),
            ("ES256", Material::P256(point)) => {
                Some(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok())
            }
            ("ES384", Material::P384(point)) => {
                Some(UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(signed, signature).is_ok())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenSigner;
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
    use serde_json::json;

    /// A key for tests only (`openssl genpkey -algorithm RSA -outform DER, PKCS #1`).
    const RSA: &[u8] = include_bytes!("../tests/data/issuer.der");

    fn rsa() -> RsaKeyPair {
        RsaKeyPair::from_der(RSA).expect("a key")
    }

    fn rsa_set(more: Value) -> KeySet {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(rsa().public());
        let mut key = json!({"kty": "RSA", "kid": "r", "n": BASE64.encode(public.n), "e": BASE64.encode(public.e)});
        for (field, value) in more.as_object().into_iter().flatten() {
            key[field] = value.clone();
        }
        KeySet::read(&json!({"keys": [{"kty": "oct", "k": "AA"}, key]}))
    }

    fn signed(header: Value, encoding: &'static dyn RsaEncoding) -> WebToken {
        let body = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(r#"{"iss":"i"}"#));
        let key = rsa();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(encoding, &SystemRandom::new(), body.as_bytes(), &mut signature).expect("signed");
        WebToken::read(&format!("{body}.{}", BASE64.encode(signature))).expect("a token")
    }

    #[test]
    fn a_token_is_believed_by_the_key_it_names_in_an_allowed_way() {
        let token = signed(json!({"alg": "RS256", "kid": "r"}), &RSA_PKCS1_SHA256);
        assert_eq!(token.issuer(), "i");
        rsa_set(json!({})).verify(&token, &["RS256"]).expect("believed");
        rsa_set(json!({"alg": "RS256", "use": "sig"})).verify(&token, &["RS256"]).expect("believed");
        let refused = rsa_set(json!({})).verify(&token, &["ES256"]);
        assert_eq!(refused, Err(JwtError::Algorithm("RS256".to_owned())));
        for other in [json!({"kid": "s"}), json!({"alg": "RS512"}), json!({"use": "enc"})] {
            assert_eq!(rsa_set(other.clone()).verify(&token, &["RS256"]), Err(JwtError::UnknownKey), "{other}");
        }
        let unnamed = signed(json!({"alg": "PS256"}), &RSA_PSS_SHA256);
        rsa_set(json!({})).verify(&unnamed, &SIGNATURES).expect("believed");
        // The signature is one of the other scheme.
        let confused = signed(json!({"alg": "RS256", "kid": "r"}), &RSA_PSS_SHA256);
        assert_eq!(rsa_set(json!({})).verify(&confused, &SIGNATURES), Err(JwtError::Signature));
    }

    #[test]
    fn keys_of_curves_are_read_from_what_is_published() {
        let dir = tempfile::tempdir().expect("a folder");
        let signer = TokenSigner::open_or_create(&dir.path().join("sa.key")).expect("a signer");
        let claims = crate::LegacyClaims {
            iss: "i".into(),
            sub: String::new(),
            namespace: String::new(),
            secret: String::new(),
            account: String::new(),
            uid: String::new(),
        };
        let token = signer.issue_legacy(&claims).expect("a token");
        let keys = KeySet::read(&signer.key_set());
        let read = WebToken::read(&token).expect("a token");
        keys.verify(&read, &["ES256"]).expect("believed");
        let mut altered = read.clone();
        altered.signature[7] ^= 1;
        assert_eq!(keys.verify(&altered, &["ES256"]), Err(JwtError::Signature));
    }

    #[test]
    fn what_is_no_token_or_signed_by_nobody_is_refused() {
        for junk in ["", ".", "..", "a.b.c", "e30.e30", &"a".repeat(LONGEST + 1)] {
            WebToken::read(junk).expect_err(junk);
        }
        let none = format!("{}.e30.", BASE64.encode(r#"{"alg":"none"}"#));
        let none = WebToken::read(&none).expect("readable");
        assert!(matches!(rsa_set(json!({})).verify(&none, &SIGNATURES), Err(JwtError::Algorithm(_))));
        let critical = format!("{}.e30.", BASE64.encode(r#"{"alg":"RS256","crit":["b64"]}"#));
        WebToken::read(&critical).expect_err("not understood");
        // An attacker's favourite: the published key taken for a shared secret.
        let shared = format!("{}.e30.AA", BASE64.encode(r#"{"alg":"HS256","kid":"r"}"#));
        let shared = WebToken::read(&shared).expect("readable");
        assert!(matches!(rsa_set(json!({})).verify(&shared, &SIGNATURES), Err(JwtError::Algorithm(_))));
    }
}
