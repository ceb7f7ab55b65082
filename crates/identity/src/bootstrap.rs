//! Join tokens: one line that lets a machine into the cluster, and tells it whom to trust.
//!
//! The line names the cluster's authority by the hash of its public key, so that the machine can recognise the server
//! before it trusts anything; and it holds a secret that the server recognises the machine by. Refused: a line with the
//! whole authority certificate (four times as long, and no safer), and trust on first use (whoever answers first would
//! own the machine).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};

/// What every line begins with: the version of its form.
const PREFIX: &str = "NARU1.";
/// Letters of identifier and secret, as Kubernetes' bootstrap tokens have them.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// Why a join line is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinLineError {
    /// It does not begin as one.
    #[error("this is no join token: expected the line that `naru token create` prints, which begins with {PREFIX}")]
    NoToken,
    /// It was cut short or altered.
    #[error("the join token is incomplete or was altered: copy the whole line again")]
    Damaged,
    /// A newer form.
    #[error("the join token is of form {0}, which this version does not know: install the server's version here")]
    Version(u32),
    /// Nobody to ask.
    #[error("the join token names no server: make one with `naru token create --server HOST:PORT`")]
    NoServer,
}

/// The secret half of a join line: Kubernetes' bootstrap token.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Six letters or digits: names the token, is no secret.
    pub id: String,
    /// Sixteen letters or digits.
    pub secret: String,
}

/// What `naru token create` prints after `naru join`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinLine {
    /// The hash of the authority's public key, see [`crate::key_hash`].
    pub authority: String,
    /// The token.
    pub token: BootstrapToken,
    /// Where servers answer, `host:port` each.
    pub servers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    #[serde(default)]
    ca: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    servers: Vec<String>,
}

// === impl BootstrapToken ===

impl BootstrapToken {
    /// A new random token: 16 letters of 36 are 82 bits.
    pub fn generate() -> Self {
        Self { id: word(ID_LENGTH), secret: word(SECRET_LENGTH) }
    }

    /// Reads `<id>.<secret>`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let is_word = |word: &str, length| word.len() == length && word.bytes().all(|b| LETTERS.contains(&b));
        (is_word(id, ID_LENGTH) && is_word(secret, SECRET_LENGTH))
            .then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// `<id>.<secret>`, as it is sent to the server.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Whether `secret` is this token's, in a time that tells nothing about where they differ.
    pub fn is_secret(&self, secret: &[u8]) -> bool {
        let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
        let (own, given) = (digest(self.secret.as_bytes()), digest(secret));
        own.as_ref().iter().zip(given.as_ref()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BootstrapToken({}, secret not shown)", self.id)
    }
}

fn word(length: usize) -> String {
    use rand::seq::IndexedRandom;
    let mut random = rand::rng();
    (0..length).filter_map(|_| LETTERS.choose(&mut random)).map(|byte| char::from(*byte)).collect()
}

// === impl JoinLine ===

impl JoinLine {
    /// Reads a line as it was pasted: with or without the words before it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, JoinLineError> {
        let word = text.split_whitespace().find(|word| word.starts_with("NARU")).ok_or(JoinLineError::NoToken)?;
        let body = word.strip_prefix(PREFIX).ok_or(JoinLineError::NoToken)?;
        let bytes = BASE64.decode(body).map_err(|_| JoinLineError::Damaged)?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|_| JoinLineError::Damaged)?;
        if wire.v != 1 {
            return Err(JoinLineError::Version(wire.v));
        }
        let token = BootstrapToken::parse(&format!("{}.{}", wire.id, wire.secret)).ok_or(JoinLineError::Damaged)?;
        if wire.ca.len() != 64 || !wire.ca.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(JoinLineError::Damaged);
        }
        if wire.servers.is_empty() {
            return Err(JoinLineError::NoServer);
        }
        Ok(Self { authority: wire.ca.to_ascii_lowercase(), token, servers: wire.servers })
    }
}

impl std::fmt::Display for JoinLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wire = Wire {
            v: 1,
            ca: self.authority.clone(),
            id: self.token.id.clone(),
            secret: self.token.secret.clone(),
            servers: self.servers.clone(),
        };
        write!(f, "{PREFIX}{}", BASE64.encode(serde_json::to_vec(&wire).map_err(|_| std::fmt::Error)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> JoinLine {
        JoinLine {
            authority: "ab".repeat(32),
            token: BootstrapToken::generate(),
            servers: vec!["192.0.2.1:6443".into(), "[2001:db8::1]:6443".into()],
        }
    }

    #[test]
    fn a_line_survives_being_pasted_with_its_command() {
        let line = line();
        assert_eq!(JoinLine::parse(&line.to_string()), Ok(line.clone()));
        assert_eq!(JoinLine::parse(&format!("$ sudo naru join {line}\n")), Ok(line));
    }

    #[test]
    fn what_is_not_a_whole_line_says_so() {
        let text = line().to_string();
        assert_eq!(JoinLine::parse("hello"), Err(JoinLineError::NoToken));
        for end in PREFIX.len()..text.len() {
            let refusal = JoinLine::parse(&text[..end]).expect_err("cut short");
            assert_eq!(refusal, JoinLineError::Damaged);
        }
        let newer = format!("{PREFIX}{}", BASE64.encode(r#"{"v":2}"#));
        assert_eq!(JoinLine::parse(&newer), Err(JoinLineError::Version(2)));
        let nowhere = JoinLine { servers: vec![], ..line() };
        assert_eq!(JoinLine::parse(&nowhere.to_string()), Err(JoinLineError::NoServer));
    }

    #[test]
    fn only_the_whole_secret_is_the_secret() {
        let token = BootstrapToken::generate();
        assert_eq!(BootstrapToken::parse(&token.bearer()), Some(token.clone()));
        assert!(token.is_secret(token.secret.as_bytes()));
        assert!(!token.is_secret(&token.secret.as_bytes()[1..]));
        assert!(!token.is_secret(b""));
        for wrong in ["", "abcdef", "abcdef.short", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef0"] {
            assert_eq!(BootstrapToken::parse(wrong), None, "{wrong}");
        }
    }
}
