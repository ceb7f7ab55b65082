//! Who is asking? A client certificate, a service-account token, a join token, the unix socket's peer, or nobody.
//!
//! A credential that is there but wrong is refused, never taken for nobody. Nobody may ask for the server's health
//! and version only.

pub(crate) mod bootstrap;
pub(crate) mod forgotten;
pub(crate) mod impersonation;
pub(crate) mod member;
pub(crate) mod token;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use naru_api::status::Status;
use naru_identity::BootstrapToken;

use crate::state::Core;
use crate::user::User;

/// What is known of the other side of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Whom the connection itself proves: by client certificate, by the socket, or by being in this process.
    pub(crate) user: Option<Arc<User>>,
    /// The hash of the key of its certificate, if it came with one.
    pub(crate) key: Option<Arc<str>>,
    /// When that certificate was signed.
    pub(crate) signed: Option<Timestamp>,
    /// Whether the bytes leave this machine.
    pub(crate) local: bool,
    /// Where they come from, over the network.
    pub(crate) address: Option<IpAddr>,
}

/// Who sends a request, whoever they act as ([`impersonation`]).
///
/// # Errors
/// 401 for a credential that does not hold.
pub(crate) fn authenticate(core: &Core, peer: &Peer, headers: &HeaderMap) -> Result<Arc<User>, Status> {
    Ok(if let Some(user) = &peer.user {
        if let Some(key) = &peer.key {
            let snapshot = core.store.snapshot();
            if let Err(refusal) = member::check(&snapshot, user, key)
                && !forgotten::is(core, &snapshot, user, key, peer.signed)
            {
                return Err(refusal);
            }
        }
        user.clone()
    } else if let Some(value) = headers.get(AUTHORIZATION) {
        let value = value.to_str().map_err(|_| Status::unauthorized())?;
        let bearer = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = bearer.ok_or_else(Status::unauthorized)?;
        match BootstrapToken::parse(token.trim()) {
            Some(token) => bootstrap::user(&core.store.snapshot(), &token, Timestamp::now())?,
            None => core.authenticator.user(core, token.trim()).map_err(|refusal| {
                tracing::debug!(error = %refusal, "a token was refused");
                Status::unauthorized()
            })?,
        }
    } else {
        Arc::new(User::anonymous())
    })
}
