//! Contents follow.
pub mod image;
