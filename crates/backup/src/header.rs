//! What anyone may read of a backup: whose it is, of when, and how it is sealed.
//!
//! `"naru backup\n"`, the format's version (4 bytes, little endian), the header's length (4 bytes), the header (JSON),
//! and the SHA-256 of all that; the same digest is bound to every sealed chunk that follows, so that no header can be
//! put before another's contents. Fields may be added without a new version; readers skip what they do not know.

use std::io::Read;

use jiff::Timestamp;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::BackupError;
use crate::key::{Derivation, Method};

/// The newest format version that this program reads, and the one that it writes.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 12] = b"naru backup\n";
const FIXED: usize = MAGIC.len() + 8;
pub(crate) const DIGEST: usize = 32;
/// A header is never longer.
const LONGEST: usize = 64 << 10;

/// Whose backup it is, and of when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// When it was made.
    pub time: Timestamp,
    /// The cluster's identifier.
    pub cluster: String,
    /// The revision of its objects.
    pub revision: u64,
    /// How many objects there are.
    pub objects: u64,
    /// The server's node.
    pub node: String,
    /// The version of the program that made it.
    pub naru: String,
}

/// The header of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose backup it is.
    #[serde(flatten)]
    pub about: About,
    /// How it is sealed.
    pub(crate) seal: Derivation,
}

// === impl Header ===

impl Header {
    /// Whether a key is needed to read the rest.
    pub fn is_sealed(&self) -> bool {
        self.seal.method != Method::Unsealed
    }

    /// The bytes of it, and their digest, which ends them.
    pub(crate) fn encode(&self) -> (Vec<u8>, [u8; DIGEST]) {
        // A struct of strings and numbers always serialises.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = Vec::with_capacity(FIXED + json.len() + DIGEST);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&json);
        let digest = sha256(&bytes);
        bytes.extend_from_slice(&digest);
        (bytes, digest)
    }

    /// Reads it from the beginning of a backup; also gives the digest, and how many bytes it has.
    ///
    /// # Errors
    /// When it is none, is of a newer version, or damaged.
    pub(crate) fn read(from: &mut impl Read) -> Result<(Header, [u8; DIGEST], u64), BackupError> {
        let damaged = |offset: usize, what| BackupError::Damaged { offset: offset as u64, what };
        let mut bytes = vec![0; FIXED];
        fill(from, &mut bytes).map_err(|error| error.unwrap_or(BackupError::Foreign))?;
        if !bytes.starts_with(MAGIC) {
            return Err(BackupError::Foreign);
        }
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (version, length) = (number(MAGIC.len()), number(MAGIC.len() + 4) as usize);
        if version > VERSION {
            return Err(BackupError::Version { found: version, known: VERSION });
        }
        if version == 0 || length > LONGEST {
            return Err(damaged(MAGIC.len(), "its header makes no sense"));
        }
        bytes.resize(FIXED + length + DIGEST, 0);
        let short = || damaged(FIXED, "it ends in its header");
        fill(from, &mut bytes[FIXED..]).map_err(|error| error.unwrap_or_else(short))?;
        let (text, digest) = bytes.split_at(FIXED + length);
        let expected = sha256(text);
        if digest != expected {
            return Err(damaged(FIXED, "its header's checksum does not match"));
        }
        let header = serde_json::from_slice(&text[FIXED..]).map_err(BackupError::Contents)?;
        Ok((header, expected, bytes.len() as u64))
    }

    /// Reads the header of a backup, of which only the beginning need be there.
    ///
    /// # Errors
    /// When it is none, is of a newer version, or damaged.
    pub fn peek(from: &mut impl Read) -> Result<Header, BackupError> {
        Self::read(from).map(|(header, ..)| header)
    }
}

fn sha256(bytes: &[u8]) -> [u8; DIGEST] {
    let mut out = [0; DIGEST];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Fills the buffer; `Err(None)` when there is too little.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), Option<BackupError>> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => None,
        _ => Some(BackupError::Read(error)),
    })
}
