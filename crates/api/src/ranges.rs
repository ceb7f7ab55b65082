//! The ranges of addresses of a cluster: one of IPv4, and one of IPv6 where the cluster has both families.
//!
//! Written as one word, `10.42.0.0/16,fd00:42::/48`, in options and in what nodes are told; one family reads and writes
//! as it always did. A node's IPv6 block follows from its IPv4 block, so there is one table of what is given: the n-th
//! block of the one range belongs with the n-th of the other.

use std::fmt;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The prefix of a node's IPv6 block.
const NODE_PREFIX: u8 = 64;
/// The prefix of a node's IPv4 block, in ranges that have room for several.
const NODE_PREFIX_V4: u8 = 24;

/// A range of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ranges {
    /// IPv4.
    pub v4: Ipv4Net,
    /// IPv6, where there is such.
    pub v6: Option<Ipv6Net>,
}

/// A text that is no ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangesError {
    /// One of its parts is no range.
    #[error(
        "{0:?} is no range of addresses: expected such as 10.42.0.0/16, or 10.42.0.0/16,fd00:42::/48 for both families"
    )]
    Unreadable(String),
    /// It has not exactly one range of IPv4 and at most one of IPv6.
    #[error("{0:?}: expected one range of IPv4, and one of IPv6 at most")]
    Families(String),
}

impl From<Ipv4Net> for Ranges {
    fn from(v4: Ipv4Net) -> Self {
        Self { v4, v6: None }
    }
}

impl FromStr for Ranges {
    type Err = RangesError;

    fn from_str(text: &str) -> Result<Self, RangesError> {
        let (mut v4, mut v6) = (None, None);
        for part in text.split(',') {
            let range = part.trim().parse::<IpNet>().map_err(|_| RangesError::Unreadable(part.trim().to_owned()))?;
            let taken = match range {
                IpNet::V4(range) => v4.replace(range.trunc()).is_some(),
                IpNet::V6(range) => v6.replace(range.trunc()).is_some(),
            };
            if taken {
                return Err(RangesError::Families(text.to_owned()));
            }
        }
        let v4 = v4.ok_or_else(|| RangesError::Families(text.to_owned()))?;
        Ok(Self { v4, v6 })
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v6 {
            Some(v6) => write!(f, "{},{v6}", self.v4),
            None => write!(f, "{}", self.v4),
        }
    }
}

impl TryFrom<String> for Ranges {
    type Error = RangesError;

    fn try_from(text: String) -> Result<Self, RangesError> {
        text.parse()
    }
}

impl From<Ranges> for String {
    fn from(ranges: Ranges) -> Self {
        ranges.to_string()
    }
}

impl Ranges {
    /// Whether every node can have an IPv6 block beside its IPv4 block, as pods' ranges need; says what it takes if not.
    ///
    /// # Errors
    /// The prefix that would do.
    pub fn fits_nodes(&self) -> Result<(), u8> {
        let Some(v6) = self.v6 else { return Ok(()) };
        let bits = NODE_PREFIX_V4.saturating_sub(self.v4.prefix_len());
        let needed = NODE_PREFIX - bits;
        if v6.prefix_len() <= needed { Ok(()) } else { Err(needed) }
    }

    /// The IPv6 block of the node that has `block` of the IPv4 range.
    pub fn second_block(&self, block: Ipv4Net) -> Option<Ipv6Net> {
        let v6 = self.v6.filter(|_| self.v4.contains(&block) && self.fits_nodes().is_ok())?;
        let index = (u32::from(block.network()) - u32::from(self.v4.network())) >> (32 - u32::from(NODE_PREFIX_V4));
        let network = u128::from(v6.network()) | u128::from(index) << 64;
        Ipv6Net::new(network.into(), NODE_PREFIX).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> Ranges {
        text.parse().unwrap()
    }

    #[test]
    fn one_word_holds_both() {
        for text in ["10.42.0.0/16", "10.42.0.0/16,fd00:42::/48"] {
            assert_eq!(ranges(text).to_string(), text);
            assert_eq!(serde_json::from_str::<Ranges>(&format!("{text:?}")).unwrap(), ranges(text));
        }
        assert_eq!(ranges("fd00:42::1/48, 10.42.3.0/16"), ranges("10.42.0.0/16,fd00:42::/48"));
        for text in ["", "10.42.0.0", "fd00::/48", "10.42.0.0/16,10.43.0.0/16", "10.42.0.0/16,fd00::/48,fd01::/48"] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    #[test]
    fn blocks_of_both_families_belong_together() {
        let both = ranges("10.42.0.0/16,fd00:42::/48");
        let second = |block: &str| both.second_block(block.parse().unwrap()).map(|block| block.to_string());
        assert_eq!(second("10.42.0.0/24").as_deref(), Some("fd00:42::/64"));
        assert_eq!(second("10.42.255.0/24").as_deref(), Some("fd00:42:0:ff::/64"));
        assert_eq!(second("10.43.0.0/24"), None, "it is none of the range");
        assert_eq!(ranges("10.42.0.0/16").second_block("10.42.0.0/24".parse().unwrap()), None);
        assert_eq!(ranges("10.42.0.0/16,fd00:42::/57").fits_nodes(), Err(56));
        assert_eq!(ranges("10.42.0.0/26,fd00:42::/64").fits_nodes(), Ok(()));
    }
}
