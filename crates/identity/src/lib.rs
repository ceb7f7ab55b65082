//! Who is who: the cluster's certificate authority, certificates of servers, nodes and people, service-account
//! tokens, and the sealing of secrets at rest.
//!
//! Principle: every private key is made where it is used, lies in a file that only its owner can read, and is written
//! whole or not at all. Refused: a key in the store (a backup of the store alone must not be enough to impersonate the
//! cluster), and RSA (ring cannot generate it; P-256 is what Kubernetes clients accept everywhere).
//!
//! This crate does not know HTTP, the store or any kind of object.
//!
//! - [`Authority`]: the certificate authority of a cluster.
//! - [`ServingCertificate`]: a server certificate that renews itself.
//! - [`TokenSigner`]: service-account tokens (ES256 JSON web tokens).
//! - [`WebToken`], [`KeySet`]: tokens that others issue, and the keys by which they are verified.
//! - [`Sealer`]: authenticated encryption of stored values.
//! - [`JoinLine`], [`BootstrapToken`], [`PinnedAuthority`]: how a machine that is no node yet and a server recognise each
//!   other.
//! - [`request_certificate`], [`key_hash`]: a node's own key.
//! - [`CertificateRequest`]: somebody's request for a certificate, read and checked; [`Authority::sign`] signs it.

mod authority;
mod bootstrap;
mod files;
mod jwt;
mod node;
mod pinned;
mod request;
mod sealer;
mod serving;
mod token;

pub use authority::{Authority, IdentityError, Issued, Subject, subject_of};
pub use bootstrap::{BootstrapToken, JoinLine, JoinLineError};
pub use files::write_file;
pub use jwt::{JwtError, KeySet, SIGNATURES, WebToken};
pub use node::{
    Requested, key_hash, key_hash_of, key_hash_of_pem, key_hash_of_request, request_certificate, signed_at,
    validity_of_pem,
};
pub use pinned::PinnedAuthority;
pub use request::{AlternativeNames, CertificateRequest, RequestError, Terms, Usage, check_certificates};
pub use sealer::{SealError, Sealer};
pub use serving::ServingCertificate;
pub use token::{
    ALGORITHM as TOKEN_ALGORITHM, BoundObject, Claims, KubernetesClaims, LEGACY_ISSUER, LegacyClaims,
    ServiceAccountRef, TokenError, TokenSigner,
};
