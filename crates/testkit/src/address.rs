//! The addresses of every test host: the same in all, since each has namespaces of its own.

use std::net::Ipv4Addr;

/// The host's address on the wire (RFC 2544: a range for tests).
pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The neighbour's address on the same wire; the host's default route leads there.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
