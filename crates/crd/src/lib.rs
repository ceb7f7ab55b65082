//! CustomResourceDefinitions: kinds that users define, judged and understood.
//!
//! A [`Definition`] is read from its JSON once; its [`Version`]s then make objects what their [`Schema`] says
//! ([`Version::shape`]: unknown fields go, defaults come), tell what is wrong with them ([`Version::faults`]: types, bounds,
//! patterns, alternatives, lists without repetitions, rules in the expression language; what did not change is not judged
//! again), show them in tables ([`Column`]), say how writers share them ([`Schema::sharing`]) and how clients are told
//! ([`publish`]). Whether a definition may be written at all is [`faults`]; which of its names are accepted, [`status`].
//!
//! Everything is pure: no clock but the time passed in, no I/O. Built-in kinds are not known here; they are described by a
//! table of facts and not by schemas of this form, which hold more (alternatives, rules) and less (no shared types).

mod check;
mod column;
mod default;
mod definition;
mod fault;
#[cfg(test)]
mod fixtures;
mod jsonpath;
mod judge;
mod metadata;
mod order;
mod path;
mod pattern;
mod prune;
pub mod publish;
mod rules;
mod scale;
mod schema;
mod validate;

pub use column::{Cell, Column};
pub use definition::{Conversion, Definition, Names, Scale, Taken, Version, faults, fill, prepare, status};
pub use fault::{Fault, Reason};
pub use jsonpath::JsonPath;
pub use order::version_order;
pub use prune::Pruned;
pub use schema::{Additional, Fields, ListType, Schema, Sharing, Type};
