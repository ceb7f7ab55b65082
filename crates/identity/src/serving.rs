//! A server certificate that renews itself: looked at in every handshake, made anew when two thirds of its life or of
//! a day's grace have passed, without a restart and without a timer task.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::authority::{Authority, IdentityError};

/// Renewed this often: far below the certificate's life of a year, so that a daemon that runs for years never serves
/// an expired one.
const RENEW_EVERY: Duration = Duration::from_secs(60 * 24 * 3600);

/// A self-renewing server certificate for [`rustls::ServerConfig`].
pub struct ServingCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: RwLock<(Arc<CertifiedKey>, Instant)>,
}

impl std::fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServingCertificate {
    /// A certificate for the host names and IP addresses in `names`.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn new(authority: Arc<Authority>, names: Vec<String>) -> Result<Self, IdentityError> {
        let first = make(&authority, &names)?;
        Ok(Self { authority, names, current: RwLock::new((first, Instant::now())) })
    }

    fn renewed(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.1.elapsed() >= RENEW_EVERY {
            // A failure to renew leaves the old one in place: it is valid for months more, and the next handshake
            // tries again.
            if let Ok(fresh) = make(&self.authority, &self.names) {
                *current = (fresh, Instant::now());
            }
        }
        current.0.clone()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        {
            let current = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if current.1.elapsed() < RENEW_EVERY {
                return Some(current.0.clone());
            }
        }
        Some(self.renewed())
    }
}

fn make(authority: &Authority, names: &[String]) -> Result<Arc<CertifiedKey>, IdentityError> {
    let issued = authority.server_certificate(names)?;
    let unusable = |_| IdentityError::Certificate {
        what: "a new server certificate".to_owned(),
        source: rcgen::Error::CouldNotParseCertificate,
    };
    let chain = [issued.certificate.as_str(), authority.certificate()]
        .into_iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(unusable))
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(unusable)?;
    let key = any_supported_type(&key).map_err(|_| IdentityError::Certificate {
        what: "a new server key".to_owned(),
        source: rcgen::Error::CouldNotParseKeyPair,
    })?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}
