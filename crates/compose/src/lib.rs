//! Compose: the specification's files, loaded, interpolated, merged, checked and translated to objects.
//!
//! Principle: nothing a user writes is dropped in silence. One table ([`spec`]) names every key with its type and its
//! class (works, works differently, refused); the loader checks against it, the documentation is made from it, and
//! every fault carries file, line and key.
//!
//! This crate does not know the cluster: it reads files through a [`load::Files`] it is given, and its result is a
//! plain [`model`] and the objects that [`translate`] makes of it.

pub mod dotenv;
pub mod error;
pub mod interpolate;
pub mod yaml;

pub use error::{ComposeError, Position, Warning};
