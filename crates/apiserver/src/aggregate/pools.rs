//! Connections to further servers.
//!
//! A server is reached at the ready endpoints of its Service, as webhooks are; a pool of connections is kept for each
//! endpoint, authority and certificate that is shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use naru_client::{HttpTransport, TlsSettings, chain};
use naru_store::Snapshot;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::Aggregate;
use super::remote::Spec;
use crate::calls::{self, Way};

/// How many pools are kept.
const MOST: usize = 128;

/// Pools of connections.
#[derive(Default)]
pub(super) struct Pools(Mutex<HashMap<Pool, HttpTransport>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Pool {
    address: String,
    name: String,
    authority: Vec<u8>,
    blind: bool,
    /// Which certificate is shown.
    since: Instant,
}

/// One endpoint of a server, and how to speak to it.
pub(super) struct Endpoint {
    /// For messages: `https://10.42.0.7:8443`.
    pub(super) address: String,
    pub(super) transport: HttpTransport,
}

/// How a server is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// As its object says.
    Asked,
    /// Not at all: to see whether anybody answers.
    Blind,
}

// === impl Aggregate ===

impl Aggregate {
    /// The endpoints of a server, in another order each time; never none.
    ///
    /// # Errors
    /// Why there is none that could be asked.
    pub(super) fn endpoints(&self, snapshot: &Snapshot, spec: &Spec, trust: Trust) -> Result<Vec<Endpoint>, String> {
        let ways = calls::service(snapshot, &spec.namespace, &spec.service, spec.port).map_err(|e| e.to_string())?;
        ways.into_iter().map(|way| self.endpoint(way, spec, trust)).collect()
    }

    fn endpoint(&self, way: Way, spec: &Spec, trust: Trust) -> Result<Endpoint, String> {
        let front = self.front.get().ok_or("this server has nothing to show to others")?;
        let shown = front.shown().map_err(|e| chain(&e))?;
        let blind = spec.blind || trust == Trust::Blind;
        let authority = if blind { Vec::new() } else { spec.authority.clone() };
        let Way { address, name } = way;
        let key = Pool { address, name, authority, blind, since: shown.since };
        let mut pools = self.pools.0.lock();
        if let Some(transport) = pools.get(&key) {
            return Ok(Endpoint { address: key.address, transport: transport.clone() });
        }
        let tls = TlsSettings {
            authorities: key.authority.clone(),
            client: Some(shown.certificate),
            server_name: Some(key.name.clone()),
            verifier: blind.then(|| Arc::new(Anybody(Arc::new(ring::default_provider()))) as _),
        };
        let transport = HttpTransport::tcp(&key.address, &tls).map_err(|e| chain(&e))?;
        if pools.len() >= MOST {
            pools.clear(); // requests under way keep theirs; addresses of pods come and go
        }
        pools.insert(key.clone(), transport.clone());
        Ok(Endpoint { address: key.address, transport })
    }
}

/// Takes anybody for the server.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
