//! The node's own record of what it changed on this machine, and how all of it is taken back.

use std::io;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::apply::remove_table;
use crate::firewall;
use crate::links::{HostLinks, Links};
use crate::{LinkError, peers, sysctl};

/// How the machine was before its first pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Whether it forwarded packets already.
    pub forwarding: bool,
    /// Its physical interfaces, when it did not: between them, nothing is forwarded now either.
    pub guarded: Vec<String>,
}

impl HostRecord {
    /// Whether this machine was made a node before.
    pub fn exists(dir: &Path) -> bool {
        path(dir).exists()
    }

    /// Reads the record kept in `dir`, or makes it from the machine as it is now. Call it before [`Links::open`].
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = path(dir);
        if let Ok(text) = std::fs::read(&path)
            && let Ok(record) = serde_json::from_slice(&text)
        {
            return Ok(record);
        }
        let forwarding = HostLinks::forwarding();
        let guarded = if forwarding { Vec::new() } else { Links::physical().map_err(io::Error::other)? };
        let record = Self { forwarding, guarded };
        std::fs::create_dir_all(dir)?;
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(&record)?)?;
        std::fs::rename(&temporary, &path)?;
        Ok(record)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("host.json")
}

/// Takes everything back that the network of a node put on this machine: rules, links, routes, exceptions in other
/// firewalls, and forwarding when it was off before. The helper is stopped through its socket first by the caller.
/// What cannot be taken back is said; the rest is done all the same.
pub async fn uninstall(dir: &Path, pod_subnet: Ipv4Net) -> Vec<String> {
    let mut left = Vec::new();
    if let Err(error) = remove_table().await {
        left.push(crate::chain(&error));
    }
    let record: Option<HostRecord> = std::fs::read(path(dir)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let state = dir.to_owned();
    let blocking = tokio::task::spawn_blocking(move || {
        let mut left = Vec::new();
        left.extend(peers::remove_recorded(&state).err().map(|error| crate::chain(&error)));
        left.extend(Links::uninstall(pod_subnet).err().map(|error| crate::chain(&error)));
        left.extend(firewall::forget_pods().err().map(|error| crate::chain(&error)));
        if record.is_some_and(|record| !record.forwarding) {
            let off: Result<(), LinkError> = sysctl::write("net.ipv4.ip_forward", "0");
            left.extend(off.err().map(|error| crate::chain(&error)));
        }
        left
    });
    left.extend(blocking.await.unwrap_or_default());
    std::fs::remove_file(path(dir)).ok();
    left
}
