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
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// A parameter's value; `None` where the kernel has none of that name.
pub(crate) fn read(name: &str) -> Option<String> {
    fs::read_to_string(path(name)).ok().map(|value| value.trim().to_owned())
}

/// As [`write`], with the name in parts: those of interfaces may contain dots.
pub(crate) fn write_at(parts: &[&str], value: &str) -> Result<(), LinkError> {
    fs::write(at(parts), value).map_err(|source| LinkError::Sysctl {
        name: format!("net.{}", parts.join(".")),
        value: value.to_owned(),
        source,
    })
}

/// A parameter's value, with the name in parts.
pub(crate) fn read_at(parts: &[&str]) -> Option<String> {
    fs::read_to_string(at(parts)).ok().map(|value| value.trim().to_owned())
}

/// Lets an interface of ours have IPv6 also where new ones have it off.
pub(crate) fn enable_ipv6(interface: &str) -> Result<(), LinkError> {
    let name = ["ipv6", "conf", interface, "disable_ipv6"];
    if read_at(&name).as_deref() == Some("1") { write_at(&name, "0") } else { Ok(()) }
}

/// The interfaces of this namespace that have parameters of IPv6, without those that stand for all.
fn interfaces() -> Vec<String> {
    let entries = fs::read_dir(at(&["ipv6", "conf"])).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !matches!(name.as_str(), "all" | "default" | "lo")).collect();
    names.sort();
    names
}

/// The interfaces that take routers' announcements as long as they forward nothing.
pub(crate) fn listening_to_routers() -> Vec<String> {
    let listens = |name: &String| {
        let is = |parameter, value| read_at(&["ipv6", "conf", name, parameter]).as_deref() == Some(value);
        is("accept_ra", "1") && is("forwarding", "0") && is("disable_ipv6", "0") && !name.starts_with("naru")
    };
    interfaces().into_iter().filter(listens).collect()
}

/// The interfaces that forward IPv6 although not all do.
pub(crate) fn forwarding_ipv6() -> Vec<String> {
    let forwards = |name: &String| read_at(&["ipv6", "conf", name, "forwarding"]).as_deref() == Some("1");
    interfaces().into_iter().filter(forwards).collect()
}

fn at(parts: &[&str]) -> PathBuf {
    parts.iter().fold(PathBuf::from("/proc/sys/net"), |path, part| path.join(part))
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}
