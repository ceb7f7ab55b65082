//! Certificate requests (PKCS #10) and the certificates that are signed for them.
//!
//! Subject and alternative names go over into the certificate byte for byte, as the requester signed them. Refused:
//! building them anew from what was read, as the certificate library does: it knows one value of a kind and one attribute
//! in a relative name, while programs in Go write all organisations into one.

use std::net::IpAddr;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::{Timestamp, tz::TimeZone};
use rcgen::SigningKey;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use crate::authority::{Authority, IdentityError, Subject};
use crate::node::key_hash;

/// Why a text is no certificate request that could be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No PEM, or of something else.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Block,
    /// What the block holds is none.
    #[error("the certificate request is malformed: {0}")]
    Malformed(&'static str),
    /// It was not signed by the key that it is for, or by an algorithm that is not known here.
    #[error("the certificate request's signature does not hold")]
    Signature,
}

/// A certificate request that was read, and whose signature holds.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// Whom it names. The user is empty where it has no common name.
    pub subject: Subject,
    /// The other names that it is for.
    pub names: AlternativeNames,
    /// DER of the name, the public key, and the alternative names' extension.
    name: Vec<u8>,
    key: Vec<u8>,
    alternative: Option<Vec<u8>>,
}

/// The alternative names of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// Names of hosts.
    pub dns: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// How many mail addresses.
    pub emails: usize,
    /// How many URIs.
    pub uris: usize,
    /// How many others.
    pub others: usize,
}

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// `digital signature`
    DigitalSignature,
    /// `key encipherment`
    KeyEncipherment,
    /// `server auth`
    Server,
    /// `client auth`
    Client,
}

/// What a signer adds to what the requester said.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What the certificate is for.
    pub usages: Vec<Usage>,
    /// The present.
    pub now: Timestamp,
    /// How long before it the certificate begins: clocks differ.
    pub before: Duration,
    /// How long after it the certificate ends; never later than the authority's own.
    pub life: Duration,
}

// === impl Usage ===

impl Usage {
    /// Reads the name that Kubernetes has for it.
    pub fn parse(name: &str) -> Option<Usage> {
        Some(match name {
            "digital signature" => Usage::DigitalSignature,
            "key encipherment" => Usage::KeyEncipherment,
            "server auth" => Usage::Server,
            "client auth" => Usage::Client,
            _ => return None,
        })
    }
}

// === impl CertificateRequest ===

impl CertificateRequest {
    /// Reads a request (PEM) and checks its signature.
    ///
    /// # Errors
    /// When it is none, or the signature does not hold.
    pub fn read(pem: &str) -> Result<Self, RequestError> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| RequestError::Block)?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(RequestError::Block);
        }
        let (rest, request) = X509CertificationRequest::from_der(&block.contents)
            .map_err(|_| RequestError::Malformed("it is not a PKCS #10 request"))?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed("bytes follow it"));
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let info = &request.certification_request_info;
        let text = |text: Result<&str, _>| text.map(str::to_owned).map_err(|_| RequestError::Malformed("its subject"));
        let user = info.subject.iter_common_name().next().map(|name| text(name.as_str())).transpose()?;
        let groups = info.subject.iter_organization().map(|group| text(group.as_str())).collect::<Result<_, _>>()?;
        let (names, alternative) = alternative_names(&request)?;
        Ok(Self {
            subject: Subject { user: user.unwrap_or_default(), groups },
            names,
            name: info.subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
            alternative,
        })
    }

    /// The [`key_hash`] of the key that it is for.
    pub fn key_hash(&self) -> String {
        key_hash(&self.key)
    }
}

fn alternative_names(
    request: &X509CertificationRequest<'_>,
) -> Result<(AlternativeNames, Option<Vec<u8>>), RequestError> {
    let mut names = AlternativeNames::default();
    let wanted =
        request.certification_request_info.iter_attributes().find_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(wanted) => Some(&wanted.extensions),
            _ => None,
        });
    for extension in wanted.into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(given) = extension.parsed_extension() else { continue };
        for name in &given.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.push(address(bytes)?),
                GeneralName::RFC822Name(_) => names.emails += 1,
                GeneralName::URI(_) => names.uris += 1,
                _ => names.others += 1,
            }
        }
        return Ok((names, Some(extension.value.to_vec())));
    }
    Ok((names, None))
}

fn address(bytes: &[u8]) -> Result<IpAddr, RequestError> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| RequestError::Malformed("an address of neither four nor sixteen bytes"))
}

/// What is wrong with certificates in PEM, as a signer hands them out.
///
/// # Errors
/// Says what.
pub fn check_certificates(pem: &str) -> Result<(), String> {
    let mut blocks = 0;
    for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|error| error.to_string())?;
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|error| error.to_string())?;
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

// === impl Authority ===

impl Authority {
    /// Signs a certificate (PEM) that says of the requester what the request says. Whoever calls has judged that.
    ///
    /// # Errors
    /// When the authority's key does not sign.
    pub fn sign(&self, request: &CertificateRequest, terms: &Terms) -> Result<String, IdentityError> {
        let failed = |source| IdentityError::Certificate { what: "the signed certificate".to_owned(), source };
        let unreadable = || failed(rcgen::Error::CouldNotParseCertificate);
        let (_, own) = parse_x509_pem(self.certificate.as_bytes()).map_err(|_| unreadable())?;
        let own = own.parse_x509().map_err(|_| unreadable())?;
        let ends = own.validity().not_after.timestamp();
        let at = |by: Result<Timestamp, jiff::Error>| by.map_or(i64::MAX, |at| at.as_second());
        let from = at(terms.now.checked_sub(terms.before));
        let to = at(terms.now.checked_add(terms.life)).min(ends);
        let key = own.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        });
        let mut serial: [u8; 16] = rand::random();
        serial[0] = serial[0] & 0x7f | 0x40; // positive, and of this length
        let body = sequence(&[
            &tlv(0xa0, &tlv(0x02, &[2])), // version 3
            &tlv(0x02, &serial),
            ALGORITHM,
            own.subject().as_raw(),
            &sequence(&[&time(from).ok_or_else(unreadable)?, &time(to).ok_or_else(unreadable)?]),
            &request.name,
            &request.key,
            &tlv(0xa3, &extensions(request, &terms.usages, key)),
        ]);
        let signature = self.issuer.key().sign(&body).map_err(failed)?;
        let certificate = sequence(&[&body, ALGORITHM, &tlv(0x03, &[&[0][..], &signature].concat())]);
        Ok(pem("CERTIFICATE", &certificate))
    }
}

/// ecdsa-with-SHA256, with which the authority's key (P-256) signs.
const ALGORITHM: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// The extensions (RFC 5280, 4.2).
fn extensions(request: &CertificateRequest, usages: &[Usage], authority: Option<&[u8]>) -> Vec<u8> {
    let one = |last: u8, critical: bool, value: &[u8]| {
        let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
        sequence(&[&[0x06, 0x03, 0x55, 0x1d, last], critical, &tlv(0x04, value)]) // 2.5.29.last
    };
    let mut all = Vec::new();
    let bits = usages.iter().fold(0_u8, |bits, usage| match usage {
        Usage::DigitalSignature => bits | 0x80,
        Usage::KeyEncipherment => bits | 0x20,
        _ => bits,
    });
    let unused = u8::try_from(bits.trailing_zeros()).unwrap_or(0);
    if bits != 0 {
        all.extend(one(15, true, &tlv(0x03, &[unused, bits])));
    }
    let purposes = usages.iter().filter_map(|usage| match usage {
        Usage::Server => Some(1),
        Usage::Client => Some(2),
        _ => None,
    });
    // 1.3.6.1.5.5.7.3.last
    let purposes: Vec<u8> =
        purposes.flat_map(|last| [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, last]).collect();
    if !purposes.is_empty() {
        all.extend(one(37, false, &tlv(0x30, &purposes)));
    }
    all.extend(one(19, true, &sequence(&[]))); // no authority itself
    if let Some(key) = authority {
        all.extend(one(35, false, &sequence(&[&tlv(0x80, key)])));
    }
    if let Some(names) = &request.alternative {
        // Where there is no subject, the names are all there is, which readers must know.
        let nameless = request.name.as_slice() == [0x30, 0x00];
        all.extend(one(17, nameless, names));
    }
    tlv(0x30, &all)
}

/// A value with its tag and length.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = value.len().to_be_bytes();
            let bytes = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | bytes.len().to_le_bytes()[0]);
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(value);
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// A time as certificates write it: with two digits for the year up to 2049.
fn time(second: i64) -> Option<Vec<u8>> {
    let at = Timestamp::from_second(second).ok()?.to_zoned(TimeZone::UTC);
    let (tag, form) = if at.year() < 2050 { (0x17, "%y%m%d%H%M%SZ") } else { (0x18, "%Y%m%d%H%M%SZ") };
    Some(tlv(tag, at.strftime(form).to_string().as_bytes()))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key_hash_of_pem, subject_of, validity_of_pem};

    const SEVERAL: &str = include_str!("../tests/data/several.csr");
    const SERVING: &str = include_str!("../tests/data/serving.csr");

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        (dir, authority)
    }

    fn terms(usages: &[Usage], life: u64) -> Terms {
        Terms {
            usages: usages.to_vec(),
            now: Timestamp::now(),
            before: Duration::from_secs(300),
            life: Duration::from_secs(life),
        }
    }

    fn der(pem: &str) -> Vec<u8> {
        parse_x509_pem(pem.as_bytes()).expect("PEM").1.contents
    }

    #[test]
    fn what_a_request_says_goes_over_whole() {
        let (_dir, authority) = authority();
        let request = CertificateRequest::read(SEVERAL).expect("a request");
        assert_eq!((request.subject.user.as_str(), request.subject.groups.len()), ("kim", 3));
        let usages = [Usage::DigitalSignature, Usage::KeyEncipherment, Usage::Client];
        let signed = authority.sign(&request, &terms(&usages, 3600)).expect("sign");
        let der = der(&signed);
        assert_eq!(subject_of(&der).as_ref(), Some(&request.subject));
        assert_eq!(key_hash_of_pem(&signed), Some(request.key_hash()));
        let (_, read) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        let authority = der_of(&authority);
        let (_, authority) = x509_parser::parse_x509_certificate(&authority).expect("the authority's");
        read.verify_signature(Some(authority.public_key())).expect("signed by the authority");
        let usage = read.key_usage().expect("readable").expect("there").value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let purpose = read.extended_key_usage().expect("readable").expect("there").value;
        assert!(purpose.client_auth && !purpose.server_auth);
        assert!(!read.is_ca());
    }

    fn der_of(authority: &Authority) -> Vec<u8> {
        der(authority.certificate())
    }

    #[test]
    fn a_server_is_recognised_by_the_names_it_asked_for() {
        let (_dir, authority) = authority();
        let request = CertificateRequest::read(SERVING).expect("a request");
        assert_eq!(request.names.dns, ["w1"]);
        assert_eq!(request.names.addresses, ["192.0.2.7".parse::<IpAddr>().expect("an address")]);
        let signed = authority.sign(&request, &terms(&[Usage::DigitalSignature, Usage::Server], 3600)).expect("sign");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der_of(&authority).into()).expect("a root");
        let provider = rustls::crypto::ring::default_provider().into();
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().expect("one");
        for (host, good) in [("w1", true), ("192.0.2.7", true), ("w2", false)] {
            let checked = rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier,
                &der(&signed).into(),
                &[],
                &host.try_into().expect("a name"),
                &[],
                rustls::pki_types::UnixTime::now(),
            );
            assert_eq!(checked.is_ok(), good, "{host}: {checked:?}");
        }
    }

    #[test]
    fn a_certificate_never_outlives_its_authority() {
        let (_dir, authority) = authority();
        let request = CertificateRequest::read(SERVING).expect("a request");
        let signed = authority.sign(&request, &terms(&[Usage::Server], 50 * 365 * 86_400)).expect("sign");
        let (_, end) = validity_of_pem(&signed).expect("a validity");
        assert_eq!(end, validity_of_pem(authority.certificate()).expect("a validity").1);
        let signed = authority.sign(&request, &terms(&[Usage::Server], 600)).expect("sign");
        let (from, to) = validity_of_pem(&signed).expect("a validity");
        assert_eq!(to.as_second() - from.as_second(), 900);
    }

    #[test]
    fn what_is_no_request_says_why() {
        assert_eq!(CertificateRequest::read("").err(), Some(RequestError::Block));
        let (_dir, authority) = authority();
        assert_eq!(CertificateRequest::read(authority.certificate()).err(), Some(RequestError::Block));
        let mut der = der(SERVING);
        let middle = der.len() / 3;
        der[middle] ^= 1;
        CertificateRequest::read(&pem("CERTIFICATE REQUEST", &der)).expect_err("altered");
        check_certificates(authority.certificate()).expect("a certificate");
        assert!(check_certificates(SERVING).expect_err("a request").contains("only CERTIFICATE"));
        assert!(check_certificates("x").expect_err("nothing").contains("at least one"));
    }
}
