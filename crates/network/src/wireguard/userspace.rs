//! WireGuard in this program: a tun device, UDP sockets, and threads between them.
//!
//! It lives in the node's helper process, which outlives the daemon. Whatever it is told is remembered with everything else
//! that process knows, except the private key: that is read from the node's own file each time.

mod carry;
mod offload;
mod peers;
mod tun;
mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::helper::Reply;

use super::engine::Ask;
use super::{Change, Keys, PeerConfig, PublicKey, SeenDevice};
use carry::Shared;
use peers::Table;

/// More threads than this gain nothing that a node's wire could carry.
const THREADS: usize = 4;

/// What is remembered of a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    open: bool,
    device: Option<Device>,
    peers: Vec<PeerConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Device {
    keys: PathBuf,
    key: PublicKey,
    port: u16,
}

/// The tunnel of this process, open or not.
pub(crate) struct Userspace {
    state: Mutex<State>,
    /// Called when a peer was heard from elsewhere: what is remembered should be written again.
    roamed: Arc<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    device: Option<Device>,
    queues: Vec<Arc<File>>,
    sockets: Vec<Arc<UdpSocket>>,
    running: Option<Running>,
    table: Table,
}

struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Userspace {
    pub fn new(roamed: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { state: Mutex::default(), roamed }
    }

    /// Does what is asked. Blocks: agreeing on keys with thousands of new peers is work.
    pub fn answer(&self, question: Ask) -> Reply {
        let mut state = self.state.lock();
        match question {
            Ask::Open => state.open(&self.roamed).into(),
            Ask::Read => Reply::Tunnel(state.read()),
            Ask::Change(changes) => state.change(&changes, &self.roamed).into(),
            Ask::Close => {
                *state = State::default();
                Reply::Done
            }
        }
    }

    /// Everything there is to remember.
    pub fn told(&self) -> Told {
        let state = self.state.lock();
        let peers = state.table.peers.values().map(|peer| peer.seen().config).collect();
        Told { open: !state.queues.is_empty(), device: state.device.clone(), peers }
    }

    /// Takes up what an earlier process was told, and greets every peer.
    pub fn restore(&self, told: Told) -> Result<(), String> {
        let Some(device) = told.device.filter(|_| told.open) else { return Ok(()) };
        let mut state = self.state.lock();
        state.open(&self.roamed)?;
        let peers = told.peers.into_iter().map(|peer| Change::Peer { aim: true, peer });
        let Device { keys, key, port } = device;
        let changes: Vec<Change> = std::iter::once(Change::Device { keys, key, port }).chain(peers).collect();
        state.change(&changes, &self.roamed)
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS))
}

impl State {
    fn is_whole(&self) -> bool {
        let broken = |running: &Running| running.shared.broken.load(Ordering::Relaxed);
        !self.queues.is_empty() && !self.running.as_ref().is_some_and(broken)
    }

    fn open(&mut self, roamed: &Arc<dyn Fn() + Send + Sync>) -> Result<(), String> {
        if self.is_whole() && exists() {
            return Ok(());
        }
        self.running = None;
        // First the old ones: the device knows only so many.
        self.queues.clear();
        self.queues = tun::open(threads()).map_err(|error| error.to_string())?.into_iter().map(Arc::new).collect();
        self.run(roamed)
    }

    fn read(&self) -> Option<SeenDevice> {
        if !self.is_whole() || !exists() {
            return None;
        }
        let peers: BTreeMap<_, _> = self.table.peers.iter().map(|(key, peer)| (*key, peer.seen())).collect();
        let device = self.device.as_ref();
        Some(SeenDevice { key: device.map(|d| d.key), port: device.map_or(0, |d| d.port), peers })
    }

    fn change(&mut self, changes: &[Change], roamed: &Arc<dyn Fn() + Send + Sync>) -> Result<(), String> {
        let mut new = Vec::new();
        for change in changes {
            match change {
                Change::Device { keys, key, port } => {
                    self.set_device(Device { keys: keys.clone(), key: *key, port: *port }, roamed)?;
                    new.extend(self.table.peers.keys().copied());
                }
                Change::Peer { peer, aim } => {
                    if self.table.set(peer, *aim) || *aim {
                        new.push(peer.key);
                    }
                }
                Change::Forget(key) => self.table.forget(key),
            }
        }
        if let Some(running) = &self.running {
            running.shared.table.store(Arc::new(self.table.clone()));
        }
        if let Some(socket) = self.sockets.first() {
            for peer in new.iter().filter_map(|key| self.table.peers.get(key)) {
                carry::greet(peer, socket);
            }
        }
        Ok(())
    }

    fn set_device(&mut self, device: Device, roamed: &Arc<dyn Fn() + Send + Sync>) -> Result<(), String> {
        let keys = Keys::read(&device.keys).map_err(|error| crate::chain(&error))?;
        let key = keys.find(&device.key).ok_or_else(|| "the node's key is not in its file".to_owned())?;
        if self.device.as_ref().map(|before| before.port) != Some(device.port) {
            self.running = None;
            self.sockets.clear();
            let sockets = wire::open(device.port, threads()).map_err(|error| error.to_string())?;
            self.sockets = sockets.into_iter().map(Arc::new).collect();
        }
        self.table.rekey(key.clone());
        self.device = Some(device);
        self.run(roamed)
    }

    /// Starts the threads, once there is everything they need.
    fn run(&mut self, roamed: &Arc<dyn Fn() + Send + Sync>) -> Result<(), String> {
        if self.queues.is_empty() || self.sockets.is_empty() || self.running.is_some() {
            return Ok(());
        }
        let shared = Arc::new(Shared {
            table: ArcSwap::from_pointee(self.table.clone()),
            stop: tun::stop_signal().map_err(|error| error.to_string())?,
            broken: AtomicBool::new(false),
            roamed: AtomicBool::new(false),
        });
        let mut running = Running { shared: shared.clone(), threads: Vec::new() };
        let mut spawn = |name: &str, body: Box<dyn FnOnce() + Send>| -> Result<(), String> {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
            running.threads.push(thread.map_err(|error| error.to_string())?);
            Ok(())
        };
        for (queue, socket) in self.queues.iter().zip(&self.sockets) {
            let (state, file, wire) = (shared.clone(), queue.clone(), socket.clone());
            spawn("naru-wg-out", Box::new(move || carry::outward(&state, &file, &wire)))?;
            let (state, file, wire) = (shared.clone(), queue.clone(), socket.clone());
            spawn("naru-wg-in", Box::new(move || carry::inward(&state, &wire, &file)))?;
        }
        let (wire, told) = (self.sockets[0].clone(), roamed.clone());
        spawn("naru-wg-clock", Box::new(move || carry::clock(&shared, &wire, &*told)))?;
        self.running = Some(running);
        Ok(())
    }
}

/// Whether the device is still there: a queue does not tell when somebody removes it.
fn exists() -> bool {
    std::path::Path::new("/proc/sys/net/ipv4/conf").join(super::INTERFACE).exists()
}
