//! The cluster's certificate authority: one P-256 key, made at the first start and kept in the state folder.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};

use crate::files;

/// How long the authority's own certificate is valid, in days: the life of a cluster.
const AUTHORITY_DAYS: i64 = 3650;
/// How long certificates of servers, nodes and people are valid, in days. Servers and nodes renew long before.
const LEAF_DAYS: i64 = 365;
/// By how much clocks of a cluster's machines may differ; a machine whose clock is further off is not let in.
pub(crate) const CLOCKS_DIFFER: std::time::Duration = std::time::Duration::from_secs(600);

/// A fault of the authority or of a certificate given to it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of the authority could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// "read", "write" or "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Only one of the pair of key and certificate is there: continuing would make a second authority that no node
    /// and no client trusts.
    #[error("{present} is there but {missing} is not: restore it from a backup, or remove both to found a new cluster")]
    HalfAuthority {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// A key, certificate or signing request could not be understood or made.
    #[error("{what} is not usable")]
    Certificate {
        /// What was read or made.
        what: String,
        /// The library's reason.
        #[source]
        source: rcgen::Error,
    },
    /// More groups than a certificate made here can name.
    #[error("a certificate for {user} can name at most {MOST_GROUPS} groups, not {count}: bind roles to fewer groups")]
    Groups {
        /// The certificate's user.
        user: String,
        /// How many groups were asked for.
        count: usize,
    },
}

/// How many groups a certificate can name: the library keeps one value for each attribute type, and an organisation
/// can be spelled as two types (by its name, and by its object identifier 2.5.4.10).
const MOST_GROUPS: usize = 2;

/// A certificate with its private key, both in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key (PKCS#8), PEM. Keep it out of logs: this type has no `Debug`.
    pub key: String,
}

/// Whom a client certificate names: Kubernetes reads the user from the common name and the groups from the
/// organisations (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The common name.
    pub user: String,
    /// The organisations.
    pub groups: Vec<String>,
}

/// The cluster's certificate authority.
pub struct Authority {
    pub(crate) certificate: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// The folder that it is kept in.
    home: PathBuf,
}

impl Authority {
    /// Opens the authority kept in `dir` (`ca.crt`, `ca.key`), or founds one there.
    ///
    /// # Errors
    /// When a file cannot be read or written, only half of the pair is there, or it cannot be parsed. Nothing is
    /// overwritten then.
    pub fn open_or_create(dir: &Path) -> Result<Self, IdentityError> {
        Self::open(dir, "ca", "naru-ca")
    }

    /// The authority by which servers that extend the API recognise this cluster's API server when it speaks for others
    /// (`front-proxy-ca.crt` and `.key` beside its own). It is another one, so that whoever trusts it takes no user's
    /// certificate for the API server's.
    ///
    /// # Errors
    /// As [`Authority::open_or_create`].
    pub fn front_proxy(&self) -> Result<Self, IdentityError> {
        Self::open(&self.home, "front-proxy-ca", "naru-front-proxy-ca")
    }

    fn open(dir: &Path, file: &str, common: &str) -> Result<Self, IdentityError> {
        let (certificate_path, key_path) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        match (certificate_path.exists(), key_path.exists()) {
            (true, true) => {}
            (false, false) => Self::found(dir, common, &certificate_path, &key_path)?,
            (true, false) => return Err(IdentityError::HalfAuthority { present: certificate_path, missing: key_path }),
            // The key is written first, so this is also what a power cut at the first start leaves; no certificate of
            // this key can have been issued, hence founding again is safe only when it never was complete. That cannot
            // be told apart from a lost certificate: a person decides.
            (false, true) => return Err(IdentityError::HalfAuthority { present: key_path, missing: certificate_path }),
        }
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| IdentityError::File {
                action: "read",
                path: path.to_owned(),
                source,
            })
        };
        let certificate = read(&certificate_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|source| IdentityError::Certificate { what: key_path.display().to_string(), source })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|source| IdentityError::Certificate { what: certificate_path.display().to_string(), source })?;
        Ok(Self { certificate, issuer, home: dir.to_owned() })
    }

    fn found(dir: &Path, common: &str, certificate_path: &Path, key_path: &Path) -> Result<(), IdentityError> {
        files::private_dir(dir).map_err(|source| IdentityError::File {
            action: "create",
            path: dir.to_owned(),
            source,
        })?;
        let made = |source| IdentityError::Certificate { what: "a new authority".to_owned(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
        let mut params = params(AUTHORITY_DAYS);
        params.distinguished_name = name(common, &[""; 0])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(made)?;
        let write = |path: &Path, content: &str, mode| {
            files::write(path, content.as_bytes(), mode).map_err(|source| IdentityError::File {
                action: "write",
                path: path.to_owned(),
                source,
            })
        };
        write(key_path, &key.serialize_pem(), 0o600)?;
        write(certificate_path, &certificate.pem(), 0o644)
    }

    /// The authority's certificate, PEM: what clients and nodes trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server certificate for host names and IP addresses.
    ///
    /// # Errors
    /// When a name is not valid in a certificate.
    pub fn server_certificate(&self, names: &[String]) -> Result<Issued, IdentityError> {
        let mut params = params(LEAF_DAYS);
        params.distinguished_name = name("naru-server", &[""; 0])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for host in names {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(|source| IdentityError::Certificate {
                    what: format!("the server name {host:?}"),
                    source,
                })?),
            });
        }
        self.issue(params)
    }

    /// A client certificate that names `user` and `groups`.
    ///
    /// # Errors
    /// When more than two groups are named, or the certificate cannot be made.
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Result<Issued, IdentityError> {
        let mut params = params(LEAF_DAYS);
        params.distinguished_name = name(user, groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// Signs a certificate request (PEM) as a client certificate for exactly `subject`: what the request asks for
    /// beyond its public key is not copied, so that a requester cannot name itself.
    ///
    /// # Errors
    /// When the request cannot be parsed or its signature is wrong.
    pub fn sign_request(&self, request: &str, subject: &Subject) -> Result<String, IdentityError> {
        let bad = |source| IdentityError::Certificate { what: "the certificate request".to_owned(), source };
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(bad)?;
        let mut params = params(LEAF_DAYS);
        params.distinguished_name = name(&subject.user, &subject.groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params = params;
        Ok(request.signed_by(&self.issuer).map_err(bad)?.pem())
    }

    /// As [`Authority::sign_request`], for a certificate that ends after `life`. It begins a few minutes ago, since clocks
    /// differ.
    ///
    /// # Errors
    /// When the request cannot be parsed or its signature is wrong.
    pub fn sign_request_for(
        &self,
        request: &str,
        subject: &Subject,
        life: std::time::Duration,
    ) -> Result<String, IdentityError> {
        let bad = |source| IdentityError::Certificate { what: "the certificate request".to_owned(), source };
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(bad)?;
        let mut params = params(LEAF_DAYS);
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let since_midnight =
            std::time::Duration::from_secs(now.timestamp().as_second().rem_euclid(86_400).unsigned_abs());
        let date = now.date();
        let midnight =
            rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs());
        let now = midnight + since_midnight;
        (params.not_before, params.not_after) = (now - CLOCKS_DIFFER, now + life);
        params.distinguished_name = name(&subject.user, &subject.groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        request.params = params;
        Ok(request.signed_by(&self.issuer).map_err(bad)?.pem())
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, IdentityError> {
        let made = |source| IdentityError::Certificate { what: "a new certificate".to_owned(), source };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(made)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Reads whom a verified client certificate (DER) names; `None` when it has no common name.
pub fn subject_of(certificate: &[u8]) -> Option<Subject> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let user = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = certificate.subject().iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    Some(Subject { user, groups })
}

pub(crate) fn name(common: &str, organisations: &[impl AsRef<str>]) -> Result<DistinguishedName, IdentityError> {
    if organisations.len() > MOST_GROUPS {
        return Err(IdentityError::Groups { user: common.to_owned(), count: organisations.len() });
    }
    let mut name = DistinguishedName::new();
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    for (kind, organisation) in kinds.into_iter().zip(organisations) {
        name.push(kind, organisation.as_ref());
    }
    name.push(DnType::CommonName, common);
    Ok(name)
}

/// Validity from yesterday (nodes' clocks differ) for `days`, with a random serial number.
fn params(days: i64) -> CertificateParams {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |offset: i64| {
        let date = today.checked_add(offset.days()).unwrap_or(today);
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    let mut params = CertificateParams::default();
    params.not_before = day(-1);
    params.not_after = day(days);
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f; // a serial number is positive (RFC 5280, 4.1.2.2)
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    #[test]
    fn an_authority_is_founded_once_and_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = Authority::open_or_create(dir.path()).expect("found");
        let second = Authority::open_or_create(dir.path()).expect("open");
        assert_eq!(first.certificate(), second.certificate());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(dir.path().join("ca.key")).expect("a key").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn half_an_authority_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        Authority::open_or_create(dir.path()).expect("found");
        fs::remove_file(dir.path().join("ca.key")).expect("remove");
        let error = Authority::open_or_create(dir.path()).err().expect("a refusal");
        assert!(error.to_string().contains("ca.key is not"), "{error}");
        assert!(!dir.path().join("ca.key").exists());
    }

    #[test]
    fn the_authority_of_the_front_proxy_is_another_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        let front = authority.front_proxy().expect("found");
        assert_ne!(front.certificate(), authority.certificate());
        let again = Authority::open_or_create(dir.path()).expect("open").front_proxy().expect("open");
        assert_eq!(again.certificate(), front.certificate());
        assert!(dir.path().join("front-proxy-ca.key").exists());
    }

    #[test]
    fn a_client_certificate_names_its_user_and_groups() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        let issued = authority.client_certificate("kim", &["system:masters", "ops"]).expect("issue");
        let subject = subject_of(&der(&issued.certificate)).expect("a subject");
        assert_eq!(subject.user, "kim");
        assert_eq!(subject.groups, ["system:masters", "ops"]);
    }

    #[test]
    fn a_request_cannot_name_itself() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        let key = KeyPair::generate().expect("a key");
        let mut wish = CertificateParams::default();
        wish.distinguished_name = name("admin", &["system:masters"]).expect("a name");
        let request = wish.serialize_request(&key).expect("a request").pem().expect("PEM");
        let granted = Subject { user: "system:node:a".to_owned(), groups: vec!["system:nodes".to_owned()] };
        let certificate = authority.sign_request(&request, &granted).expect("sign");
        assert_eq!(subject_of(&der(&certificate)), Some(granted));
    }

    #[test]
    fn a_server_certificate_is_trusted_through_the_authority() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("found");
        let issued = authority.server_certificate(&["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("issue");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(authority.certificate())).expect("a root");
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            roots.into(),
            rustls::crypto::ring::default_provider().into(),
        )
        .build()
        .expect("a verifier");
        let check = |host: &'static str| {
            rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier,
                &der(&issued.certificate),
                &[],
                &host.try_into().expect("a name"),
                &[],
                rustls::pki_types::UnixTime::now(),
            )
        };
        check("localhost").expect("trusted by name");
        check("127.0.0.1").expect("trusted by address");
        check("elsewhere").expect_err("not for other names");
    }
}
