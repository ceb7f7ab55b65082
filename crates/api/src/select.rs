//! Selectors over labels and fields.

mod field;
mod label;

pub use field::{FieldSelector, FieldSelectorError};
pub use label::{LabelSelector, LabelSelectorError, LabelSet, Operator, Requirement};

#[cfg(test)]
mod tests;
