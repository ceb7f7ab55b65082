//! What is inside a backup: what a server needs besides its objects, then all objects.
//!
//! The length of a JSON document (4 bytes, little endian), the document, and the store's own export to the end, which
//! is handed on as it is.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::BackupError;

/// The document is never longer: it is some small files.
const LONGEST: usize = 16 << 20;

/// What a server needs besides its objects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// The files of the folder `pki`, by name: the cluster's authority, the tokens' key, the key of sealed secrets.
    pub pki: BTreeMap<String, KeptFile>,
    /// How the server was set up.
    pub server: ServerSettings,
}

/// A small file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its permissions.
    pub mode: u32,
    /// Its bytes, in base64.
    pub base64: String,
}

/// What of a server's options belongs to the cluster and not to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSettings {
    /// The node's name.
    pub node_name: String,
    /// The addresses of all pods, as `10.42.0.0/16`.
    pub pod_network: String,
    /// The addresses of all services.
    pub service_network: String,
    /// What holds for the network of all nodes, as the server told it; JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The last restoration of the cluster, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// A restoration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When the backup was made.
    pub taken: Timestamp,
    /// When it was restored.
    pub at: Timestamp,
    /// For how many seconds from then on machines that the backup knows may come back without being asked about.
    #[serde(default = "hour")]
    pub returning: u64,
}

fn hour() -> u64 {
    3600
}

// === impl KeptFile ===

impl KeptFile {
    /// A file with these bytes.
    pub fn new(mode: u32, bytes: &[u8]) -> KeptFile {
        KeptFile { mode: mode & 0o777, base64: BASE64.encode(bytes) }
    }

    /// Its bytes; `None` when they are no base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(&self.base64).ok()
    }
}

// === impl Contents ===

impl Contents {
    /// Writes it; the objects follow.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        out.write_all(&(json.len() as u32).to_le_bytes())?;
        out.write_all(&json)
    }

    /// Reads it; the objects follow.
    ///
    /// # Errors
    /// When it is not what was written, or makes no sense.
    pub fn read(from: &mut impl Read) -> Result<Contents, BackupError> {
        let mut length = [0; 4];
        from.read_exact(&mut length).map_err(BackupError::from_io)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(BackupError::Damaged { offset: 0, what: "what it says of its contents makes no sense" });
        }
        let mut json = vec![0; length];
        from.read_exact(&mut json).map_err(BackupError::from_io)?;
        let contents: Contents = serde_json::from_slice(&json).map_err(BackupError::Contents)?;
        let plain = |name: &str| {
            let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(letter)
        };
        match contents.pki.iter().find(|(name, file)| !plain(name) || file.bytes().is_none()) {
            Some((name, _)) => Err(BackupError::FileName(name.clone())),
            None => Ok(contents),
        }
    }
}
