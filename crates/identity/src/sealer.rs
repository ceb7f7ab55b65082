//! Sealing of secrets at rest: AES-256-GCM with a random nonce, bound to where the value lies (its context), so that
//! a sealed value copied to another object does not open there.
//!
//! Envelope: `"ns1"`, the key's identifier (4 bytes), the nonce (12 bytes), ciphertext and tag. The key file lists
//! keys, newest last: the last one seals, all open, so that a rotation re-seals at leisure.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::files;

const MAGIC: &[u8; 3] = b"ns1";
const ID_LEN: usize = 4;
const HEADER_LEN: usize = MAGIC.len() + ID_LEN + NONCE_LEN;

/// Why a value was not sealed or not opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file could not be read or written.
    #[error("cannot use the sealing key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line of the key file is not `<identifier> <base64 of 32 bytes>`.
    #[error("{path}:{line}: expected `<8 hex digits> <base64 of 32 bytes>`; restore the file from a backup")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The value was sealed with a key that is not in the key file.
    #[error("sealed with key {0}, which is not in the key file: restore the key file from a backup")]
    UnknownKey(String),
    /// The value was altered, cut short, or sealed for another place.
    #[error("the sealed value of {0} was altered or belongs elsewhere")]
    Damaged(String),
    /// The system's random source failed.
    #[error("the system's random source failed")]
    Random,
}

/// Seals and opens stored values.
pub struct Sealer {
    keys: Vec<([u8; ID_LEN], LessSafeKey)>,
    random: SystemRandom,
}

impl Sealer {
    /// Opens the key file at `path`, or makes one with a fresh key.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood.
    pub fn open_or_create(path: &Path) -> Result<Self, SealError> {
        let random = SystemRandom::new();
        let file = |source| SealError::File { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    files::private_dir(dir).map_err(file)?;
                }
                let (mut id, mut key) = ([0; ID_LEN], [0; 32]);
                random.fill(&mut id).map_err(|_| SealError::Random)?;
                random.fill(&mut key).map_err(|_| SealError::Random)?;
                let text = format!("{:08x} {}\n", u32::from_be_bytes(id), BASE64.encode(key));
                files::write(path, text.as_bytes(), 0o600).map_err(file)?;
                text
            }
            Err(error) => return Err(file(error)),
        };
        let keys = text
            .lines()
            .enumerate()
            .map(|(at, line)| parse(line).ok_or_else(|| SealError::KeyFile { path: path.to_owned(), line: at + 1 }))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(SealError::KeyFile { path: path.to_owned(), line: 1 });
        }
        Ok(Self { keys, random })
    }

    /// Whether `value` is a sealed envelope.
    pub fn is_sealed(value: &[u8]) -> bool {
        value.len() >= HEADER_LEN && value.starts_with(MAGIC)
    }

    /// Seals `plain` for the place `context`.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let (id, key) = self.keys.last().ok_or(SealError::Random)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| SealError::Random)?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// When the key is not known, or the value was altered or sealed for another context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let damaged = || SealError::Damaged(context.to_owned());
        if !Self::is_sealed(sealed) {
            return Err(damaged());
        }
        let (header, body) = sealed.split_at(HEADER_LEN);
        let (id, nonce) = header[MAGIC.len()..].split_at(ID_LEN);
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| SealError::UnknownKey(id.iter().map(|b| format!("{b:02x}")).collect()))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut body = body.to_vec();
        let length = key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut body).map_err(|_| damaged())?.len();
        body.truncate(length);
        Ok(body)
    }
}

fn parse(line: &str) -> Option<([u8; ID_LEN], LessSafeKey)> {
    let (id, key) = line.split_once(' ')?;
    let id = u32::from_str_radix(id, 16).ok().filter(|_| id.len() == 2 * ID_LEN)?.to_be_bytes();
    let key = UnboundKey::new(&AES_256_GCM, &BASE64.decode(key).ok()?).ok()?;
    Some((id, LessSafeKey::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let dir = tempfile::tempdir().expect("a folder");
        let sealer = Sealer::open_or_create(&dir.path().join("seal.key")).expect("a sealer");
        (dir, sealer)
    }

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let (_dir, sealer) = sealer();
        let sealed = sealer.seal("secrets/shop/db", b"hunter2").expect("seal");
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(sealer.open("secrets/shop/db", &sealed).expect("open"), b"hunter2");
        assert!(matches!(sealer.open("secrets/evil/db", &sealed), Err(SealError::Damaged(_))));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let (_dir, sealer) = sealer();
        let sealed = sealer.seal("a", b"value").expect("seal");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            sealer.open("a", &altered).expect_err("altered");
        }
        for end in 0..sealed.len() {
            sealer.open("a", &sealed[..end]).expect_err("cut short");
        }
    }

    #[test]
    fn old_keys_open_and_the_newest_seals() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal.key");
        let old = Sealer::open_or_create(&path).expect("a sealer").seal("a", b"x").expect("seal");
        let mut text = fs::read_to_string(&path).expect("read");
        text.push_str(&format!("000000ff {}\n", BASE64.encode([7; 32])));
        fs::write(&path, text).expect("write");
        let rotated = Sealer::open_or_create(&path).expect("again");
        assert_eq!(rotated.open("a", &old).expect("open"), b"x");
        assert_eq!(rotated.seal("a", b"x").expect("seal")[3..7], [0, 0, 0, 0xff]);
    }

    #[test]
    fn a_broken_key_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal.key");
        fs::write(&path, "0000 not-a-key\n").expect("write");
        let error = Sealer::open_or_create(&path).err().expect("a refusal").to_string();
        assert!(error.contains("seal.key:1:"), "{error}");
    }
}
