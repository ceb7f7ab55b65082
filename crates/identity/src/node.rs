//! A node's own key and certificate: the request for one, the life of one, and the hash that stands for a key.

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use crate::authority::{IdentityError, name};

/// A key that was just made, and the request for its certificate; both in PEM.
#[derive(Clone)]
pub struct Requested {
    /// The request, to be sent.
    pub request: String,
    /// The private key (PKCS#8), to be kept. This type has no `Debug`.
    pub key: String,
}

/// Makes a key and the request for a client certificate that names `user` and `groups`.
///
/// # Errors
/// When the system's random source fails, or more than two groups are named.
pub fn request_certificate(user: &str, groups: &[&str]) -> Result<Requested, IdentityError> {
    let made = |source| IdentityError::Certificate { what: "a new certificate request".to_owned(), source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
    let mut wish = CertificateParams::default();
    wish.distinguished_name = name(user, groups)?;
    let request = wish.serialize_request(&key).and_then(|request| request.pem()).map_err(made)?;
    Ok(Requested { request, key: key.serialize_pem() })
}

/// The hash that stands for a public key: SHA-256 of its `SubjectPublicKeyInfo` (DER), in hexadecimal, as RFC 7469 pins
/// keys. A certificate that is made anew for the same key keeps it.
pub fn key_hash(public_key_info: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, public_key_info);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The [`key_hash`] of a certificate's key (DER); `None` for what is no certificate.
pub fn key_hash_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(key_hash(certificate.public_key().raw))
}

/// The [`key_hash`] of the first certificate of a PEM text.
pub fn key_hash_of_pem(certificate: &str) -> Option<String> {
    key_hash_of(&parse_x509_pem(certificate.as_bytes()).ok()?.1.contents)
}

/// The [`key_hash`] of the key that a certificate request (PEM) is for.
pub fn key_hash_of_request(request: &str) -> Option<String> {
    let (_, block) = parse_x509_pem(request.as_bytes()).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).ok()?;
    Some(key_hash(request.certification_request_info.subject_pki.raw))
}

/// When a node's certificate (DER) was signed: as much after its beginning as clocks may differ.
pub fn signed_at(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let begins = Timestamp::from_second(certificate.validity().not_before.timestamp()).ok()?;
    begins.checked_add(crate::authority::CLOCKS_DIFFER).ok()
}

/// From when to when the first certificate of a PEM text is valid.
pub fn validity_of_pem(certificate: &str) -> Option<(Timestamp, Timestamp)> {
    let (_, block) = parse_x509_pem(certificate.as_bytes()).ok()?;
    let validity = block.parse_x509().ok()?.validity().clone();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    Some((at(validity.not_before)?, at(validity.not_after)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Authority, Subject};

    #[test]
    fn a_key_has_one_hash_in_request_and_certificate() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        let wish = request_certificate("system:node:a", &["system:nodes"]).expect("a request");
        let subject = Subject { user: "system:node:a".into(), groups: vec!["system:nodes".into()] };
        let life = Duration::from_secs(3600);
        let signed = authority.sign_request_for(&wish.request, &subject, life).expect("sign");
        let hash = key_hash_of_request(&wish.request).expect("a hash");
        assert_eq!(key_hash_of_pem(&signed), Some(hash.clone()));
        let other = request_certificate("system:node:a", &["system:nodes"]).expect("a request");
        assert_ne!(key_hash_of_request(&other.request), Some(hash));
        assert_ne!(key_hash_of_pem(authority.certificate()), None);
        assert_eq!(key_hash_of_pem("junk"), None);
    }

    #[test]
    fn a_certificate_lives_as_long_as_was_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        let wish = request_certificate("system:node:a", &["system:nodes"]).expect("a request");
        let subject = Subject { user: "system:node:a".into(), groups: vec!["system:nodes".into()] };
        let signed = authority.sign_request_for(&wish.request, &subject, Duration::from_secs(90)).expect("sign");
        let (from, to) = validity_of_pem(&signed).expect("a validity");
        let now = Timestamp::now();
        assert!(from < now && to > now && to.as_second() <= now.as_second() + 90, "{from} {to}");
    }
}
