//! Links, addresses and routes of pods: routed, without a bridge.
//!
//! Principle: a pod has one veth whose inner end is *created inside* the pod's namespace (moving it there costs thirty
//! times as much), a /32 address, and a link-local gateway that exists nowhere: both ends know the other's hardware
//! address for ever (permanent neighbour entries), so there is no ARP, no proxy and no broadcast domain. Every packet
//! between two pods of a node is therefore routed and meets the same rules, whatever `bridge-nf-call-iptables` says.
//! The alternative refused is a bridge: its traffic skips the firewall on most machines and meets it on some. IPv6 is the
//! same with a /128 and fe80::1; no end has an address that the kernel chose, so routers announce nothing here.
//!
//! Everything is idempotent: attaching twice is attaching once, and what a dead process left is found by [`Links::list`].

mod attach;
mod host;
mod message;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::mpsc;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::PodUid;
use crate::model::Ipv6Config;
use crate::netlink::{NetlinkError, Socket};

pub(crate) use attach::is_pod_link;
pub(crate) use host::FORWARDING6;
pub use host::HostLinks;

/// The gateway every pod has: link-local, the same for all, never on the wire.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
pub const POD_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The name of a pod's interface inside its namespace.
pub const POD_INTERFACE: &str = "eth0";
/// The interface that carries the node's own addresses: the pod gateway address and the DNS service.
pub const NODE_INTERFACE: &str = "naru-dns";
/// The hardware address of the host's end of every veth. Locally administered, so that no tool replaces it.
pub(crate) const HOST_MAC: [u8; 6] = [0xee; 6];
/// Marks our routes in `ip route` (`proto 110`).
pub(crate) const ROUTE_PROTOCOL: u8 = 110;

/// The addresses of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct PodAddress {
    /// The pod's IPv4 address, used as a /32.
    pub v4: Ipv4Addr,
    /// The pod's IPv6 address, used as a /128.
    pub v6: Option<Ipv6Addr>,
}

/// What is needed to connect a pod.
#[derive(Debug, Clone)]
pub struct PodAttach {
    /// The pod; names the interface and is found again by [`Links::list`].
    pub uid: PodUid,
    /// The pod's network namespace: `/proc/<pid>/ns/net`, or wherever it is mounted.
    pub netns: PathBuf,
    /// The pod's addresses.
    pub address: PodAddress,
    /// The largest packet; the uplink's when `None`.
    pub mtu: Option<u32>,
}

/// A connected pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The host's end of the veth.
    pub interface: String,
    /// The pod's addresses.
    pub address: PodAddress,
}

/// A host-side link of ours, found by listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRecord {
    /// The interface's name, `naru` and ten hexadecimal digits.
    pub interface: String,
    /// The pod it was made for; `None` when it died between creation and naming.
    pub pod: Option<PodUid>,
}

/// Why a link could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The pod's namespace could not be opened.
    #[error("cannot open the network namespace of pod {pod} at {path}; is its supervisor running?")]
    Namespace {
        /// The pod.
        pod: PodUid,
        /// Where its namespace was looked for.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused a step.
    #[error("cannot {step}; root with CAP_NET_ADMIN is needed")]
    Kernel {
        /// The step, worded.
        step: String,
        /// The kernel's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A kernel parameter could not be set.
    #[error("cannot set the kernel parameter {name} to {value}; is /proc/sys writable here?")]
    Sysctl {
        /// The parameter, as `sysctl` spells it.
        name: String,
        /// The value wanted.
        value: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl LinkError {
    pub(crate) fn kernel(step: impl Into<String>) -> impl FnOnce(NetlinkError) -> Self {
        let step = step.into();
        move |source| Self::Kernel { step, source: Box::new(source) }
    }
}

/// What the node's links share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// The addresses pods of this node get.
    pub pod_subnet: Ipv4Net,
    /// The virtual addresses of services.
    pub service_cidr: Ipv4Net,
    /// The DNS service's virtual address.
    pub dns: Ipv4Addr,
    /// The node's own address towards its pods.
    pub gateway: Ipv4Addr,
    /// The same of the second family.
    pub six: Option<Ipv6Config>,
}

/// Makes and removes the links of pods. Calls block for about a millisecond: run them on a blocking thread.
#[derive(Debug)]
pub struct Links {
    config: LinkConfig,
    uplink_mtu: u32,
    trash: mpsc::Sender<String>,
}

impl Links {
    /// Prepares the host (see [`HostLinks::ensure`]) and starts the thread that removes links in the background.
    pub fn open(config: LinkConfig) -> Result<Self, LinkError> {
        let uplink_mtu = HostLinks::ensure(&config)?;
        let (trash, dead) = mpsc::channel::<String>();
        std::thread::Builder::new()
            .name("naru-links".into())
            .spawn(move || {
                while let Ok(first) = dead.recv() {
                    let names: Vec<String> = std::iter::once(first).chain(dead.try_iter()).collect();
                    if let Err(error) = attach::delete(&names) {
                        tracing::warn!(error = %crate::chain(&error), ?names, "cannot remove links");
                    }
                }
            })
            .map_err(|source| LinkError::Kernel { step: "start the link thread".into(), source: Box::new(source) })?;
        Ok(Self { config, uplink_mtu, trash })
    }

    /// Connects a pod; about 1 ms. Connecting a connected pod again repairs what is missing.
    pub fn attach(&self, pod: &PodAttach) -> Result<Attached, LinkError> {
        attach::attach(pod, &self.config, pod.mtu.unwrap_or(self.uplink_mtu))
    }

    /// Disconnects a pod. Returns at once; the link goes away within some tens of milliseconds on a thread of its own.
    pub fn detach(&self, pod: &PodUid) {
        // The receiver lives as long as `self`: its thread only ends when the sender is dropped.
        let _ = self.trash.send(interface_name(pod));
    }

    /// Disconnects a pod and waits until the link is gone.
    pub fn detach_now(&self, pod: &PodUid) -> Result<(), LinkError> {
        attach::delete(&[interface_name(pod)])
    }

    /// The host's links of ours, for adoption and leak checks.
    pub fn list() -> Result<Vec<LinkRecord>, LinkError> {
        attach::list()
    }

    /// The names of this machine's physical interfaces.
    pub fn physical() -> Result<Vec<String>, LinkError> {
        attach::physical()
    }

    /// Takes everything down that this module ever made in this namespace: pods' links, the node's interface, routes.
    /// Kernel parameters are the caller's ([`crate::uninstall`]).
    pub fn uninstall(pod_subnet: Ipv4Net, second: Option<Ipv6Net>) -> Result<(), LinkError> {
        let names: Vec<String> = attach::list()?.into_iter().map(|link| link.interface).collect();
        attach::delete(&names)?;
        HostLinks::remove(pod_subnet, second)
    }
}

/// The host-side interface of `pod`: `naru` and ten hexadecimal digits of a stable hash (15 bytes is the limit).
pub fn interface_name(pod: &PodUid) -> String {
    format!("naru{:010x}", crate::hash::fnv64(pod.as_str().as_bytes()) >> 24)
}

/// A route socket, with the error worded.
fn route_socket() -> Result<Socket, LinkError> {
    Socket::route().map_err(LinkError::kernel("open a route socket"))
}
