//! Words: the kinds of objects that Naru serves and everything that can be said about them without knowing who asks,
//! where they are stored or what time it is.
//!
//! Objects are JSON. A write passes, in this order, through [`decode`] (bytes to JSON, unknown fields pruned, types
//! checked, with field paths), [`admit`] (defaults and what the server sets), [`validate`] (rules), and is stored. A
//! patch passes through [`patch`] or [`apply`] first. [`table`], [`openapi`] and [`discovery`] describe kinds and objects to clients.
//! What a kind is stands in one entry of [`kind`]; what its fields are stands in [`schema`]. Code that reads objects
//! parses them into a [`view`].
//!
//! This crate knows no HTTP, no storage and no clock but the one passed in.

pub mod admit;
pub mod apply;
pub mod cel;
pub mod convert;
pub mod decode;
pub mod discovery;
pub mod flow;
pub mod kind;
pub mod meta;
pub mod naru;
pub mod openapi;
pub mod patch;
pub mod program;
pub mod quantity;
pub mod quota;
pub mod ranges;
pub mod schema;
pub mod select;
pub mod status;
pub mod table;
pub mod validate;
pub mod view;

pub use k8s_openapi;
pub use k8s_openapi as k8s;

pub use decode::{Decoded, FieldValidation, Format, decode};
pub use kind::{Kind, Registry, Scope, Subresource};
pub use program::{ProgramFacts, Skew, Version, version};
pub use quantity::Quantity;
pub use ranges::{Ranges, RangesError};
pub use select::{FieldSelector, LabelSelector, LabelSet};
pub use status::{Reason, Status};
pub use validate::{FieldError, FieldReason};
pub use view::{View, ViewError};
