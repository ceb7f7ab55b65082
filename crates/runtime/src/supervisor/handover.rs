//! Handing the pod over to a newer program: the same process, its children, its locks and its descriptors, and everything
//! it knows as a record in a memory file.
//!
//! A descriptor stays open over execve under its number, a child stays a child, a record lock stays held, and an end that
//! nobody has collected yet waits. So what has to be said is only which number is what, and a few words about each
//! container. Nothing is skipped for being under way: starts, execs, jobs and half-read requests are data like the rest.
//!
//! Before it executes the new program for good, the supervisor lets a child execute it, which takes everything over as
//! the real one will, says so and ends. Only a program that did that gets the pod; otherwise this one goes on and tells
//! why. The alternative refused is to hand over first and to return in case of failure: there may be nobody to return.
//!
//! The record carries two numbers: the version of whoever wrote it, and the oldest reader that understands it. Fields may
//! be added (unknown ones are ignored, missing ones have defaults) without raising the second, which takes a version of
//! Naru that reads both. So programs one minor version apart understand one another in both directions.

mod give;
mod record;
mod take;

pub(super) use give::{Giver, Renewal};
pub(super) use record::{Bytes, Fd};
pub(super) use take::{Taker, check, take_over};
