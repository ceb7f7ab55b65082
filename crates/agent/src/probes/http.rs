//! HTTP and HTTPS probes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use naru_api::k8s::api::core::v1::HTTPGetAction;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use super::{Target, check::connect};

/// Asks once and returns the status code. Redirections are not followed: their code is an answer.
pub(crate) async fn get(action: &HTTPGetAction, target: &Target<'_>, limit: Duration) -> Result<u16, String> {
    let asked = ask(action, target);
    timeout(limit, asked).await.map_err(|_| format!("no answer within {limit:?}"))?
}

async fn ask(action: &HTTPGetAction, target: &Target<'_>) -> Result<u16, String> {
    let port = target.port(&action.port)?;
    let host = action.host.as_deref().filter(|host| !host.is_empty());
    let name =
        host.map(str::to_owned).or_else(|| target.address.map(|address| address.to_string())).unwrap_or_default();
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::get(path)
        .header(header::HOST, format!("{name}:{port}"))
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close");
    for wanted in action.http_headers.iter().flatten() {
        if let (Ok(name), Ok(value)) =
            (header::HeaderName::try_from(wanted.name.as_str()), header::HeaderValue::try_from(wanted.value.as_str()))
            && let Some(headers) = request.headers_mut()
        {
            headers.insert(name, value);
        }
    }
    let request = request.body(Empty::new()).map_err(|error| format!("the probe is no HTTP request: {error}"))?;
    let stream = connect(host, target.address, port).await?;
    if action.scheme.as_deref() != Some("HTTPS") {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(tls()).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    exchange(stream, request).await
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| format!("no HTTP answer: {error}"));
    connection.abort();
    Ok(answer?.status().as_u16())
}

fn tls() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    match config {
        Ok(config) => Arc::new(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()),
        // The provider supports the default versions: both are fixed at compile time.
        Err(error) => unreachable!("ring offers the default TLS versions: {error}"),
    }
}

/// Accepts any certificate: a probe asks whether the pod answers, not who it is, as kubelet does.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
