//! System call filters.

use crate::pod::{Capabilities, Seccomp};

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {}

/// The filter's instructions as bytes; `None`: no filter.
pub(crate) fn compile(_profile: &Seccomp, _held: Capabilities) -> Result<Option<Vec<u8>>, ProfileError> {
    Ok(None)
}
