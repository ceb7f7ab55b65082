//! Who is asking? A client certificate, a service-account token, the unix socket's peer, or nobody.
//!
//! A credential that is there but wrong is refused, never taken for nobody. Nobody may ask for the server's health
//! and version only.

pub(crate) mod impersonation;
pub(crate) mod token;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use naru_api::status::Status;

use crate::state::Core;
use crate::user::User;

/// What is known of the other side of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Whom the connection itself proves: by client certificate, by the socket, or by being in this process.
    pub(crate) user: Option<Arc<User>>,
    /// Whether the bytes leave this machine.
    pub(crate) local: bool,
}

/// The user of a request.
///
/// # Errors
/// 401 for a credential that does not hold.
pub(crate) fn authenticate(core: &Core, peer: &Peer, headers: &HeaderMap) -> Result<Arc<User>, Status> {
    let user = if let Some(user) = &peer.user {
        user.clone()
    } else if let Some(value) = headers.get(AUTHORIZATION) {
        let value = value.to_str().map_err(|_| Status::unauthorized())?;
        let bearer = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = bearer.ok_or_else(Status::unauthorized)?;
        core.authenticator.user(core, token.trim()).map_err(|refusal| {
            tracing::debug!(error = %refusal, "a token was refused");
            Status::unauthorized()
        })?
    } else {
        Arc::new(User::anonymous())
    };
    impersonation::apply(core, user, headers)
}
