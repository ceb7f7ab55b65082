//! Addresses of Services and the ranges that they come from.

use serde::Deserialize;

use super::{Condition, Meta};

/// An IPAddress: its name is the address.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IpAddress {
    /// Metadata.
    pub metadata: Meta,
    /// Whose it is.
    pub spec: IpAddressSpec,
}

/// Whose an address is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpAddressSpec {
    /// The object that has it.
    pub parent_ref: ParentRef,
}

/// The object that has an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ParentRef {
    /// Its group; empty for Services.
    pub group: String,
    /// The plural of its kind.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A ServiceCIDR: one range, or one of each family.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceCidr {
    /// Metadata.
    pub metadata: Meta,
    /// The ranges.
    pub spec: ServiceCidrSpec,
    /// What is seen.
    pub status: ServiceCidrStatus,
}

/// The ranges of a ServiceCIDR.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    /// `address/length`.
    pub cidrs: Vec<String>,
}

/// What is seen of a ServiceCIDR.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceCidrStatus {
    /// Whether Services get addresses from it.
    pub conditions: Vec<Condition>,
}
