//! What can go wrong with etcd.

use std::io;
use std::path::PathBuf;

use tonic::Code;

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No endpoint was given.
    #[error("no endpoint of etcd is given: name at least one, such as http://127.0.0.1:2379")]
    NoEndpoints,
    /// An endpoint is not one.
    #[error("{endpoint:?} is no endpoint of etcd: {what}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong.
        what: &'static str,
    },
    /// TLS without anything to check it against.
    #[error("https endpoints of etcd need the authority of their certificates: give its file")]
    NoAuthority,
    /// A certificate without a key, or the other way round.
    #[error("a client certificate for etcd and its key belong together: give both or none")]
    HalfIdentity,
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The files are not certificates or keys.
    #[error("the certificates for etcd cannot be used")]
    Tls {
        /// What is wrong with them.
        #[source]
        source: tonic::transport::Error,
    },
}

/// etcd did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It was understood and refused; nothing happened.
    #[error("etcd refuses: {message}")]
    Refused {
        /// Its words.
        message: String,
    },
    /// The revision asked for is no longer kept.
    #[error("etcd has compacted what was asked for")]
    Compacted,
    /// Its quota is used up; reads and deletions work.
    #[error("etcd's database has no space left: {message}. Compact and defragment it, then disarm its alarm")]
    NoSpace {
        /// Its words.
        message: String,
    },
    /// It is asked too much and says so; nothing happened.
    #[error("etcd is too busy: {message}")]
    Busy {
        /// Its words.
        message: String,
    },
    /// No answer, or one that says nothing. What was asked for may have happened, or may yet happen.
    #[error("etcd does not answer at {endpoint}: {message}")]
    NoAnswer {
        /// Who was asked.
        endpoint: String,
        /// What is known.
        message: String,
    },
}

impl Error {
    /// Whether a transaction may have happened although this was the answer.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Error::NoAnswer { .. })
    }

    pub(crate) fn of(status: &tonic::Status, endpoint: &str) -> Error {
        let message = status.message().to_owned();
        match status.code() {
            Code::OutOfRange if message.contains("compacted") => Error::Compacted,
            Code::ResourceExhausted if message.contains("space") => Error::NoSpace { message },
            Code::ResourceExhausted if message.contains("too many requests") => Error::Busy { message },
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::ResourceExhausted => Error::Refused { message },
            _ => match said(status) {
                // Nobody speaks to whom he does not believe: asking again would not help.
                message if is_distrust(&message) => Error::Refused { message },
                message => Error::NoAnswer { endpoint: endpoint.to_owned(), message },
            },
        }
    }
}

/// TLS's words for a certificate that one of the two sides does not accept, or misses.
fn is_distrust(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("certificate") || message.contains("fatal alert")
}

/// The innermost words of a transport's error say what happened; the outer ones only that something did.
fn said(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut inner = std::error::Error::source(status);
    while let Some(error) = inner {
        text = error.to_string();
        inner = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    #[test]
    fn only_answers_that_say_so_are_certain() {
        let of = |status: Status| Error::of(&status, "http://a");
        for (status, ambiguous) in [
            (Status::unavailable("etcdserver: request timed out"), true),
            (Status::unavailable("error reading from server: EOF"), true),
            (Status::unknown("h2 protocol error"), true),
            (Status::deadline_exceeded("context deadline exceeded"), true),
            (Status::cancelled("operation was cancelled"), true),
            (Status::internal("stream reset"), true),
            (Status::invalid_argument("etcdserver: too many operations in txn request"), false),
            (Status::resource_exhausted("etcdserver: mvcc: database space exceeded"), false),
            (Status::resource_exhausted("etcdserver: too many requests"), false),
            (Status::permission_denied("etcdserver: permission denied"), false),
        ] {
            assert_eq!(of(status.clone()).is_ambiguous(), ambiguous, "{status}");
        }
        let distrusted = Status::unavailable("invalid peer certificate: UnknownIssuer");
        assert!(matches!(of(distrusted), Error::Refused { .. }));
        let compacted = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(of(compacted), Error::Compacted));
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert!(matches!(of(full), Error::NoSpace { .. }));
    }
}
