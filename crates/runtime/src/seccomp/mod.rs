//! System call filters: the default allow-list and profiles in Docker's JSON form, both compiled here.
//!
//! A filter is a binary search over call numbers, so that a call costs about ten instructions whatever its number; a
//! compiler that tests one call after another (as most libraries emit) makes late calls dear. The default is equal in
//! effect to Docker's. Compiling needs no C library; the daemon compiles once a set of capabilities and hands the result
//! to every start as a memory file.

mod assemble;
mod profile;
mod rules;
mod table;

use crate::pod::{Capabilities, Seccomp};

pub(crate) use profile::ProfileError;

/// The filter's instructions as bytes; `None`: no filter.
pub(crate) fn compile(profile: &Seccomp, held: Capabilities) -> Result<Option<Vec<u8>>, ProfileError> {
    let rules = match profile {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => table::default_rules(held),
        Seccomp::Profile(text) => profile::parse(text, held)?,
    };
    assemble::assemble(&rules).map(Some)
}

#[cfg(test)]
mod tests;
