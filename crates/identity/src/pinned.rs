//! Recognising a server by the hash of its authority's key, before its authority is known.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::node::key_hash_of;

/// Trusts exactly the servers whose chain ends in an authority with a known key.
///
/// The authority's certificate comes with the server's chain; it is taken for the root only if the hash of its key is
/// the pinned one, and from there on the server's certificate is verified as usual: name, time, signature.
#[derive(Debug)]
pub struct PinnedAuthority {
    hash: String,
    provider: Arc<CryptoProvider>,
    seen: OnceLock<CertificateDer<'static>>,
}

impl PinnedAuthority {
    /// Expects the authority whose key has this hash (see [`crate::key_hash`]).
    pub fn new(hash: &str) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Arc::new(Self { hash: hash.to_ascii_lowercase(), provider, seen: OnceLock::new() })
    }

    /// The authority's certificate (DER), once a server was recognised by it.
    pub fn authority(&self) -> Option<&CertificateDer<'static>> {
        self.seen.get()
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = |certificate: &&CertificateDer<'_>| key_hash_of(certificate).as_ref() == Some(&self.hash);
        let Some(root) = intermediates.iter().find(pinned) else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified = usual.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        let _ = self.seen.set(root.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::{Authority, key_hash_of_pem};

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    fn founded() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        (dir, authority)
    }

    fn check(pin: &PinnedAuthority, leaf: &str, chain: &[&str], at: UnixTime) -> Result<(), Error> {
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|pem| der(pem)).collect();
        let name = "kubernetes".try_into().expect("a name");
        pin.verify_server_cert(&der(leaf), &chain, &name, &[], at).map(drop)
    }

    #[test]
    fn a_server_is_recognised_by_its_authoritys_key_only() {
        let ((_a, ours), (_b, theirs)) = (founded(), founded());
        let leaf = ours.server_certificate(&["kubernetes".into()]).expect("issue").certificate;
        let pin = PinnedAuthority::new(&key_hash_of_pem(ours.certificate()).expect("a hash"));
        let now = UnixTime::now();
        assert!(check(&pin, &leaf, &[], now).is_err(), "without its authority it is nobody");
        assert!(check(&pin, &leaf, &[theirs.certificate()], now).is_err());
        assert!(pin.authority().is_none());
        check(&pin, &leaf, &[ours.certificate()], now).expect("recognised");
        assert_eq!(pin.authority(), Some(&der(ours.certificate())));
        // Somebody else's leaf beside our authority's certificate, which is no secret.
        let foreign = theirs.server_certificate(&["kubernetes".into()]).expect("issue").certificate;
        assert!(check(&pin, &foreign, &[ours.certificate()], now).is_err());
    }

    #[test]
    fn a_clock_that_is_years_off_is_told_from_a_wrong_server() {
        let (_dir, ours) = founded();
        let leaf = ours.server_certificate(&["kubernetes".into()]).expect("issue").certificate;
        let pin = PinnedAuthority::new(&key_hash_of_pem(ours.certificate()).expect("a hash"));
        let past = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_000_000_000));
        let error = check(&pin, &leaf, &[ours.certificate()], past).expect_err("not yet valid");
        assert!(
            matches!(
                error,
                Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
            ),
            "{error:?}"
        );
    }
}
