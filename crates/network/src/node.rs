//! The node's own record of what it changed on this machine, and how all of it is taken back.

use std::io;
use std::path::{Path, PathBuf};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::apply::remove_table;
use crate::firewall;
use crate::links::{FORWARDING6, HostLinks, Links};
use crate::{LinkError, peers, sysctl};

/// How the machine was before its first pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Whether it forwarded packets already.
    pub forwarding: bool,
    /// Its physical interfaces, when it did not: between them, nothing is forwarded now either.
    pub guarded: Vec<String>,
    /// The same of IPv6, once pods have such addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub six: Option<Ipv6Record>,
}

/// How the machine was before its first pod with an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Record {
    /// The addresses of its pods.
    pub pod_subnet: Ipv6Net,
    /// Whether it forwarded IPv6 already.
    pub forwarding: bool,
    /// Its physical interfaces, when it did not.
    pub guarded: Vec<String>,
    /// Interfaces that forwarded although not all did.
    pub forwarded: Vec<String>,
    /// Interfaces that took routers' announcements (`accept_ra` 1), which the kernel only goes on with at 2.
    pub announced: Vec<String>,
}

impl Ipv6Record {
    fn of_now(pod_subnet: Ipv6Net) -> io::Result<Self> {
        let forwarding = sysctl::read(FORWARDING6).as_deref() == Some("1");
        let guarded = if forwarding { Vec::new() } else { Links::physical().map_err(io::Error::other)? };
        let forwarded = if forwarding { Vec::new() } else { sysctl::forwarding_ipv6() };
        let announced = if forwarding { Vec::new() } else { sysctl::listening_to_routers() };
        Ok(Self { pod_subnet, forwarding, guarded, forwarded, announced })
    }

    /// Gives back what was changed.
    fn restore(&self) -> Result<(), LinkError> {
        if self.forwarding {
            return Ok(());
        }
        sysctl::write(FORWARDING6, "0")?;
        for interface in &self.forwarded {
            // An interface that is gone took its parameters along.
            let _ = sysctl::write_at(&["ipv6", "conf", interface, "forwarding"], "1");
        }
        for interface in &self.announced {
            let name = ["ipv6", "conf", interface.as_str(), "accept_ra"];
            if sysctl::read_at(&name).as_deref() == Some("2") {
                let _ = sysctl::write_at(&name, "1");
            }
        }
        Ok(())
    }
}

impl HostRecord {
    /// Whether this machine was made a node before.
    pub fn exists(dir: &Path) -> bool {
        path(dir).exists()
    }

    /// Reads the record kept in `dir`, or makes it from the machine as it is now; `second` is the block of IPv6 addresses
    /// that pods here get. Call it before [`Links::open`].
    pub fn open(dir: &Path, second: Option<Ipv6Net>) -> io::Result<Self> {
        let path = path(dir);
        let known = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let mut record = match known.clone() {
            Some(record) => record,
            None => {
                let forwarding = HostLinks::forwarding();
                let guarded = if forwarding { Vec::new() } else { Links::physical().map_err(io::Error::other)? };
                Self { forwarding, guarded, six: None }
            }
        };
        if let Some(block) = second.filter(|_| sysctl::has_ipv6()) {
            match &mut record.six {
                None => record.six = Some(Ipv6Record::of_now(block)?),
                // After a reboot the machine is as it was, perhaps with interfaces that it did not have then.
                Some(before) => {
                    let new =
                        sysctl::listening_to_routers().into_iter().filter(|name| !before.announced.contains(name));
                    before.announced.extend(new.collect::<Vec<_>>());
                    before.pod_subnet = block;
                }
            }
        }
        if known.as_ref() != Some(&record) {
            std::fs::create_dir_all(dir)?;
            let temporary = path.with_extension("tmp");
            std::fs::write(&temporary, serde_json::to_vec(&record)?)?;
            std::fs::rename(&temporary, &path)?;
        }
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
        let six = record.as_ref().and_then(|record| record.six.clone());
        let second = six.as_ref().map(|six| six.pod_subnet);
        left.extend(Links::uninstall(pod_subnet, second).err().map(|error| crate::chain(&error)));
        left.extend(firewall::forget_pods().err().map(|error| crate::chain(&error)));
        left.extend(six.and_then(|six| six.restore().err()).map(|error| crate::chain(&error)));
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
