//! The encrypted device: made, changed and let go of around the routes that lead into it.
//!
//! Fail closed: whatever goes wrong here, the routes of peers that are to be encrypted are not made, and those there were
//! go ([`without`]): their addresses are then unreachable.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::time::Duration;

use crate::netlink::{NetlinkError, Socket};
use crate::wireguard::{self, Change, Engine, EngineKind, INTERFACE, PeerConfig, PublicKey, Wanted};

use super::{Encryption, Path, Plan, message};

const ENODEV: i32 = 19;

/// The device as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedDevice {
    /// This node's key.
    pub key: PublicKey,
    /// Its UDP port.
    pub port: u16,
    /// Its largest packet.
    pub mtu: u32,
    /// The peers behind it.
    pub peers: BTreeMap<PublicKey, PeerConfig>,
    /// Their names.
    pub names: BTreeMap<PublicKey, String>,
}

/// An encrypted peer as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncryptedPeer {
    /// Who encrypts on this side.
    pub engine: EngineKind,
    /// Where it was last heard from, or is expected.
    pub endpoint: Option<SocketAddr>,
    /// How long ago keys were last agreed on; never when `None`.
    pub handshake: Option<Duration>,
}

/// Where peers were expected when it was last looked, so that one whose node has moved is sent to its new address at once.
pub type Expected = BTreeMap<PublicKey, SocketAddr>;

/// What is left to do once no route leads to it any more.
#[derive(Default)]
pub(super) struct Rest {
    engine: Option<Engine>,
    forget: Vec<Change>,
    /// The device itself.
    close: bool,
    pub changed: usize,
}

/// Makes the device and its peers what the plan says. An error means that nothing may be led into it.
pub(super) fn prepare(
    socket: &Socket,
    encryption: &Encryption,
    plan: &Plan,
    expected: &mut Expected,
) -> Result<Rest, NetlinkError> {
    let link = find(socket)?;
    let mut rest = Rest::default();
    let Some(device) = &plan.encrypted else {
        expected.clear();
        rest.close = link.is_some();
        if link.is_some() {
            rest.engine = Some(Engine::choose(encryption.preference, &encryption.helper));
        }
        return Ok(rest);
    };
    let Some((keys, key)) = &encryption.keys else { return Ok(rest) };
    let engine = Engine::choose(encryption.preference, &encryption.helper);
    let mut link = link;
    if link.as_ref().is_some_and(|link| link.kind != engine.link_kind()) {
        // Of the other engine, or somebody else's idea: the name is ours.
        wireguard::close_userspace(&encryption.helper);
        socket.request(message::delete_link(INTERFACE))?;
        link = None;
        rest.changed += 1;
    }
    let mut seen = if link.is_some() { engine.read()? } else { None };
    if seen.is_none() {
        if let Err(error) = engine.open(socket, device.mtu) {
            if link.is_none() {
                return Err(error);
            }
            // One that cannot be taken up: made by another version, or held by somebody.
            socket.request(message::delete_link(INTERFACE))?;
            engine.open(socket, device.mtu)?;
        }
        rest.changed += 1;
        seen = engine.read()?;
        link = find(socket)?;
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{INTERFACE}/addr_gen_mode"), "1");
    }
    let wanted = Wanted { keys, key: *key, port: device.port, peers: &device.peers, expected };
    let changes = wireguard::changes(wanted, &seen.unwrap_or_default());
    engine.change(&changes.before)?;
    rest.changed += changes.before.len() + changes.after.len();
    if link.is_none_or(|link| !link.up || link.mtu != device.mtu) {
        socket.request(message::adjust_link(INTERFACE, device.mtu))?;
        rest.changed += 1;
    }
    let endpoints = device.peers.iter().filter_map(|(key, peer)| Some((*key, peer.endpoint?)));
    *expected = endpoints.collect();
    rest.forget = changes.after;
    rest.engine = Some(engine);
    Ok(rest)
}

impl Rest {
    /// Lets go of peers that are gone, and of the device when nobody is behind it.
    pub fn finish(&self, socket: &Socket) -> Result<(), NetlinkError> {
        let Some(engine) = &self.engine else { return Ok(()) };
        if self.close {
            let closed = engine.close();
            return match socket.request(message::delete_link(INTERFACE)) {
                Err(error) if error.errno() != Some(ENODEV) => Err(error),
                // A helper that is not there has nothing open.
                _ => closed.or(Ok(())),
            };
        }
        engine.change(&self.forget)
    }

    /// How the peers are, by name.
    pub fn peers(&self, plan: &Plan) -> BTreeMap<String, EncryptedPeer> {
        let (Some(engine), Some(device)) = (&self.engine, &plan.encrypted) else { return BTreeMap::new() };
        let seen = engine.read().ok().flatten().unwrap_or_default();
        let peers = device.names.iter().map(|(key, name)| {
            let peer = seen.peers.get(key);
            let endpoint = peer.and_then(|peer| peer.config.endpoint);
            let handshake = peer.and_then(|peer| peer.handshake);
            (name.clone(), EncryptedPeer { engine: engine.kind(), endpoint, handshake })
        });
        peers.collect()
    }
}

/// The plan without anything that leads into the device: for when there is none.
pub(super) fn without(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.routes.retain(|_, route| !matches!(route.path, Path::Encrypted { .. }));
    plan
}

/// The device of our name.
pub(super) fn find(socket: &Socket) -> Result<Option<message::Link>, NetlinkError> {
    match socket.dump(message::get_link(INTERFACE)) {
        Ok(replies) => Ok(replies.iter().find_map(message::parse_link)),
        Err(error) if error.errno() == Some(ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the device, for good.
pub(super) fn remove(socket: &Socket) -> Result<(), NetlinkError> {
    match find(socket)? {
        Some(_) => socket.request(message::delete_link(INTERFACE)),
        None => Ok(()),
    }
}

/// Where the keys are kept in the folder of the node's network.
pub(super) fn forget_keys(dir: &FilePath) {
    let _ = std::fs::remove_file(dir.join("wireguard.key"));
}
