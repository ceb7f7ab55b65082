//! `naru upgrade`: another program on every node, one node after the other, while containers run on.
//!
//! The node changes itself; whoever asks for it sends the program and watches. So an interrupted upgrade leaves whole
//! nodes, each with the old program or the new one, and asking again continues. On a node the order is: the new program
//! beside the old one, a watch (a process of the old program), the exchange by rename, and an execve by the daemon, whose
//! process, unit and children stay. The new program confirms the change when everything is as it was; the watch puts the
//! old one back when that does not happen in time. The alternative refused is that the one who asks judges: a lost
//! terminal would be a lost node.
//!
//! - [`file`], [`rules`]: what a program file is, and whether it may take another's place: pure;
//! - [`change`]: what a node remembers of a change on its way;
//! - [`node`], [`swap`], [`settle`], [`guard`]: the node's side;
//! - [`remote`], [`run`]: the side of who asks.

mod change;
mod children;
mod file;
mod guard;
mod node;
mod remote;
mod rules;
mod run;
mod settle;
mod swap;

pub(crate) use children::collect_children;
pub(crate) use guard::watch;
pub(crate) use node::Replaceable;
pub(crate) use run::upgrade;
