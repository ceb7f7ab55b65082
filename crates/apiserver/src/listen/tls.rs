//! TLS: the server's certificate renews itself; a client's is optional and must be the cluster's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use naru_identity::{Authority, ServingCertificate, key_hash_of, signed_at, subject_of};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::authentication::{Peer, member};
use crate::config::StartError;
use crate::user::User;

/// How long sent bytes may stay unacknowledged, and a silent connection be trusted, before it counts as dead: a
/// watcher whose machine vanished is noticed this way.
const DEAD_AFTER: Duration = Duration::from_secs(60);

pub(super) fn acceptor(authority: &Arc<Authority>, names: &[String]) -> Result<TlsAcceptor, StartError> {
    let unusable = |what| move |source: Box<dyn std::error::Error + Send + Sync>| StartError::Tls { what, source };
    let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes())
        .map_err(|e| unusable("the authority's certificate is not readable")(e.into()))?;
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(|e| unusable("the authority's certificate cannot be trusted")(e.into()))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| unusable("clients' certificates cannot be verified")(e.into()))?;
    let certificate = ServingCertificate::new(authority.clone(), names.to_vec())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable("no protocol version is left")(e.into()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whom the client's certificate names. A certificate that names nobody is an error, not nobody.
pub(super) fn peer(connection: &ServerConnection, from: IpAddr) -> Result<Peer, ()> {
    let from = from.to_canonical();
    let reached = Peer { local: from.is_loopback(), address: Some(from), ..Peer::default() };
    let Some(certificate) = connection.peer_certificates().and_then(|c| c.first()) else {
        return Ok(reached);
    };
    let subject = subject_of(certificate).ok_or(())?;
    let groups: Vec<&str> = subject.groups.iter().map(String::as_str).collect();
    let mut user = User::new(subject.user, &groups);
    let key = key_hash_of(certificate).ok_or(())?;
    if member::node_of(&user).is_some() {
        user.extra.insert(member::KEY.to_owned(), vec![key.clone()]);
    }
    Ok(Peer { user: Some(Arc::new(user)), key: Some(key.into()), signed: signed_at(certificate), ..reached })
}

/// Small answers go out at once, and a vanished peer is noticed.
pub(super) fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(DEAD_AFTER / 2).with_interval(DEAD_AFTER / 6);
    // Each is a help, none a condition: a socket that cannot be set up still serves.
    let _ = stream.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(DEAD_AFTER));
}
