//! Compose: the specification's files, loaded, interpolated, merged, checked and translated to objects.
//!
//! Principle: nothing a user writes is dropped in silence. One table ([`spec`]) names every key with its type and its
//! class (works, works differently, refused); the loader checks against it, the documentation is made from it, and
//! every fault carries file, line and key. Refused: reading straight into typed structures, which loses places, merge
//! tags and the difference between `1.10` and `1.1`.
//!
//! The way of a file: [`yaml`] → [`interpolate`] → check → canonical forms → `extends`, merge, `include` →
//! [`load`] → [`model`] → objects.
//!
//! This crate does not know the cluster: it reads files through [`load::Files`], and its result is a plain value.

mod canonical;
mod check;
pub mod dotenv;
mod error;
pub mod interpolate;
pub mod load;
mod merge;
pub mod model;
pub mod spec;
pub mod translate;
mod typed;
pub mod units;
pub mod yaml;

pub use error::{ComposeError, Position, Warning};
pub use load::{Disk, Files, Loaded, Request, load};
pub use model::Project;
pub use translate::{TranslateError, Translation, label_value, object_name, translate};
