//! Names: what a pod gets when it asks for `web`.
//!
//! Principle: answering is a pure function of the names known ([`Names`]), of who asks, and of the question
//! ([`answer`]); sockets, upstream servers and caches are around it. Who asks matters: short names are looked up in the
//! asking pod's namespace, and names of [`naru.io/v1 Network`](naru_api::naru::Network) members exist only for pods that
//! share a network with them. The alternative refused is a zone file per namespace behind a general DNS server: it can
//! answer by name alone.
//!
//! Besides full names (`web.shop.svc.cluster.local`), every shortening is understood as it stands (`web`, `web.shop`,
//! `web.shop.svc`), so that resolvers which never append search domains, or append them in an order of their own, find
//! the same thing.

mod answer;
mod cache;
mod names;
mod resolv_conf;
mod resolve;
mod server;
mod upstream;
mod zone;

pub use answer::{Outcome, answer};
pub use names::Names;
pub use resolv_conf::{PodResolv, pod_resolv_conf};
pub use server::{DnsServer, Listener};
pub use upstream::Upstream;
pub use zone::{Member, Membership, PodNames, PortName, ServiceNames, Zone};

#[cfg(test)]
mod tests;
