//! What a TCP transport is told: the server's address, whom to trust, and who to be.

use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::connect::{Target, TlsTarget};
use crate::{BoxError, TransportError};

/// Whom to trust and who to be in a TLS connection. Everything is PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Certificates of the authorities that may vouch for the server.
    pub authorities: Vec<u8>,
    /// The client's own certificate, if it identifies itself by one.
    pub client: Option<ClientCertificate>,
    /// The name the server's certificate must carry, if it is not the URL's host.
    pub server_name: Option<String>,
    /// Recognises the server in another way than by `authorities`.
    pub verifier: Option<Arc<dyn rustls::client::danger::ServerCertVerifier>>,
}

/// A client certificate with its key, both PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate(key not shown)")
    }
}

/// Splits a server's URL into the target to connect to and the `Host` to send.
pub(super) fn target(url: &str, tls: &TlsSettings) -> Result<(Target, HeaderValue), TransportError> {
    let refuse = |source: BoxError| TransportError::Settings { what: format!("the server address {url:?}"), source };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| refuse(error.into()))?;
    let host = uri.host().ok_or_else(|| refuse("expected https://host:port".into()))?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(refuse("expected a scheme of https or http".into())),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let address = format!("{host}:{port}");
    let header = HeaderValue::try_from(&address).map_err(|error| refuse(error.into()))?;
    if !secure {
        return Ok((Target::Plain(address), header));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(tls.server_name.as_deref().unwrap_or(bare).to_owned())
        .map_err(|error| refuse(error.into()))?;
    let mut any = config(tls)?;
    let mut http1 = any.clone();
    any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let target = TlsTarget { address, name, any: Arc::new(any), http1: Arc::new(http1) };
    Ok((Target::Tls(Box::new(target)), header))
}

fn config(tls: &TlsSettings) -> Result<ClientConfig, TransportError> {
    fn refuse<E: Into<BoxError>>(what: &'static str) -> impl Fn(E) -> TransportError {
        move |source| TransportError::Settings { what: what.into(), source: source.into() }
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.authorities) {
        let certificate = certificate.map_err(|e| refuse("the certificate authority")(e.to_string()))?;
        roots.add(certificate).map_err(refuse("the certificate authority"))?;
    }
    // The provider is named, not looked up, so that no process-wide default has to be installed first.
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refuse("TLS"))?
        .with_root_certificates(roots);
    let builder = match &tls.verifier {
        Some(verifier) => ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(refuse("TLS"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone()),
        None => builder,
    };
    let Some(client) = &tls.client else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&client.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| refuse("the client certificate")(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&client.key).map_err(|e| refuse("the client key")(e.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(refuse("the client certificate"))
}
