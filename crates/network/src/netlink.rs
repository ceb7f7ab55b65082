//! Netlink, spoken directly: the few route, nf_tables and conntrack messages this crate needs.
//!
//! Principle: a message is bytes with a length in front, so a builder of eighty lines replaces three packet crates that
//! take longer to compile than this whole crate and do not know nf_tables or conntrack. Calls are synchronous: every
//! request here is answered by the kernel before `sendto` returns, and a pod's attachment is a straight line of them.
//! The alternative refused is an asynchronous connection task per namespace, which costs more than the work it carries.

mod message;
pub(crate) mod route;
mod socket;

pub(crate) use message::{Message, attributes};
pub(crate) use socket::{NetlinkError, Reply, Socket, replies};

/// Message types, attribute numbers and flags of `<linux/netlink.h>` and `<linux/rtnetlink.h>`.
pub(crate) mod flag {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
}
