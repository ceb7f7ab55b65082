//! What can go wrong with a request.

use naru_api::status::Status;

use crate::{BoxError, TransportError};

/// A request failed: refused by the server, or not delivered, or not understood.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused the request and says why.
    #[error("{request} was refused")]
    Refused {
        /// Method and path.
        request: String,
        /// The server's reason.
        #[source]
        status: Box<Status>,
    },
    /// The server was not reached, or its answer was lost. Whether the request took effect is unknown.
    #[error("{request} got no answer")]
    Transport {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The answer's body broke off or is not what the request asks for.
    #[error("the answer to {request} cannot be read")]
    Answer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The request itself cannot be put into HTTP.
    #[error("{request} cannot be sent")]
    Request {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl ClientError {
    /// The server's status, if the server is who refused.
    pub fn status(&self) -> Option<&Status> {
        match self {
            ClientError::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The HTTP status code, if the server is who refused.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code())
    }

    /// The object (or its namespace or collection) does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// An object of this name exists.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    /// The object has changed since it was read (or a precondition failed).
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// The revision asked for is no longer known: list again.
    pub fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// Sending the same request again later may succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Transport { .. } | ClientError::Answer { .. } => true,
            ClientError::Refused { status, .. } => matches!(status.code(), 429 | 500..=599),
            ClientError::Request { .. } => false,
        }
    }
}
