//! The peers of a tunnel, and how a packet's peer is found.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use boringtun::noise::Tunn;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::super::{PeerConfig, PrivateKey, PublicKey, SeenPeer};

/// Handshakes a second before senders have to prove where they are. Each is counted twice: on arrival, and by its peer.
const HANDSHAKES: u64 = 400;

/// A peer at work.
pub(super) struct Peer {
    pub key: PublicKey,
    pub keepalive: u16,
    pub allowed: Vec<IpNet>,
    pub index: u32,
    /// Shared by what a changed peer was before and is now.
    pub tunnel: Arc<Mutex<Tunn>>,
    pub endpoint: Arc<Mutex<Option<SocketAddr>>>,
    received: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

impl Peer {
    fn new(own: &Own, config: &PeerConfig, index: u32) -> Self {
        let key = x25519::PublicKey::from(config.key.0);
        let keepalive = Some(config.keepalive).filter(|seconds| *seconds > 0);
        let limiter = Some(own.limiter.clone());
        let tunnel = Tunn::new(own.key.secret(), key, None, keepalive, index, limiter);
        Self {
            key: config.key,
            keepalive: config.keepalive,
            allowed: config.allowed.clone(),
            index,
            tunnel: Arc::new(Mutex::new(tunnel)),
            endpoint: Arc::new(Mutex::new(config.endpoint)),
            received: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// The same peer with other addresses behind it: nothing of what was agreed on is lost.
    fn with(&self, config: &PeerConfig) -> Self {
        Self {
            key: self.key,
            keepalive: self.keepalive,
            allowed: config.allowed.clone(),
            index: self.index,
            tunnel: self.tunnel.clone(),
            endpoint: self.endpoint.clone(),
            received: self.received.clone(),
            sent: self.sent.clone(),
        }
    }

    /// Whether a packet from this address can be this peer's.
    pub fn has(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|block| block.contains(&address))
    }

    pub fn count(&self, received: usize, sent: usize) {
        self.received.fetch_add(received as u64, Ordering::Relaxed);
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
    }

    pub fn seen(&self) -> SeenPeer {
        // One after the other: whoever carries packets takes the tunnel first.
        let endpoint = *self.endpoint.lock();
        let handshake = self.tunnel.lock().time_since_last_handshake();
        let (key, keepalive, allowed) = (self.key, self.keepalive, self.allowed.clone());
        SeenPeer {
            config: PeerConfig { key, endpoint, keepalive, allowed },
            handshake,
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

/// This node's own key.
#[derive(Clone)]
pub(super) struct Own {
    pub key: PrivateKey,
    pub secret: x25519::StaticSecret,
    pub public: x25519::PublicKey,
    pub limiter: Arc<RateLimiter>,
}

impl Own {
    pub fn new(key: PrivateKey) -> Self {
        let secret = key.secret();
        let public = x25519::PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES));
        Self { key, secret, public, limiter }
    }
}

/// All peers at one moment. Threads look at it without waiting for anybody who changes it.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub own: Option<Own>,
    pub peers: BTreeMap<PublicKey, Arc<Peer>>,
    by_index: HashMap<u32, Arc<Peer>>,
    /// The first address of each block, with its last one. Of two blocks that meet, the newer counts.
    blocks: BTreeMap<IpAddr, (IpAddr, Arc<Peer>)>,
    next: u32,
}

impl Table {
    pub fn by_index(&self, index: u32) -> Option<&Arc<Peer>> {
        self.by_index.get(&(index >> 8))
    }

    /// The peer behind which an address is.
    pub fn towards(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        let (_, (last, peer)) = self.blocks.range(..=address).next_back()?;
        (address <= *last && address.is_ipv4() == last.is_ipv4()).then_some(peer)
    }

    /// Takes another key; what was agreed on with the one before is void.
    pub fn rekey(&mut self, key: PrivateKey) {
        if self.own.as_ref().is_some_and(|own| own.key == key) {
            return;
        }
        let own = Own::new(key);
        for peer in self.peers.values() {
            let limiter = Some(own.limiter.clone());
            peer.tunnel.lock().set_static_private(own.secret.clone(), own.public, limiter);
        }
        self.own = Some(own);
    }

    /// Adds a peer, or changes one. Another pulse makes it anew, everything else leaves what was agreed on. Says whether
    /// keys are to be agreed on.
    pub fn set(&mut self, config: &PeerConfig, aim: bool) -> bool {
        let Some(own) = self.own.clone() else { return false };
        let known = self.peers.get(&config.key).filter(|peer| peer.keepalive == config.keepalive).cloned();
        let endpoint = match self.peers.get(&config.key) {
            Some(peer) if !aim => *peer.endpoint.lock(),
            _ => config.endpoint,
        };
        self.forget(&config.key);
        let fresh = known.is_none();
        let peer = Arc::new(match known {
            Some(peer) => peer.with(config),
            None => {
                self.next = self.next.wrapping_add(1) & 0x00ff_ffff;
                while self.by_index.contains_key(&self.next) {
                    self.next = self.next.wrapping_add(1) & 0x00ff_ffff;
                }
                Peer::new(&own, config, self.next)
            }
        });
        *peer.endpoint.lock() = endpoint;
        for block in &peer.allowed {
            self.blocks.insert(block.network(), (block.broadcast(), peer.clone()));
        }
        self.by_index.insert(peer.index, peer.clone());
        self.peers.insert(config.key, peer);
        fresh
    }

    pub fn forget(&mut self, key: &PublicKey) {
        if let Some(peer) = self.peers.remove(key) {
            self.by_index.remove(&peer.index);
            self.blocks.retain(|_, (_, other)| other.key != *key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(n: u8, blocks: &[&str]) -> PeerConfig {
        let allowed = blocks.iter().map(|block| block.parse().unwrap()).collect();
        let endpoint = Some(SocketAddr::from(([192, 0, 2, n], 51820)));
        PeerConfig { key: PublicKey([n; 32]), endpoint, keepalive: 0, allowed }
    }

    fn name(table: &Table, address: &str) -> Option<u8> {
        table.towards(address.parse().unwrap()).map(|peer| peer.key.0[0])
    }

    #[test]
    fn a_packet_finds_its_peer() {
        let mut table = Table::default();
        table.rekey(PrivateKey::generate().unwrap());
        table.set(&config(1, &["10.42.1.0/24", "fd00:1::/64"]), true);
        table.set(&config(2, &["10.42.2.0/24", "fd00:2::/64"]), true);
        for (address, peer) in [
            ("10.42.1.0", Some(1)),
            ("10.42.1.255", Some(1)),
            ("10.42.2.7", Some(2)),
            ("10.42.3.0", None),
            ("10.42.0.255", None),
            ("255.255.255.255", None),
            ("fd00:1::9", Some(1)),
            ("fd00:2::9", Some(2)),
            ("fd00:3::", None),
            ("::1", None),
        ] {
            assert_eq!(name(&table, address), peer, "{address}");
        }
        table.set(&config(1, &["10.42.9.0/24"]), false);
        assert_eq!((name(&table, "10.42.1.1"), name(&table, "10.42.9.1")), (None, Some(1)));
        table.forget(&PublicKey([1; 32]));
        assert_eq!((name(&table, "10.42.9.1"), name(&table, "10.42.2.1")), (None, Some(2)));
    }

    #[test]
    fn a_peer_keeps_what_was_agreed_on_and_where_it_was_heard() {
        let mut table = Table::default();
        table.rekey(PrivateKey::generate().unwrap());
        table.set(&config(1, &["10.42.1.0/24"]), true);
        let before = table.peers[&PublicKey([1; 32])].clone();
        let roamed = Some(SocketAddr::from(([203, 0, 113, 9], 4)));
        *before.endpoint.lock() = roamed;
        table.set(&config(1, &["10.42.5.0/24"]), false);
        let after = &table.peers[&PublicKey([1; 32])];
        assert!(Arc::ptr_eq(&before.tunnel, &after.tunnel) && *after.endpoint.lock() == roamed);
        assert!(table.by_index(before.index << 8 | 3).is_some());
        table.set(&config(1, &["10.42.5.0/24"]), true);
        assert_eq!(*table.peers[&PublicKey([1; 32])].endpoint.lock(), config(1, &[]).endpoint);
        table.set(&PeerConfig { keepalive: 25, ..config(1, &["10.42.5.0/24"]) }, false);
        assert!(!Arc::ptr_eq(&before.tunnel, &table.peers[&PublicKey([1; 32])].tunnel));
    }
}
