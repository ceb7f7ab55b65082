//! The kernel's own WireGuard.

use std::io;
use std::time::SystemTime;

use crate::netlink::{NetlinkError, Socket};

use super::message::{self, PeerChange};
use super::{Change, Keys, SeenDevice};

/// Peers of one message: an attribute's length has sixteen bits.
const AT_ONCE: usize = 128;
const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;

pub(crate) struct Kernel {
    generic: Socket,
    family: u16,
}

impl Kernel {
    /// Opens it; `ENOENT` where the kernel has no WireGuard. Asking for the family loads the module.
    pub fn open() -> Result<Self, NetlinkError> {
        let generic = Socket::generic()?;
        let replies = generic.dump(message::find_family())?;
        let family = replies.iter().find_map(message::parse_family);
        let family = family.ok_or_else(|| NetlinkError::Socket(io::Error::from_raw_os_error(ENOENT)))?;
        Ok(Self { generic, family })
    }

    /// Makes the link.
    pub fn create(&self, route: &Socket, mtu: u32) -> Result<(), NetlinkError> {
        match route.request(message::new_link(mtu)) {
            Err(error) if error.errno() == Some(EOPNOTSUPP) => {
                let why = "the kernel's WireGuard makes no links of its kind";
                Err(NetlinkError::Socket(io::Error::new(io::ErrorKind::Unsupported, why)))
            }
            other => other,
        }
    }

    /// What the device has; `None` when there is none, or one of another kind.
    pub fn read(&self) -> Result<Option<SeenDevice>, NetlinkError> {
        match self.generic.dump(message::get_device(self.family)) {
            Ok(replies) => Ok(Some(message::parse_device(&replies, SystemTime::now()))),
            Err(error) if matches!(error.errno(), Some(ENODEV | EOPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes changes, in order.
    pub fn change(&self, changes: &[Change]) -> Result<(), NetlinkError> {
        let mut peers: Vec<PeerChange<'_>> = Vec::new();
        for change in changes {
            match change {
                Change::Device { keys, key, port } => {
                    let stored = Keys::read(keys).map_err(|error| NetlinkError::Socket(io::Error::other(error)))?;
                    let missing = || NetlinkError::Socket(io::Error::other("the node's key is not in its file"));
                    let key = stored.find(key).ok_or_else(missing)?;
                    self.generic.request(message::set_device(self.family, key, *port))?;
                }
                Change::Peer { peer, aim } => peers.push(PeerChange::Set { peer, aim: *aim }),
                Change::Forget(key) => peers.push(PeerChange::Remove(key)),
            }
        }
        for some in peers.chunks(AT_ONCE) {
            self.generic.request(message::set_peers(self.family, some))?;
        }
        Ok(())
    }
}
