//! Schemas.

/// A schema.
#[derive(Clone, Debug)]
pub struct Schema {}
