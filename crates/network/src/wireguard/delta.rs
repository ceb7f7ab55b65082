//! From what a device has to what it must have, purely.
//!
//! A peer that stays is left alone, whatever happens to others. Where a peer was last heard from counts more than where it
//! was expected (it may have moved, or sit behind address translation), unless it has not been heard for long, or is
//! expected elsewhere than before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{Change, PeerConfig, PublicKey, SeenDevice};

/// From when on a handshake is old: the next is due after two minutes of traffic.
const OLD: Duration = Duration::from_secs(135);

/// What to do before routes lead into the device, and what after they no longer do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub before: Vec<Change>,
    pub after: Vec<Change>,
}

/// The device as it must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub keys: &'a Path,
    pub key: PublicKey,
    pub port: u16,
    pub peers: &'a BTreeMap<PublicKey, PeerConfig>,
    /// Where the peers were expected before.
    pub expected: &'a BTreeMap<PublicKey, SocketAddr>,
}

pub(crate) fn changes(wanted: Wanted<'_>, seen: &SeenDevice) -> Changes {
    let mut changes = Changes::default();
    if seen.key != Some(wanted.key) || seen.port != wanted.port {
        changes.before.push(Change::Device { keys: wanted.keys.to_owned(), key: wanted.key, port: wanted.port });
    }
    for (key, peer) in wanted.peers {
        let Some(has) = seen.peers.get(key) else {
            changes.before.push(Change::Peer { peer: peer.clone(), aim: peer.endpoint.is_some() });
            continue;
        };
        let aim = peer.endpoint.is_some_and(|expected| {
            let elsewhere = has.config.endpoint != Some(expected);
            let moved = wanted.expected.get(key).is_some_and(|before| *before != expected);
            let silent = has.handshake.is_none_or(|age| age > OLD);
            elsewhere && (has.config.endpoint.is_none() || moved || silent)
        });
        let sorted = |peer: &PeerConfig| {
            let mut allowed = peer.allowed.clone();
            allowed.sort();
            (peer.keepalive, allowed)
        };
        if aim || sorted(peer) != sorted(&has.config) {
            changes.before.push(Change::Peer { peer: peer.clone(), aim });
        }
    }
    let gone = seen.peers.keys().filter(|key| !wanted.peers.contains_key(*key));
    changes.after = gone.map(|key| Change::Forget(*key)).collect();
    changes
}

#[cfg(test)]
mod tests {
    use super::super::SeenPeer;
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn peer(n: u8, endpoint: Option<&str>) -> PeerConfig {
        let allowed = vec![format!("10.42.{n}.0/24").parse().unwrap()];
        PeerConfig { key: key(n), endpoint: endpoint.map(|text| text.parse().unwrap()), keepalive: 0, allowed }
    }

    fn seen(config: PeerConfig, age: Option<u64>) -> SeenPeer {
        SeenPeer { config, handshake: age.map(Duration::from_secs), received: 0, sent: 0 }
    }

    fn device(peers: Vec<SeenPeer>) -> SeenDevice {
        let peers = peers.into_iter().map(|peer| (peer.config.key, peer)).collect();
        SeenDevice { key: Some(key(9)), port: 51820, peers }
    }

    fn run(wanted: &[PeerConfig], before: &[(u8, &str)], seen: &SeenDevice) -> Changes {
        let peers = wanted.iter().map(|peer| (peer.key, peer.clone())).collect();
        let expected = before.iter().map(|(n, at)| (key(*n), at.parse().unwrap())).collect();
        changes(Wanted { keys: Path::new("/k"), key: key(9), port: 51820, peers: &peers, expected: &expected }, seen)
    }

    #[test]
    fn who_stays_is_left_alone() {
        let (a, b) = (peer(1, Some("192.0.2.1:51820")), peer(2, Some("192.0.2.2:51820")));
        let has = device(vec![seen(a.clone(), Some(10)), seen(peer(3, None), Some(10))]);
        let changes = run(&[a, b.clone()], &[], &has);
        assert_eq!(changes.before, [Change::Peer { peer: b, aim: true }]);
        assert_eq!(changes.after, [Change::Forget(key(3))]);
    }

    #[test]
    fn a_new_key_or_port_changes_the_device_alone() {
        let a = peer(1, Some("192.0.2.1:51820"));
        let other = SeenDevice { key: Some(key(8)), ..device(vec![seen(a.clone(), Some(10))]) };
        let changes = run(&[a], &[], &other);
        assert_eq!(changes.before, [Change::Device { keys: "/k".into(), key: key(9), port: 51820 }]);
        assert!(changes.after.is_empty());
    }

    #[test]
    fn a_peer_that_was_heard_elsewhere_stays_there_while_it_is_heard() {
        let wanted = peer(1, Some("192.0.2.1:51820"));
        let roamed = peer(1, Some("203.0.113.7:40000"));
        let aims = |age: Option<u64>, before: &[(u8, &str)], roamed: &PeerConfig| {
            let changes = run(std::slice::from_ref(&wanted), before, &device(vec![seen(roamed.clone(), age)]));
            match changes.before.as_slice() {
                [] => false,
                [Change::Peer { aim: true, .. }] => true,
                other => panic!("{other:?}"),
            }
        };
        assert!(!aims(Some(30), &[(1, "192.0.2.1:51820")], &roamed));
        assert!(!aims(Some(30), &[], &roamed), "also when this process has just begun");
        assert!(aims(Some(200), &[], &roamed), "it was not heard for long");
        assert!(aims(None, &[], &roamed));
        assert!(aims(Some(30), &[(1, "192.0.2.9:51820")], &roamed), "its node has moved");
        assert!(aims(Some(30), &[], &peer(1, None)));
        assert!(!aims(None, &[], &wanted));
        let waits = run(&[peer(1, None)], &[], &device(vec![seen(roamed, Some(500))]));
        assert_eq!(waits, Changes::default(), "who has to come here is waited for");
    }

    #[test]
    fn other_addresses_or_another_pulse_are_set_without_moving_the_peer() {
        let mut wanted = peer(1, Some("192.0.2.1:51820"));
        wanted.keepalive = 25;
        let changes = run(&[wanted.clone()], &[], &device(vec![seen(peer(1, Some("203.0.113.7:4")), Some(1))]));
        assert_eq!(changes.before, [Change::Peer { peer: wanted, aim: false }]);
    }
}
