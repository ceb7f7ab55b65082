//! Typed names. Both kinds become parts of paths and of cgroup names, so their alphabet is checked once, here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A pod's identity: 1–63 letters, digits, `-`, `_` or `.`, not starting with `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodUid(String);

/// A container's name within its pod; the same alphabet as [`PodUid`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

/// A name that cannot be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?}: expected 1 to 63 letters, digits, '-', '_' or '.', not starting with '.'")]
pub struct InvalidName {
    what: &'static str,
    name: String,
}

fn check(what: &'static str, name: String) -> Result<String, InvalidName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=63).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
        Ok(name)
    } else {
        Err(InvalidName { what, name })
    }
}

macro_rules! name {
    ($type:ident, $what:literal) => {
        impl $type {
            /// Checks the alphabet and length.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                check($what, name.into()).map(Self)
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = InvalidName;
            fn try_from(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(PodUid, "pod uid");
name!(ContainerName, "container name");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_leave_its_folder() {
        for bad in ["", ".", "..", "a/b", ".hidden", "a b", &"x".repeat(64)] {
            assert!(PodUid::new(bad).is_err(), "{bad:?} was accepted");
            assert!(ContainerName::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(PodUid::new("0b2c-7").unwrap().as_str(), "0b2c-7");
    }
}
