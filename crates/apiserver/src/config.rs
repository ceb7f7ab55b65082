//! What an API server is made of and how it is set up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use naru_api::{Ranges, Registry};
use naru_client::NodeDialer;
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::Store;

use crate::authentication::config::Authentication;

/// Everything an API server works with.
pub struct Config {
    /// Where objects are; opened with [`StoreCodec`](crate::StoreCodec) over the same [`Config::sealer`].
    pub store: Store,
    /// The kinds that are served.
    pub registry: Arc<Registry>,
    /// Signs the server's certificate and verifies those of clients.
    pub authority: Arc<Authority>,
    /// Signs and verifies service-account tokens.
    pub tokens: Arc<TokenSigner>,
    /// Seals secrets at rest.
    pub sealer: Arc<Sealer>,
    /// Reaches nodes that keep no connection to this server: those of this process.
    pub dialer: Arc<dyn NodeDialer>,
    /// What may be left as it is.
    pub settings: Settings,
}

/// Settings with working defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The issuer of service-account tokens, which is also their default audience.
    pub issuer: String,
    /// Where services' virtual addresses come from. The first is the API server's own service, the tenth is DNS'.
    pub service_network: Ranges,
    /// Where services' node ports come from.
    pub node_ports: RangeInclusive<u16>,
    /// How long pods stay bound to a node that is not ready or not reachable, where they do not say otherwise.
    pub node_loss_toleration: Duration,
    /// The address and port at which pods reach this server behind the service `kubernetes`; `None` leaves that
    /// service without endpoints.
    pub advertise: Option<SocketAddr>,
    /// Where pods' addresses come from, on all nodes together.
    pub pod_network: Ranges,
    /// How long a node's certificate is valid. Nodes renew theirs after two thirds of it.
    pub node_certificate: Duration,
    /// From when to when the cluster lived on after the backup that it was restored from; `None` for one that never was.
    /// Nodes that got their certificate in between are taken in again.
    pub restored: Option<(Timestamp, Timestamp)>,
    /// How long after it nodes that the backup knows may come back without being asked about.
    pub returning: SignedDuration,
    /// The name of the provisioner of the default storage class.
    pub provisioner: String,
    /// Whom the server believes besides its own certificates and tokens.
    pub authentication: Authentication,
    /// How many requests the server works on at once, which its priority levels share. Each may hold a body of some
    /// megabytes, so this bounds the server's memory.
    pub at_once: u32,
    /// What the program was built from, for whoever asks for its version.
    pub build: Build,
}

/// What a program was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// The commit, in full; empty where that is not known.
    pub commit: &'static str,
    /// `clean`, `dirty` (there were changes that the commit does not have), or `archive` (without git).
    pub tree: &'static str,
    /// When that was committed, as a time stamp: the same source is the same program, whenever it is built.
    pub date: &'static str,
    /// The compiler and its version.
    pub compiler: &'static str,
}

/// What to listen on.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    /// TLS: address and port; port 0 takes a free one.
    pub tls: Option<SocketAddr>,
    /// The host names and addresses that the TLS certificate is for.
    pub names: Vec<String>,
    /// A unix socket for root and the members of the group `naru`.
    pub unix: Option<PathBuf>,
}

// === impl Build ===

impl Default for Build {
    fn default() -> Self {
        Self { commit: "", tree: "archive", date: "1970-01-01T00:00:00Z", compiler: "rustc" }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            service_network: Ipv4Net::new_assert(Ipv4Addr::new(10, 43, 0, 0), 16).into(),
            node_ports: 30_000..=32_767,
            node_loss_toleration: Duration::from_secs(5),
            advertise: None,
            pod_network: Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 16).into(),
            node_certificate: Duration::from_secs(30 * 24 * 3600),
            restored: None,
            returning: SignedDuration::from_hours(1),
            provisioner: "naru.io/local".to_owned(),
            authentication: Authentication::default(),
            at_once: 600,
            build: Build::default(),
        }
    }
}

impl Settings {
    /// The virtual address of the API server: the first of the service network.
    pub fn kubernetes_address(&self) -> IpAddr {
        let network = self.service_network.v4;
        network.hosts().next().unwrap_or(network.addr()).into()
    }
}

/// Why an API server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The objects that every cluster has could not be written.
    #[error("cannot write the objects that every cluster has")]
    Bootstrap(#[source] naru_api::Status),
    /// Nothing can listen there.
    #[error("cannot listen on {address}: is another server running there?")]
    Listen {
        /// The address or path.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The server's certificate could not be made.
    #[error("cannot make the server's certificate")]
    Certificate(#[from] naru_identity::IdentityError),
    /// TLS could not be set up with the authority's certificate.
    #[error("cannot set up TLS: {what}")]
    Tls {
        /// Which part.
        what: &'static str,
        /// The library's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
