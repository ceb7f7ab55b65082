//! The image store through its public interface: archives, root file systems, registries.

#[path = "image/archives.rs"]
mod archives;
#[path = "image/engine.rs"]
mod engine;
#[path = "image/packing.rs"]
mod packing;
#[path = "image/peers.rs"]
mod peers;
#[path = "image/registry.rs"]
mod registry;
#[path = "image/rootfs.rs"]
mod rootfs;
#[path = "image/servers.rs"]
mod servers;
#[path = "image/support.rs"]
mod support;
