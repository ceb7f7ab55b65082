//! The life of a namespace: what every one is given, and its end with everything in it.

mod conditions;
mod end;
mod provision;
#[cfg(test)]
mod tests;

pub(crate) use end::Namespaces;
pub(crate) use provision::Provision;
