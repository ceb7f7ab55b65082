//! Kernel parameters of this network namespace, through `/proc/sys`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LinkError;

/// Writes a parameter named as `sysctl` names it. Interface names may contain dots, so the name is split only where
/// the fixed part ends.
pub(crate) fn write(name: &str, value: &str) -> Result<(), LinkError> {
    fs::write(path(name), value).map_err(|source| LinkError::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Whether the kernel has IPv6 at all; the interface attributes of it are refused when not.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}
