//! What is the same for the ways of a whole cluster, as its servers say.
//!
//! A server writes it on its own Node, which every node follows anyway: so all learn of a change at once, and together with
//! the nodes that it concerns. The alternative refused is a file that each node keeps: one that was away would go on in
//! plain text by what it remembers.

use serde::{Deserialize, Serialize};

use crate::model::Tunnel;
use crate::wireguard;

/// The annotation's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterNetwork {
    /// Whether everything between nodes is encrypted.
    pub encrypt: bool,
    /// The number of the VXLAN tunnel.
    pub vxlan_id: u32,
    /// Its UDP port.
    pub vxlan_port: u16,
    /// The UDP port of encrypted packets.
    pub wireguard_port: u16,
    /// The largest packet of pods, where not even that passes everywhere: less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl Default for ClusterNetwork {
    fn default() -> Self {
        let Tunnel { vni, port } = Tunnel::default();
        Self { encrypt: false, vxlan_id: vni, vxlan_port: port, wireguard_port: wireguard::DEFAULT_PORT, mtu: None }
    }
}

impl ClusterNetwork {
    /// Reads the annotation. What cannot be understood may have asked for encryption.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or(Self { encrypt: true, ..Self::default() })
    }

    /// The VXLAN tunnel.
    pub fn tunnel(&self) -> Tunnel {
        Tunnel { vni: self.vxlan_id, port: self.vxlan_port }
    }

    /// What several servers say together, the oldest first: one that asks for encryption is enough.
    pub fn of(said: impl IntoIterator<Item = Self>) -> Self {
        said.into_iter()
            .reduce(|first, other| Self { encrypt: first.encrypt || other.encrypt, ..first })
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_encrypts() {
        assert_eq!(ClusterNetwork::parse("{}"), ClusterNetwork::default());
        let all =
            ClusterNetwork { encrypt: true, vxlan_id: 7, vxlan_port: 4789, wireguard_port: 51000, mtu: Some(1300) };
        assert_eq!(ClusterNetwork::parse(&serde_json::to_string(&all).unwrap()), all);
        assert!(ClusterNetwork::parse("{\"encrypt\":\"perhaps\"}").encrypt && ClusterNetwork::parse("?").encrypt);
        assert!(!ClusterNetwork::parse("{\"later\":1}").encrypt);
    }

    #[test]
    fn one_server_that_encrypts_is_enough_and_the_oldest_counts() {
        let old = ClusterNetwork { mtu: Some(1400), ..ClusterNetwork::default() };
        let new = ClusterNetwork { encrypt: true, mtu: Some(9000), ..ClusterNetwork::default() };
        assert_eq!(ClusterNetwork::of([old, new]), ClusterNetwork { encrypt: true, ..old });
        assert_eq!(ClusterNetwork::of([]), ClusterNetwork::default());
    }
}
