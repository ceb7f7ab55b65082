//! Which pod has which address on this node.
//!
//! Principle: one small file an address, named after it and holding the pod's uid, made by rename. The folder *is* the
//! table, so a crash at any instant leaves either an allocation or none, and adoption after a restart is a directory
//! listing. The alternative refused is one table file: rewritten for every pod, and lost as a whole when torn.
//! Files are not synced: after a power cut the pods and their namespaces are gone too, and get new addresses.
//!
//! Addresses are handed out round robin, so that one just released rests as long as possible before it is reused.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::{Ipv4Net, Ipv6Net};
use parking_lot::Mutex;

use crate::PodUid;

/// Why an address could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// Every address is taken.
    #[error(
        "no free pod address in {subnet}: all {used} usable addresses are taken; remove pods, or give the node a \
         larger pod subnet"
    )]
    Exhausted {
        /// The node's pod subnet.
        subnet: Ipv4Net,
        /// How many addresses pods may have, all of them in use.
        used: usize,
    },
    /// A pod asked for an address that another pod has.
    #[error("address {address} belongs to pod {holder}; ask for another one, or remove that pod first")]
    Taken {
        /// The address asked for.
        address: Ipv4Addr,
        /// Who has it.
        holder: PodUid,
    },
    /// A pod asked for an address that pods of this node cannot have.
    #[error("address {address} is not a usable pod address of {subnet}")]
    Outside {
        /// The address asked for.
        address: Ipv4Addr,
        /// The node's pod subnet.
        subnet: Ipv4Net,
    },
    /// The folder of allocations could not be read or written.
    #[error("cannot {what} the address table at {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// The node's allocator. All methods are quick and may be called from any thread.
#[derive(Debug)]
pub struct Ipam {
    dir: PathBuf,
    subnet: Ipv4Net,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_address: BTreeMap<Ipv4Addr, PodUid>,
    by_pod: HashMap<PodUid, Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

impl Ipam {
    /// Opens the table kept in `dir`, which is made when missing. Allocations outside `subnet` (from an earlier
    /// configuration) are kept until released, but never handed out again.
    pub fn open(dir: &Path, subnet: Ipv4Net) -> Result<Self, IpamError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| IpamError::Io { what, path, source }
        };
        fs::create_dir_all(dir).map_err(io("create", dir))?;
        let mut table = Table::default();
        let mut newest = None;
        for entry in fs::read_dir(dir).map_err(io("read", dir))? {
            let entry = entry.map_err(io("read", dir))?;
            let path = entry.path();
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse::<Ipv4Addr>().ok()) else {
                // A temporary file of a process that died before its rename.
                fs::remove_file(&path).ok();
                continue;
            };
            let uid = fs::read_to_string(&path).map_err(io("read", &path))?;
            if uid.is_empty() {
                fs::remove_file(&path).map_err(io("repair", &path))?;
                continue;
            }
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            if modified > newest {
                newest = modified;
                table.last = Some(address);
            }
            let uid = PodUid::from(uid);
            table.by_pod.insert(uid.clone(), address);
            table.by_address.insert(address, uid);
        }
        Ok(Self { dir: dir.to_owned(), subnet, table: Mutex::new(table) })
    }

    /// The address the node itself has inside its pod subnet: the first one, never given to a pod.
    pub fn gateway(&self) -> Ipv4Addr {
        gateway_of(self.subnet)
    }

    /// How many pods the subnet has room for.
    pub fn capacity(&self) -> usize {
        (1usize << (32 - self.subnet.prefix_len())).saturating_sub(3)
    }

    /// Gives `pod` an address; the one it already has, if any.
    pub fn allocate(&self, pod: &PodUid) -> Result<Ipv4Addr, IpamError> {
        let mut table = self.table.lock();
        if let Some(address) = table.by_pod.get(pod) {
            return Ok(*address);
        }
        let (first, last) = self.usable();
        let start = match table.last.map(u32::from) {
            Some(previous) if previous >= first && previous < last => previous + 1,
            _ => first,
        };
        let free = (start..=last)
            .chain(first..start)
            .map(Ipv4Addr::from)
            .find(|address| !table.by_address.contains_key(address))
            .ok_or(IpamError::Exhausted { subnet: self.subnet, used: self.capacity() })?;
        self.record(&mut table, pod, free)?;
        Ok(free)
    }

    /// Gives `pod` exactly `address`.
    pub fn allocate_exact(&self, pod: &PodUid, address: Ipv4Addr) -> Result<(), IpamError> {
        let (first, last) = self.usable();
        if !(first..=last).contains(&u32::from(address)) {
            return Err(IpamError::Outside { address, subnet: self.subnet });
        }
        let mut table = self.table.lock();
        match table.by_address.get(&address) {
            Some(holder) if holder == pod => Ok(()),
            Some(holder) => Err(IpamError::Taken { address, holder: holder.clone() }),
            None => {
                if let Some(other) = table.by_pod.get(pod).copied() {
                    self.forget(&mut table, pod, other)?;
                }
                self.record(&mut table, pod, address)
            }
        }
    }

    /// Takes `pod`'s address back. A pod without one is fine.
    pub fn release(&self, pod: &PodUid) -> Result<Option<Ipv4Addr>, IpamError> {
        let mut table = self.table.lock();
        let Some(address) = table.by_pod.get(pod).copied() else { return Ok(None) };
        self.forget(&mut table, pod, address)?;
        Ok(Some(address))
    }

    /// The address `pod` has.
    pub fn get(&self, pod: &PodUid) -> Option<Ipv4Addr> {
        self.table.lock().by_pod.get(pod).copied()
    }

    /// Every allocation, by address.
    pub fn allocations(&self) -> Vec<(Ipv4Addr, PodUid)> {
        self.table.lock().by_address.iter().map(|(address, pod)| (*address, pod.clone())).collect()
    }

    fn usable(&self) -> (u32, u32) {
        let network = u32::from(self.subnet.network());
        (network + 2, u32::from(self.subnet.broadcast()).saturating_sub(1))
    }

    fn record(&self, table: &mut Table, pod: &PodUid, address: Ipv4Addr) -> Result<(), IpamError> {
        let path = self.dir.join(address.to_string());
        let temporary = self.dir.join(format!(".{address}"));
        fs::write(&temporary, pod.as_str())
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|source| IpamError::Io { what: "write", path, source })?;
        table.by_address.insert(address, pod.clone());
        table.by_pod.insert(pod.clone(), address);
        table.last = Some(address);
        Ok(())
    }

    fn forget(&self, table: &mut Table, pod: &PodUid, address: Ipv4Addr) -> Result<(), IpamError> {
        let path = self.dir.join(address.to_string());
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IpamError::Io { what: "release an address in", path, source });
            }
            _ => {}
        }
        table.by_address.remove(&address);
        table.by_pod.remove(pod);
        Ok(())
    }
}

/// The IPv6 address of who has `address`: the node's block with the IPv4 address in its last 32 bits. So there is one
/// table of allocations, and each address can be read from the other.
pub fn second_address(block: Ipv6Net, address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(block.network()) | u128::from(u32::from(address)))
}

/// The node's own address inside `subnet`.
pub(crate) fn gateway_of(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

#[cfg(test)]
mod tests;
