//! Where on this machine groups can be made.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The controllers used. In others (perf_event, net_cls, …) containers stay where their supervisor is.
pub(super) const CONTROLLERS: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "hugetlb"];

/// The folders below which this daemon's groups are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Hierarchy {
    /// One folder a controller; co-mounted controllers share theirs.
    V1(BTreeMap<String, PathBuf>),
    /// One folder for all.
    V2(PathBuf),
}

/// Nothing to make groups in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCgroups {
    /// No cgroup filesystem is mounted.
    #[error("no cgroup filesystem is mounted; mount cgroup2 on /sys/fs/cgroup")]
    NotMounted,
    /// A file could not be read or a folder not made.
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Hierarchy {
    /// Looks at this machine, makes the base folders and, on v2, hands the controllers down to them. An absolute `name` is
    /// the v2 folder itself.
    pub(crate) fn prepare(name: &str) -> Result<Self, NoCgroups> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| NoCgroups::Io { action: "reading", path: path.into(), source })
        };
        let found = if Path::new(name).is_absolute() {
            Self::V2(name.into())
        } else {
            Self::detect(&read("/proc/self/mountinfo")?, name).ok_or(NoCgroups::NotMounted)?
        };
        for folder in found.folders() {
            fs::create_dir_all(&folder).map_err(|source| NoCgroups::Io {
                action: "making cgroup",
                path: folder.clone(),
                source,
            })?;
        }
        if let Self::V2(base) = &found {
            let above = base.parent().unwrap_or(base);
            // Only the root group may hold processes *and* hand controllers down. Inside of a container the top that is
            // seen is no root: its processes go into a leaf first. Handing down before that would make it "threaded",
            // and everything below it useless.
            if above.join("cgroup.type").exists() {
                empty_into(above, &above.join("daemon"));
            }
            for group in [above, base] {
                if let Err(error) = delegate(group) {
                    tracing::warn!(group = %group.display(), %error, "not every limit can be enforced");
                }
            }
        }
        Ok(found)
    }

    /// Decides from the text of `/proc/self/mountinfo`.
    pub(super) fn detect(mountinfo: &str, name: &str) -> Option<Self> {
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let (left, right) = line.split_once(" - ")?;
            let target = PathBuf::from(left.split(' ').nth(4)?);
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup") => {
                    for option in right.nth(1).unwrap_or_default().split(',') {
                        if CONTROLLERS.contains(&option) {
                            v1.entry(option.to_owned()).or_insert_with(|| target.join(name));
                        }
                    }
                }
                Some("cgroup2") if v2.is_none() => v2 = Some(target),
                _ => {}
            }
        }
        if !v1.is_empty() {
            return Some(Self::V1(v1));
        }
        // At the top of the tree, beside systemd's slices, as Docker's own driver does. Not below the service's group:
        // systemd puts the next start's process into that, which the kernel refuses once controllers are handed down.
        Some(Self::V2(v2?.join(name)))
    }

    /// Every base folder, once.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        match self {
            Self::V1(controllers) => {
                let mut folders: Vec<_> = controllers.values().cloned().collect();
                folders.sort();
                folders.dedup();
                folders
            }
            Self::V2(base) => vec![base.clone()],
        }
    }
}

/// Hands every controller that a v2 group has down to its children.
pub(super) fn delegate(group: &Path) -> io::Result<()> {
    let available = fs::read_to_string(group.join("cgroup.controllers"))?;
    let control = group.join("cgroup.subtree_control");
    let handed = fs::read_to_string(&control)?;
    let mut result = Ok(());
    for controller in available.split_whitespace() {
        let wanted = matches!(controller, "cpu" | "cpuset" | "memory" | "pids" | "io" | "hugetlb");
        if wanted && !handed.split_whitespace().any(|h| h == controller) {
            // One at a time: a controller that refuses must not keep the others away.
            result = result.and(fs::write(&control, format!("+{controller}")));
        }
    }
    result
}

/// Moves every process of a group into another; new ones may appear meanwhile, hence the rounds.
fn empty_into(from: &Path, to: &Path) {
    let _ = fs::create_dir_all(to);
    for _ in 0..16 {
        let Ok(list) = fs::read_to_string(from.join("cgroup.procs")) else { return };
        if list.is_empty() {
            return;
        }
        for pid in list.lines() {
            // Processes that just ended refuse.
            let _ = fs::write(to.join("cgroup.procs"), pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn hybrid_is_treated_as_v1_and_co_mounted_controllers_share() {
        let found = Hierarchy::detect(HYBRID, "naru").unwrap();
        let Hierarchy::V1(controllers) = &found else { panic!("not v1: {found:?}") };
        assert_eq!(controllers.keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        assert_eq!(
            found.folders(),
            [Path::new("/sys/fs/cgroup/cpu,cpuacct/naru"), Path::new("/sys/fs/cgroup/memory/naru")]
        );
    }

    #[test]
    fn v2_groups_are_at_the_top_of_the_tree() {
        let mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(Hierarchy::detect(mount, "naru"), Some(Hierarchy::V2("/sys/fs/cgroup/naru".into())));
        assert_eq!(Hierarchy::detect("22 27 0:21 / /proc rw - proc proc rw", "naru"), None);
    }
}
