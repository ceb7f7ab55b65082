//! What a registry's failure means for the next step.

use std::error::Error;

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// What to make of a failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The registry, or the way to it, is down or busy.
    TryAgain(String),
    /// No connection came about: its name means nothing here, or nobody listens.
    Unreachable(String),
    /// Nobody said a word until the time for a connection was up.
    Silent(String),
    /// It wants other credentials.
    Unauthorized(String),
    /// It has no such thing.
    NotFound,
    /// Asking again would not help.
    Final(String),
}

impl Answer {
    pub(super) fn of(error: &OciDistributionError) -> Answer {
        match error {
            OciDistributionError::RequestError(request) => {
                let problem = chain(error);
                match request.status().map(|status| status.as_u16()) {
                    Some(status) => Answer::of_status(status, problem),
                    None if request.is_builder() || problem.contains("certificate") => Answer::Final(problem),
                    None if request.is_connect() && request.is_timeout() => Answer::Silent(problem),
                    None if request.is_connect() => Answer::Unreachable(problem),
                    None => Answer::TryAgain(problem),
                }
            }
            OciDistributionError::IoError(_) => Answer::TryAgain(chain(error)),
            OciDistributionError::ServerError { code, message, .. } => {
                Answer::of_status(*code, format!("it answers {code} {}", message.lines().next().unwrap_or_default()))
            }
            OciDistributionError::UnauthorizedError { .. } => {
                Answer::Unauthorized("it answers 401 Unauthorized".into())
            }
            OciDistributionError::AuthenticationFailure(reason) => {
                Answer::Unauthorized(format!("its token server refuses ({})", first_line(reason)))
            }
            OciDistributionError::ImageManifestNotFoundError(_) => Answer::NotFound,
            OciDistributionError::RegistryError { envelope, .. } => {
                let problem = envelope.errors.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join("; ");
                match envelope.errors.first().map(|e| &e.code) {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                        | OciErrorCode::BlobUnknown,
                    ) => Answer::NotFound,
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => Answer::Unauthorized(problem),
                    Some(OciErrorCode::Toomanyrequests) => Answer::TryAgain(problem),
                    _ => Answer::Final(problem),
                }
            }
            _ => Answer::Final(chain(error)),
        }
    }

    fn of_status(status: u16, problem: String) -> Answer {
        match status {
            401 | 403 => Answer::Unauthorized(problem),
            404 => Answer::NotFound,
            408 | 425 | 429 | 500..=599 => Answer::TryAgain(problem),
            _ => Answer::Final(problem),
        }
    }
}

/// An error with everything below it, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    text
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> OciDistributionError {
        OciDistributionError::ServerError { code, url: "u".into(), message: "words".into() }
    }

    #[test]
    fn refusals_are_final_and_outages_are_not() {
        assert!(matches!(Answer::of(&server(503)), Answer::TryAgain(p) if p.contains("503 words")));
        assert!(matches!(Answer::of(&server(429)), Answer::TryAgain(_)));
        assert!(matches!(Answer::of(&server(403)), Answer::Unauthorized(_)));
        assert_eq!(Answer::of(&server(404)), Answer::NotFound);
        assert!(matches!(Answer::of(&server(418)), Answer::Final(_)));
        let cut = OciDistributionError::IoError(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset"));
        assert!(matches!(Answer::of(&cut), Answer::TryAgain(_)));
    }
}
