//! The group of what outlives the daemon: supervisors and the helper.
//!
//! A service manager takes what is in a service's control group for the service: `systemctl kill`, a stop without
//! `KillMode=process` and the policy for a lack of memory end all of it. So what must go on without the daemon leaves that
//! group, in every tree, for one beside the pods'. The alternative refused is the one of container engines, whose shims
//! stay in the engine's group and rely on `KillMode=process` alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::hierarchy::CONTROLLERS;
use crate::sys::{self, Clone3, Forked};

/// The group's name, below the daemon's base. No pod's group has it: they begin with `pod-` or are a class of service.
const NAME: &str = "supervisors";

/// The group, in every tree there is. A tree in which it cannot be made is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Survivors {
    /// Trees of v1 controllers, and the one in which systemd keeps account of its services.
    v1: Vec<PathBuf>,
    /// The v2 tree, also where it has no controllers: systemd keeps account there then.
    v2: Option<PathBuf>,
}

impl Survivors {
    /// Makes the group below the base of that name; an absolute one is the v2 base itself.
    pub(crate) fn prepare(name: &str) -> Self {
        let found = if Path::new(name).is_absolute() {
            Self { v1: Vec::new(), v2: Some(Path::new(name).join(NAME)) }
        } else {
            Self::detect(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), name)
        };
        let made = |folder: &PathBuf| match fs::create_dir_all(folder) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(group = %folder.display(), %error, "supervisors stay in the daemon's control group");
                false
            }
        };
        Self { v1: found.v1.into_iter().filter(made).collect(), v2: found.v2.filter(made) }
    }

    /// Decides from the text of `/proc/self/mountinfo`.
    fn detect(mountinfo: &str, name: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(target) = left.split(' ').nth(4) else { continue };
            let folder = Path::new(target).join(name).join(NAME);
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    // A new cpuset has no processor, so that nobody can enter it; services have none of their own on v1.
                    let empty = options.split(',').any(|option| option == "cpuset");
                    let counts = |option: &str| option == "name=systemd" || CONTROLLERS.contains(&option);
                    if !empty && options.split(',').any(counts) && !found.v1.contains(&folder) {
                        found.v1.push(folder);
                    }
                }
                Some("cgroup2") if found.v2.is_none() => found.v2 = Some(folder),
                _ => {}
            }
        }
        found
    }

    /// Goes there. **Only in a process with one thread, before anybody knows its number**: in a v2 tree this process ends
    /// and a child of the same parent goes on, since birth into a group takes no time, and a move some 10 ms (the kernel
    /// waits for every CPU). On v1 the move of one thread that moves itself does not wait, from Linux 6.0 on.
    ///
    /// Gives whether this is that child, and what did not go.
    pub(crate) fn be_born_there(&self) -> (bool, Vec<io::Error>) {
        let mut refused = Vec::new();
        for folder in self.v1.iter().chain(&self.v2).filter(|folder| !folder.exists()) {
            // Somebody removed it while it was empty.
            refused.extend(fs::create_dir_all(folder).err());
        }
        let born = self.v2.as_deref().is_some_and(|folder| match born_into(folder) {
            Ok(()) => true,
            Err(_) => {
                refused.extend(move_to(&folder.join("cgroup.procs"), 0).err());
                false
            }
        });
        refused.extend(self.v1.iter().filter_map(|folder| move_to(&folder.join("tasks"), 0).err()));
        (born, refused)
    }

    /// Moves processes there that are not there yet. Blocks, some 10 ms for each in each tree.
    pub(crate) fn take_in(&self, processes: Vec<i32>) {
        for folder in self.v1.iter().chain(&self.v2) {
            let list = folder.join("cgroup.procs");
            let there = fs::read_to_string(&list).unwrap_or_default();
            for process in &processes {
                if !there.lines().any(|line| line.parse() == Ok(*process))
                    && let Err(error) = move_to(&list, *process)
                    // Ended meanwhile.
                    && Path::new("/proc").join(process.to_string()).exists()
                {
                    tracing::warn!(process, group = %folder.display(), %error, "a process stays in another control group");
                }
            }
        }
    }
}

/// Takes the calling process out of the group in which it was started, to that of what outlives the daemon whose pods'
/// groups have that name ([`crate::pod::PodsConfig::cgroup`]). Blocks some 10 ms. Where a tree refuses, it says so in the
/// log and the process stays.
pub fn outlive_daemon(cgroup: &str) {
    Survivors::prepare(cgroup).take_in(vec![std::process::id() as i32]);
}

/// Goes on as a child of the same parent inside a v2 group.
fn born_into(folder: &Path) -> io::Result<()> {
    let group = File::open(folder)?;
    match sys::clone3(&Clone3 { flags: libc::CLONE_PARENT as u64, cgroup: Some(group.as_fd()) })? {
        Forked::Parent { .. } => sys::exit_now(0),
        Forked::Child => Ok(()),
    }
}

/// Writes a process' number into a group's list; 0 is the caller.
fn move_to(list: &Path, process: i32) -> io::Result<()> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", list.display()));
    OpenOptions::new()
        .write(true)
        .open(list)
        .and_then(|mut file| file.write_all(process.to_string().as_bytes()))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &[&str]) -> Vec<PathBuf> {
        text.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_trees_of_systemd_count_beside_those_of_controllers() {
        let hybrid = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/perf_event rw - cgroup cgroup rw,perf_event
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
22 27 0:21 / /proc rw - proc proc rw";
        let found = Survivors::detect(hybrid, "naru");
        let below = ["cpu,cpuacct", "memory", "systemd"].map(|tree| format!("/sys/fs/cgroup/{tree}/naru/supervisors"));
        assert_eq!(found.v1, paths(&below.each_ref().map(String::as_str)));
        assert_eq!(found.v2, Some("/sys/fs/cgroup/unified/naru/supervisors".into()));
    }

    #[test]
    fn v2_has_one_group_and_a_machine_without_trees_none() {
        let mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let found = Survivors::detect(mount, "naru");
        assert_eq!(found, Survivors { v1: Vec::new(), v2: Some("/sys/fs/cgroup/naru/supervisors".into()) });
        assert_eq!(Survivors::detect("", "naru"), Survivors::default());
    }
}
