//! Probes: whether a container has started, lives, and is ready.
//!
//! Each probed attempt has one task with its own clock, so probes of many pods never fall on the same instant: each is
//! counted from its own container's start. Thresholds are counted by a pure [`Counter`]; the task only waits and asks.
//!
//! A probe over the network that fails before it ever succeeded is repeated after 50 ms, 100 ms and so on up to its
//! period, without counting: a program that listens after 80 ms is ready after 100 ms, not after ten seconds.
//!
//! Where Docker's rules hold, the tests come from a health check, whose start period most files leave out. A container
//! that has not been healthy yet (a database that makes its files) is then not killed, however long that takes: it is told
//! unhealthy, as Docker does, and the test goes on. Only what was healthy once can be found dead. Kubernetes' own probes
//! keep their meaning.

mod check;
mod count;
mod grpc;
mod http;
mod task;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use naru_api::k8s::{api::core::v1::Container, apimachinery::pkg::util::intstr::IntOrString};

pub(crate) use check::{exec, tcp};
pub(crate) use count::Counter;
pub(crate) use http::get as http;
pub(crate) use task::Prober;

/// What a prober found that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Which container.
    pub container: String,
    /// Which attempt: starts so far.
    pub starts: u32,
    /// The startup probe's verdict.
    pub started: Option<bool>,
    /// The readiness probe's verdict.
    pub ready: Option<bool>,
    /// The probe that found the container dead, such as `liveness probe`.
    pub unhealthy: Option<String>,
    /// Whether it is healthy, as Docker means it, where that was decided; else what its test said.
    pub healthy: Option<Result<(), String>>,
    /// A failure worth an event.
    pub note: Option<String>,
}

/// What probes and hooks are aimed at.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// For named ports.
    pub container: &'a Container,
    /// The pod's address.
    pub address: Option<IpAddr>,
}

impl Target<'_> {
    /// A port by number or by the name of one of the container's ports.
    pub fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => i64::from(*number),
            IntOrString::String(text) => match text.parse() {
                Ok(number) => number,
                Err(_) => {
                    let mut ports = self.container.ports.iter().flatten();
                    let named = ports.find(|port| port.name.as_deref() == Some(text));
                    named
                        .map(|port| i64::from(port.container_port))
                        .ok_or_else(|| format!("the container has no port named {text:?}"))?
                }
            },
        };
        u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("{number} is not a port"))
    }
}
