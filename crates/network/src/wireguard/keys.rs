//! Keys: made on the node, kept by root alone, never sent.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// The name of the file, in the folder of the node's network.
const FILE: &str = "wireguard.key";

/// Why keys could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Text that is no key.
    #[error("{0:?} is no WireGuard key: expected 32 bytes in base64")]
    Text(String),
    /// The file.
    #[error("cannot use the file of this node's WireGuard key, {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// The half of a key that everybody may know, and by which a node is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub(crate) [u8; 32]);

/// The half of a key that never leaves its node.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey([u8; 32]);

fn decode(text: &str) -> Result<[u8; 32], KeyError> {
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| KeyError::Text(text.chars().take(64).collect()))
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = decode(text)?;
        // What an unset device shows; nobody has it.
        if key == [0; 32] { Err(KeyError::Text(text.to_owned())) } else { Ok(Self(key)) }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey of {}", self.public())
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| KeyError::Random)?;
        // As the curve has it (RFC 7748, section 5), so that every tool shows the same bytes.
        key[0] &= 248;
        key[31] = (key[31] & 127) | 64;
        Ok(Self(key))
    }

    /// The half for everybody.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519::PublicKey::from(&self.secret()).to_bytes())
    }

    pub(crate) fn secret(&self) -> x25519::StaticSecret {
        x25519::StaticSecret::from(self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The node's own keys: the newest, and until everybody knows that one, the one before.
///
/// A new key is in use from the moment the cluster says it is this node's ([`Keys::in_use`]): the node and its peers then
/// change at the same moment, and a node that cannot tell the cluster goes on with the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    path: PathBuf,
    keys: Vec<PrivateKey>,
    turn: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    keys: Vec<String>,
    #[serde(default)]
    turn: String,
}

impl Keys {
    /// Reads the keys kept in `dir`, or makes the first one.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or cannot be written.
    pub fn open_or_create(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(FILE);
        match Self::read(&path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let keys = Self { path, keys: vec![PrivateKey::generate()?], turn: String::new() };
                keys.write()?;
                Ok(keys)
            }
            other => other,
        }
    }

    /// Reads a file of keys.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let at = |source| KeyError::File { path: path.to_owned(), source };
        let stored: Stored = serde_json::from_slice(&fs::read(path).map_err(at)?).map_err(|e| at(e.into()))?;
        // What is wrong is not shown: it is a secret.
        let damaged = || at(io::Error::new(io::ErrorKind::InvalidData, "it holds no key"));
        let keys: Vec<PrivateKey> = stored.keys.iter().filter_map(|text| decode(text).ok().map(PrivateKey)).collect();
        if keys.is_empty() || keys.len() != stored.keys.len() {
            return Err(damaged());
        }
        Ok(Self { path: path.to_owned(), keys, turn: stored.turn })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest key, which others should know.
    pub fn newest(&self) -> PublicKey {
        self.keys[0].public()
    }

    /// The key to use while others know this node by `published`.
    pub fn in_use(&self, published: Option<&PublicKey>) -> PublicKey {
        let known = published.filter(|published| self.find(published).is_some());
        known.copied().unwrap_or_else(|| self.newest())
    }

    /// The private half of a key that is among them.
    pub fn find(&self, public: &PublicKey) -> Option<&PrivateKey> {
        self.keys.iter().find(|key| key.public() == *public)
    }

    /// Makes a new key when `turn`, the word by which one was asked for, is another than last time; says whether it was.
    ///
    /// # Errors
    /// When it cannot be made or kept; the keys are then what they were.
    pub fn rotate(&mut self, turn: &str) -> Result<bool, KeyError> {
        if turn.is_empty() || turn == self.turn {
            return Ok(false);
        }
        let before = self.clone();
        self.keys.insert(0, PrivateKey::generate()?);
        self.keys.truncate(2);
        self.turn = turn.to_owned();
        self.write().inspect_err(|_| *self = before)?;
        Ok(true)
    }

    /// Forgets the keys that nobody knows this node by any more, once the newest is `published`.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub fn settle(&mut self, published: &PublicKey) -> Result<(), KeyError> {
        if self.keys.len() > 1 && self.newest() == *published {
            self.keys.truncate(1);
            self.write()?;
        }
        Ok(())
    }

    fn write(&self) -> Result<(), KeyError> {
        let at = |source| KeyError::File { path: self.path.clone(), source };
        let keys = self.keys.iter().map(|key| STANDARD.encode(key.0)).collect();
        let text = serde_json::to_vec(&Stored { keys, turn: self.turn.clone() }).map_err(|e| at(e.into()))?;
        let temporary = self.path.with_extension("key.tmp");
        let _ = fs::remove_file(&temporary);
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A pair as OpenSSL computes it.
    #[test]
    fn the_public_half_follows_from_the_private_one() {
        let hex = |text: &str| -> [u8; 32] {
            let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap();
            std::array::from_fn(byte)
        };
        let known = PrivateKey(hex("77076d0a7318a57d3c16c17251b26645df4c2f92ebc0992ac177fba51db92c2a"));
        assert_eq!(known.public().0, hex("f8a9535a2d2ff605e8e144d54f4ef5c62313a2055dbb21fddd3fd9c299eb015d"));
        assert!(!format!("{known:?}").contains(&STANDARD.encode(known.0)), "a private key is never shown");
    }

    #[test]
    fn keys_are_kept_and_turn_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keys::open_or_create(dir.path()).unwrap();
        let mode = fs::metadata(keys.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let first = keys.newest();
        assert_eq!(Keys::open_or_create(dir.path()).unwrap(), keys);
        assert!(!keys.rotate("").unwrap() && keys.rotate("monday").unwrap() && !keys.rotate("monday").unwrap());
        let second = keys.newest();
        assert_ne!(first, second);
        assert_eq!(keys.in_use(Some(&first)), first, "until others know the new one");
        assert_eq!(keys.in_use(Some(&second)), second);
        let strange = PrivateKey::generate().unwrap().public();
        assert_eq!((keys.in_use(Some(&strange)), keys.in_use(None)), (second, second));
        keys.settle(&first).unwrap();
        assert!(keys.find(&first).is_some());
        keys.settle(&second).unwrap();
        assert!(keys.find(&first).is_none());
        assert_eq!(Keys::read(keys.path()).unwrap(), keys);
        fs::write(keys.path(), "{\"keys\":[\"short\"]}").unwrap();
        assert!(
            Keys::open_or_create(dir.path()).is_err(),
            "a damaged file is not replaced: others know this node by it"
        );
    }

    #[test]
    fn keys_are_written_in_base64() {
        let key: PublicKey = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".parse().unwrap();
        assert_eq!(key.to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        for wrong in [
            "",
            "hSDw",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "not a key at all, and not base64 either!!!!!=",
        ] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }
}
