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
//! - [`Sealer`]: authenticated encryption of stored values.

mod authority;
mod files;
mod sealer;
mod serving;
mod token;

pub use authority::{Authority, IdentityError, Issued, Subject, subject_of};
pub use sealer::{SealError, Sealer};
pub use serving::ServingCertificate;
pub use token::{BoundObject, Claims, KubernetesClaims, ServiceAccountRef, TokenError, TokenSigner};
