//! Talking to registries: one image's requests, retried while the registry may come back.
//!
//! The protocol and its token dance are `oci-client`'s. What it lacks is here: Docker's credentials, continuing cut-off
//! downloads, and answers that say what to do. A registry that goes away is tried again with growing pauses as long as
//! bytes keep coming; one that was never reached only once more, since that is most often a wrong name or a machine
//! without a network, and somebody waits; a refusal is final at once.

mod answer;
mod credentials;
mod download;
mod upload;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;

use answer::Answer;

use super::digest::Digest;
use super::error::ImageError;
use super::manifest::{DOCKER_LIST, DOCKER_MANIFEST, DOCUMENT_LIMIT, OCI_INDEX, OCI_MANIFEST};
use super::options::Auth;
use super::progress::{Progress, Step};
use super::reference::Reference;

const USER_AGENT: &str = concat!("naru/", env!("CARGO_PKG_VERSION"));
/// Attempts in a row without a byte of progress.
const ATTEMPTS: u32 = 5;
/// Attempts at a registry that has not answered yet.
const FIRST_ATTEMPTS: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// One image in its registry.
pub(crate) struct Remote {
    client: oci_client::Client,
    reference: Reference,
    auth: RegistryAuth,
    progress: Progress,
    /// It has answered at least once.
    met: AtomicBool,
}

impl Remote {
    /// Prepares to talk about `reference`; nothing is sent yet.
    pub(crate) async fn new(reference: &Reference, auth: &Auth, progress: &Progress) -> Result<Remote, ImageError> {
        // Whoever starts the process installs ring; tests and tools may have forgotten.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let auth = credentials::find(reference, auth).await?;
        let config = ClientConfig {
            protocol: match reference.registry_is_local() {
                true => ClientProtocol::HttpsExcept(vec![reference.registry().to_owned()]),
                false => ClientProtocol::Https,
            },
            use_monolithic_push: true,
            platform_resolver: None,
            extra_root_certificates: extra_roots(reference.registry()),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(30)),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        let client = oci_client::Client::try_from(config).map_err(|error| ImageError::Registry {
            registry: reference.registry().to_owned(),
            reference: Box::new(reference.clone()),
            what: "the connection".into(),
            problem: answer::chain(&error),
        })?;
        let remote = Remote {
            client,
            reference: reference.clone(),
            auth,
            progress: progress.clone(),
            met: AtomicBool::new(false),
        };
        let registry = remote.theirs(reference)?.resolve_registry().to_owned();
        remote.client.store_auth_if_needed(&registry, &remote.auth).await;
        Ok(remote)
    }

    /// The digest that the registry has under the reference now.
    pub(crate) async fn digest(&self) -> Result<Digest, ImageError> {
        let theirs = self.theirs(&self.reference)?;
        let ask = || async { self.client.fetch_manifest_digest(&theirs, &self.auth).await };
        self.retried("the manifest", ask).await?.parse()
    }

    /// The bytes of the manifest or index under the reference, or of the one with `digest` beside it.
    pub(crate) async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>), ImageError> {
        let reference = digest.map_or_else(|| self.reference.clone(), |digest| self.reference.at(digest));
        let theirs = self.theirs(&reference)?;
        let accepted = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
        let ask = || async { self.client.pull_manifest_raw(&theirs, &self.auth, &accepted).await };
        let (bytes, _) = self.retried("the manifest", ask).await?;
        let what = || format!("the manifest of \"{reference}\" from registry {}", reference.registry());
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(ImageError::TooLarge {
                what: what(),
                limit: DOCUMENT_LIMIT,
                why: "the greatest size of a document",
            });
        }
        let actual = Digest::of(&bytes);
        if let Some(expected) = reference.digest()
            && actual != *expected
        {
            return Err(ImageError::DigestMismatch {
                what: what(),
                expected: expected.clone(),
                actual,
                bytes: bytes.len() as u64,
            });
        }
        Ok((actual, bytes.to_vec()))
    }

    /// Asks until there is an answer or no hope.
    async fn retried<T, F>(&self, what: &str, mut ask: impl FnMut() -> F) -> Result<T, ImageError>
    where
        F: Future<Output = Result<T, oci_client::errors::OciDistributionError>>,
    {
        let mut attempt = 1;
        loop {
            let answer = match ask().await {
                Ok(value) => {
                    self.met.store(true, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) => Answer::of(&error),
            };
            let attempts = match &answer {
                // Asking cost seconds already.
                Answer::Silent(_) if !self.met.load(Ordering::Relaxed) => 1,
                Answer::Unreachable(_) if !self.met.load(Ordering::Relaxed) => FIRST_ATTEMPTS,
                _ => ATTEMPTS,
            };
            match answer {
                Answer::TryAgain(problem) | Answer::Unreachable(problem) | Answer::Silent(problem)
                    if attempt < attempts =>
                {
                    self.pause(what, &self.progress, &mut attempt, problem).await
                }
                answer => return Err(self.failure(what, attempt, 0, answer)),
            }
        }
    }

    /// Waits before the next attempt, longer each time, with jitter so that a crowd spreads out.
    async fn pause(&self, item: &str, progress: &Progress, attempt: &mut u32, reason: String) {
        tracing::debug!(registry = self.reference.registry(), item, attempt, reason, "asking the registry again");
        let pause = FIRST_PAUSE.saturating_mul(1 << (*attempt - 1).min(10)).min(LONGEST_PAUSE);
        *attempt += 1;
        progress.tell(item, Step::Retrying { attempt: *attempt, reason });
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
    }

    fn failure(&self, what: &str, attempts: u32, done: u64, answer: Answer) -> ImageError {
        let (registry, reference) = (self.reference.registry().to_owned(), Box::new(self.reference.clone()));
        let what = what.to_owned();
        match answer {
            Answer::Unreachable(problem) | Answer::Silent(problem)
                if what == "the manifest" && !self.met.load(Ordering::Relaxed) =>
            {
                ImageError::Nowhere { registry, reference, problem }
            }
            Answer::TryAgain(problem) | Answer::Unreachable(problem) | Answer::Silent(problem) => {
                ImageError::RegistryUnreachable { registry, reference, what, attempts, done, problem }
            }
            Answer::Unauthorized(problem) => ImageError::Unauthorized { registry, reference, problem },
            Answer::NotFound if what == "the manifest" => ImageError::NotInRegistry { registry, reference },
            Answer::NotFound => {
                ImageError::Registry { registry, reference, what, problem: "it has no such blob".into() }
            }
            Answer::Final(problem) => ImageError::Registry { registry, reference, what, problem },
        }
    }

    /// The reference as the client's type.
    fn theirs(&self, reference: &Reference) -> Result<oci_client::Reference, ImageError> {
        let refuse = |_| ImageError::Reference {
            input: reference.to_string(),
            expected: "a name that registries can be asked for",
        };
        reference.to_string().parse::<oci_client::Reference>().map_err(refuse)
    }
}

/// Certificates that the machine trusts for one registry, where Docker looks for them.
fn extra_roots(registry: &str) -> Vec<Certificate> {
    let Ok(entries) = std::fs::read_dir(std::path::Path::new("/etc/docker/certs.d").join(registry)) else {
        return Vec::new();
    };
    let files = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "crt"));
    files
        .filter_map(|path| std::fs::read(path).ok())
        .map(|data| Certificate { encoding: CertificateEncoding::Pem, data })
        .collect()
}
