//! From one machine to several: tokens, joining, leaving, nodes, and how the whole is doing.

mod change;
pub(crate) mod clock;
mod drain;
mod duration;
mod invitation;
mod join;
mod labels;
mod leave;
mod list;
mod loss;
pub(crate) mod membership;
mod node;
mod process;
mod rebalance;
mod status;
mod token;
mod versions;

pub(crate) use duration::parse as duration;
pub(crate) use invitation::{certificate_of, certificate_request};
pub(crate) use join::{address_towards, join, reported};
pub(crate) use leave::{leave, tell_of_leaving};
pub(crate) use membership::Membership;
pub(crate) use node::run as node;
pub(crate) use process::{Lock, running as worker_process, stop_worker};
pub(crate) use status::status;
pub(crate) use token::run as token;
