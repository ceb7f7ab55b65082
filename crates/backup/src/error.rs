//! What can go wrong.

use std::io;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It does not begin like one.
    #[error("this is no backup of naru")]
    Foreign,
    /// A newer version made it.
    #[error("the backup has format version {found}, this naru knows up to {known}: use a newer naru")]
    Version {
        /// Its version.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// It is not what was written.
    #[error("the backup is damaged at byte {offset}: {what}. Take another one")]
    Damaged {
        /// Where.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// It is sealed, and no key was given.
    #[error("the backup is sealed: give its key with --key-file or NARU_BACKUP_KEY")]
    KeyNeeded,
    /// It was sealed with another key.
    #[error("the backup was sealed with another key than the one given")]
    WrongKey,
    /// What is inside cannot be understood, although it is what was written.
    #[error("what is in the backup cannot be understood")]
    Contents(#[source] serde_json::Error),
    /// A file in it has a name that none has.
    #[error("the backup holds a file with the name {0:?}, which is none of a cluster's")]
    FileName(String),
    /// It could not be read.
    #[error("the backup cannot be read")]
    Read(#[source] io::Error),
}

impl BackupError {
    /// The error in an I/O error that a reader of a backup gave, or that error.
    pub fn from_io(error: io::Error) -> BackupError {
        match error.downcast::<BackupError>() {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                BackupError::Damaged { offset: 0, what: "it ends too early" }
            }
            Err(error) => BackupError::Read(error),
        }
    }

    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is neither a key nor a passphrase of use.
    #[error(
        "the backup key is too short: expected what `naru backup key` prints, or a passphrase of at least {0} letters"
    )]
    Short(usize),
    /// The text looks like a key and is none.
    #[error("the backup key begins like one and is incomplete or was altered")]
    Altered,
    /// The system's random source failed.
    #[error("the system's random source failed")]
    Random,
}

/// Why a place of backups cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    /// The address is none.
    #[error("{0:?}: expected a place such as file:///var/backups or s3://bucket/prefix")]
    Address(String),
    /// The bucket's settings are incomplete.
    #[error(
        "the bucket of {address} cannot be used as it is set up (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL)"
    )]
    Setup {
        /// The place.
        address: String,
        /// The library's reason.
        #[source]
        source: object_store::Error,
    },
    /// A file could not be used.
    #[error("cannot {doing} {path}")]
    File {
        /// A verb.
        doing: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The bucket refused or cannot be reached.
    #[error("cannot {doing} {address}")]
    Bucket {
        /// A verb.
        doing: &'static str,
        /// On what.
        address: String,
        /// The library's reason.
        #[source]
        source: object_store::Error,
    },
    /// There is too little room.
    #[error(transparent)]
    Room(#[from] crate::NoRoom),
}
