//! Capabilities by name, and the small set that containers start with.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One capability, by its kernel number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

/// A set of capabilities. It is written as a list of names without the `CAP_` prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Capabilities(u64);

/// A name that is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}: expected a name such as NET_ADMIN (see capabilities(7)) or ALL")]
pub struct UnknownCapability(String);

/// capabilities(7), in kernel order.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker and the container runtimes of Kubernetes give by default.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

impl Capability {
    /// The kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name without `CAP_`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    /// Accepts `NET_ADMIN`, `CAP_NET_ADMIN` and either in lower case, as Docker does.
    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let at = NAMES.iter().position(|n| *n == name).ok_or_else(|| UnknownCapability(text.to_owned()))?;
        Ok(Self(at as u8))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Capabilities {
    /// No capability at all.
    pub const NONE: Self = Self(0);
    /// Every capability that this program knows of.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The default set of a container.
    pub fn container_default() -> Self {
        let mut set = Self::NONE;
        for (number, name) in NAMES.iter().enumerate() {
            if DEFAULT.contains(name) {
                set.0 |= 1 << number;
            }
        }
        set
    }

    /// Applies `cap_add` and `cap_drop` lists to the default set, as Docker and Kubernetes do: `ALL` in `drop` empties the
    /// set before `add`, `ALL` in `add` fills it, single drops win over a general add.
    pub fn adjusted<S: AsRef<str>>(add: &[S], drop: &[S]) -> Result<Self, UnknownCapability> {
        let is_all = |s: &S| s.as_ref().eq_ignore_ascii_case("ALL");
        let mut set = if add.iter().any(is_all) {
            Self::ALL
        } else if drop.iter().any(is_all) {
            Self::NONE
        } else {
            Self::container_default()
        };
        for name in drop.iter().filter(|n| !is_all(n)) {
            set.remove(name.as_ref().parse()?);
        }
        for name in add.iter().filter(|n| !is_all(n)) {
            set.insert(name.as_ref().parse()?);
        }
        Ok(set)
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability.0;
    }

    /// Takes one away.
    pub fn remove(&mut self, capability: Capability) {
        self.0 &= !(1 << capability.0);
    }

    /// Whether the set holds `capability`.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// What both sets hold.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What this set holds and the other does not.
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// From the kernel's bit mask; bits without a name are dropped.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The members in kernel order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability).filter(move |c| self.contains(*c))
    }
}

impl TryFrom<Vec<String>> for Capabilities {
    type Error = UnknownCapability;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownCapability> {
        let mut set = Self::NONE;
        for name in names {
            set.insert(name.parse()?);
        }
        Ok(set)
    }
}

impl From<Capabilities> for Vec<String> {
    fn from(set: Capabilities) -> Self {
        set.iter().map(|c| c.name().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_set_is_dockers() {
        assert_eq!(Capabilities::container_default().bits(), 0xa80425fb);
    }

    #[test]
    fn add_and_drop_compose_as_docker_does() {
        let only = Capabilities::adjusted(&["net_bind_service"], &["ALL"]).unwrap();
        assert_eq!(only.iter().map(Capability::name).collect::<Vec<_>>(), ["NET_BIND_SERVICE"]);
        let all_but = Capabilities::adjusted(&["ALL"], &["CAP_SYS_ADMIN"]).unwrap();
        assert!(!all_but.contains("SYS_ADMIN".parse().unwrap()) && all_but.contains("BPF".parse().unwrap()));
        assert!(Capabilities::adjusted(&["NET_ADMIM"], &[]).is_err());
    }
}
