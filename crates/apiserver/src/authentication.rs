//! Who is asking? A client certificate, a service-account token, a token of an issuer that the operator trusts, a join
//! token, the unix socket's peer, or nobody.
//!
//! A credential that is there but wrong is refused, never taken for nobody. Nobody may ask for the server's health
//! and version only, unless the operator says otherwise.

pub(crate) mod bootstrap;
pub(crate) mod config;
pub(crate) mod forgotten;
pub(crate) mod impersonation;
pub(crate) mod member;
pub(crate) mod oidc;
pub(crate) mod secret;
pub(crate) mod token;

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use naru_api::status::Status;
use naru_identity::BootstrapToken;

use self::config::Anonymous;
use crate::state::Core;
use crate::user::{UNAUTHENTICATED, User};

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
pub(crate) async fn authenticate(core: &Core, peer: &Peer, headers: &HeaderMap) -> Result<Arc<User>, Status> {
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
            None => core.authenticator.user(core, token.trim()).await.map_err(|refusal| {
                let cause = std::error::Error::source(&refusal).map(ToString::to_string).unwrap_or_default();
                tracing::debug!(error = %refusal, cause, "a token was refused");
                Status::unauthorized()
            })?,
        }
    } else {
        Arc::new(User::anonymous())
    })
}

/// Whether the user may ask for a path at all: nobody in particular may where the operator lets them.
///
/// # Errors
/// 401 for nobody elsewhere.
pub(crate) fn admit(core: &Core, user: &User, path: &str) -> Result<(), Status> {
    if !user.groups.iter().any(|group| group == UNAUTHENTICATED) {
        return Ok(());
    }
    match &core.authenticator.anonymous {
        Anonymous::Paths(paths) if paths.is_empty() || paths.iter().any(|one| one == path) => Ok(()),
        _ => Err(Status::unauthorized()),
    }
}

/// Whether a path of the server's health and version is for everybody.
pub(crate) fn is_open(core: &Core) -> bool {
    match &core.authenticator.anonymous {
        Anonymous::Health => true,
        Anonymous::Never | Anonymous::Paths(_) => false,
    }
}
