//! What seals a backup: a random key, a passphrase, or nothing.
//!
//! A key of `naru backup key` is 256 random bits and is stretched by HKDF (RFC 5869), at no cost. Whatever else is given
//! is a passphrase, which people choose badly: PBKDF2-HMAC-SHA256 (RFC 8018) makes each guess cost about a quarter of a
//! second. An unsealed backup has the same form, under a key that anyone can compute: it is checked the same way, and
//! hides nothing.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hkdf, pbkdf2};
use serde::{Deserialize, Serialize};

use crate::{BackupError, KeyError};

/// What a key's text begins with.
const PREFIX: &str = "naru-backup-key-1-";
/// A passphrase has at least so many letters.
const SHORTEST: usize = 12;
/// What OWASP recommends for PBKDF2-HMAC-SHA256 since 2023.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// More is nobody's choice, but an attack on whoever opens the file.
const MOST_ITERATIONS: u32 = 50_000_000;

/// What seals a backup. It has no `Debug`, so that it meets no log.
#[derive(Clone, PartialEq, Eq)]
pub enum BackupKey {
    /// A key made by [`BackupKey::generate`].
    Random([u8; 32]),
    /// A person's choice.
    Passphrase(String),
    /// None: anyone can read the backup.
    Unsealed,
}

/// How the bytes that seal one backup come from the key; part of its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Derivation {
    pub method: Method,
    /// Random, for this backup alone (base64).
    pub salt: String,
    /// By which a wrong key is known from damage (base64).
    #[serde(default)]
    pub check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
}

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    /// Anyone can compute it.
    Unsealed,
    Key,
    Passphrase,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

// === impl BackupKey ===

impl BackupKey {
    /// A new random key.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate() -> Result<BackupKey, KeyError> {
        random().map(BackupKey::Random)
    }

    /// Reads a key or a passphrase, without white space around it.
    ///
    /// # Errors
    /// When it is too short to protect anything, or an altered key.
    pub fn parse(text: &str) -> Result<BackupKey, KeyError> {
        let text = text.trim();
        if let Some(encoded) = text.strip_prefix(PREFIX) {
            let bytes = BASE64.decode(encoded).map_err(|_| KeyError::Altered)?;
            let (key, sum) = bytes.split_at_checked(32).ok_or(KeyError::Altered)?;
            let expected = digest::digest(&digest::SHA256, key);
            let key = <[u8; 32]>::try_from(key).map_err(|_| KeyError::Altered)?;
            return if sum == &expected.as_ref()[..4] { Ok(BackupKey::Random(key)) } else { Err(KeyError::Altered) };
        }
        match text.chars().count() {
            count if count < SHORTEST => Err(KeyError::Short(SHORTEST)),
            _ => Ok(BackupKey::Passphrase(text.to_owned())),
        }
    }

    /// The text of a random key, with a check against typing errors; `None` for others.
    pub fn text(&self) -> Option<String> {
        let BackupKey::Random(key) = self else { return None };
        let sum = digest::digest(&digest::SHA256, key);
        Some(format!("{PREFIX}{}", BASE64.encode([&key[..], &sum.as_ref()[..4]].concat())))
    }

    /// How a new backup is sealed with it.
    pub(crate) fn derivation(&self) -> Result<(Derivation, [u8; 32]), KeyError> {
        let method = match self {
            BackupKey::Random(_) => Method::Key,
            BackupKey::Passphrase(_) => Method::Passphrase,
            BackupKey::Unsealed => Method::Unsealed,
        };
        let iterations = (method == Method::Passphrase).then_some(ITERATIONS.get());
        let salt = random()?;
        let mut derivation = Derivation { method, salt: BASE64.encode(salt), check: String::new(), iterations };
        let master = self.master(&salt, iterations.unwrap_or(1)).ok_or(KeyError::Random)?;
        derivation.check = check(&salt, &master);
        Ok((derivation, expand(&salt, &master, b"naru backup 1 chunks")))
    }

    /// The bytes that opened a backup.
    pub(crate) fn open(&self, derivation: &Derivation) -> Result<[u8; 32], BackupError> {
        let salt = BASE64.decode(&derivation.salt).unwrap_or_default();
        let unsealed = BackupKey::Unsealed;
        // Whoever has a key also reads what needs none.
        let key = if derivation.method == Method::Unsealed { &unsealed } else { self };
        let fits = match key {
            BackupKey::Unsealed if derivation.method != Method::Unsealed => return Err(BackupError::KeyNeeded),
            BackupKey::Unsealed => true,
            BackupKey::Random(_) => derivation.method == Method::Key,
            BackupKey::Passphrase(_) => derivation.method == Method::Passphrase,
        };
        if !fits {
            return Err(BackupError::WrongKey);
        }
        let master = key.master(&salt, derivation.iterations.unwrap_or(1));
        let master = master.ok_or(BackupError::Damaged { offset: 0, what: "its key's derivation makes no sense" })?;
        match check(&salt, &master) == derivation.check {
            true => Ok(expand(&salt, &master, b"naru backup 1 chunks")),
            false => Err(BackupError::WrongKey),
        }
    }

    fn master(&self, salt: &[u8], iterations: u32) -> Option<[u8; 32]> {
        match self {
            BackupKey::Unsealed => Some([0; 32]),
            BackupKey::Random(key) => Some(*key),
            BackupKey::Passphrase(text) => {
                let iterations = NonZeroU32::new(iterations).filter(|count| count.get() <= MOST_ITERATIONS)?;
                let mut out = [0; 32];
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, text.as_bytes(), &mut out);
                Some(out)
            }
        }
    }
}

fn check(salt: &[u8], master: &[u8; 32]) -> String {
    BASE64.encode(&expand(salt, master, b"naru backup 1 check")[..8])
}

fn expand(salt: &[u8], master: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let purpose = [purpose];
    let filled = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(master);
    let filled = filled.expand(&purpose, Length(32)).and_then(|okm| okm.fill(&mut out));
    // HKDF fails only beyond 255 blocks of output.
    debug_assert!(filled.is_ok());
    out
}

fn random() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_not_with_an_error_in_it() {
        let key = BackupKey::generate().expect("a key");
        let text = key.text().expect("its text");
        assert!(BackupKey::parse(&format!("{text}\n")).expect("read") == key);
        let other = if &text[30..31] == "A" { "B" } else { "A" };
        let wrong = format!("{}{other}{}", &text[..30], &text[31..]);
        assert!(matches!(BackupKey::parse(&wrong), Err(KeyError::Altered)));
        assert!(matches!(BackupKey::parse(&text[..40]), Err(KeyError::Altered)));
        assert!(matches!(BackupKey::parse("password"), Err(KeyError::Short(12))));
        assert!(BackupKey::parse("correct horse battery").expect("read").text().is_none());
    }

    #[test]
    fn each_kind_of_key_opens_its_own_backups_alone() {
        let phrase = |text: &str| BackupKey::Passphrase(text.to_owned());
        let keys = [
            BackupKey::generate().expect("a key"),
            BackupKey::generate().expect("a key"),
            phrase("one"),
            phrase("two"),
        ];
        for (at, key) in keys.iter().enumerate() {
            let (derivation, bytes) = key.derivation().expect("sealed");
            for (other, with) in keys.iter().enumerate() {
                match with.open(&derivation) {
                    Ok(opened) => assert!(at == other && opened == bytes),
                    Err(error) => assert!(at != other && matches!(error, BackupError::WrongKey)),
                }
            }
            assert!(matches!(BackupKey::Unsealed.open(&derivation), Err(BackupError::KeyNeeded)));
        }
        let (derivation, bytes) = BackupKey::Unsealed.derivation().expect("sealed");
        assert!(keys[0].open(&derivation).expect("needs no key") == bytes);
    }
}
