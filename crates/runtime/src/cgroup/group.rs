//! One group, in every tree it lives in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use super::{Hierarchy, devices, hierarchy, limits};
use crate::{
    pod::{Devices, PodUid, Resources},
    sys,
};

/// A group by its path below the base.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    pub(super) hierarchy: Hierarchy,
    pub(super) path: PathBuf,
}

/// A group file refused.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub(crate) struct CgroupError {
    pub(crate) action: String,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

/// One write of the whole value: what group files expect. Never creates a file.
fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

impl Cgroup {
    /// The group of a pod.
    pub(crate) fn of_pod(hierarchy: Hierarchy, parent: &Path, uid: &PodUid) -> Self {
        // Only plain parts: a configured parent must not lead out of the base.
        let parent: PathBuf = parent.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
        Self { hierarchy, path: parent.join(format!("pod-{uid}")) }
    }

    /// A group below this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { hierarchy: self.hierarchy.clone(), path: self.path.join(name) }
    }

    /// Its folder for one controller.
    pub(super) fn folder(&self, controller: &str) -> Option<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => controllers.get(controller).map(|base| base.join(&self.path)),
            Hierarchy::V2(base) => Some(base.join(&self.path)),
        }
    }

    /// Every folder it has, once.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.hierarchy.folders().into_iter().map(|base| base.join(&self.path)).collect()
    }

    fn uses(&self, controller: &str, resources: &Resources) -> bool {
        match controller {
            // Groups of these cost something to make and give nothing without a limit.
            "cpuset" => resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some(),
            "hugetlb" => !resources.hugepages.is_empty(),
            _ => true,
        }
    }

    /// Makes the group and sets its limits. Returns what this kernel cannot limit.
    pub(crate) fn create(&self, resources: &Resources) -> Result<Vec<String>, CgroupError> {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => {
                let mut last = PathBuf::new();
                for (controller, base) in controllers {
                    let folder = base.join(&self.path);
                    if folder != last && self.uses(controller, resources) {
                        make(&folder)?;
                        last = folder;
                    }
                }
            }
            Hierarchy::V2(base) => {
                let folder = base.join(&self.path);
                make(&folder)?;
                for above in folder.ancestors().skip(1).take_while(|a| a.starts_with(base)) {
                    hierarchy::delegate(above).map_err(|source| CgroupError {
                        action: "handing controllers down in".into(),
                        path: above.to_owned(),
                        source,
                    })?;
                }
            }
        }
        self.limit(resources)
    }

    /// Sets limits. Returns what this kernel cannot limit.
    pub(crate) fn limit(&self, resources: &Resources) -> Result<Vec<String>, CgroupError> {
        let settings = match self.hierarchy {
            Hierarchy::V1(_) => limits::v1(resources),
            Hierarchy::V2(_) => limits::v2(resources),
        };
        let mut warnings = Vec::new();
        for (at, setting) in settings.iter().enumerate() {
            let Some(folder) = self.folder(setting.controller) else {
                warnings
                    .push(format!("no {} controller on this machine: {} not set", setting.controller, setting.file));
                continue;
            };
            if setting.controller == "cpuset" && matches!(self.hierarchy, Hierarchy::V1(_)) {
                self.fill_cpuset(&folder)?;
            }
            let path = folder.join(&setting.file);
            let mut done = write(&path, &setting.value);
            if done.is_err() && setting.file == "memory.limit_in_bytes" {
                // Raising above the limit of memory and swap together: that one has to go first.
                if let Some(both) = settings.get(at + 1) {
                    let _ = write(&folder.join(&both.file), &both.value);
                    done = write(&path, &setting.value);
                }
            }
            match done {
                Ok(()) => {}
                Err(error) if setting.optional => {
                    if error.kind() != io::ErrorKind::NotFound || setting.controller != "memory" {
                        warnings.push(format!("{} cannot be set here: {error}", setting.file));
                    }
                }
                Err(source) => {
                    return Err(CgroupError { action: format!("writing {:?} to", setting.value), path, source });
                }
            }
        }
        Ok(warnings)
    }

    /// A v1 cpuset group is unusable until it has CPUs and memory nodes: take them from above.
    fn fill_cpuset(&self, folder: &Path) -> Result<(), CgroupError> {
        let failed = |path: PathBuf| move |source| CgroupError { action: "preparing".into(), path, source };
        make(folder)?;
        let mut missing = Vec::new();
        for level in folder.ancestors() {
            let cpus = level.join("cpuset.cpus");
            if !fs::read_to_string(&cpus).map_err(failed(cpus.clone()))?.trim().is_empty() {
                break;
            }
            missing.push(level);
        }
        for level in missing.into_iter().rev() {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = level.parent().unwrap_or(level).join(file);
                let value = fs::read_to_string(&above).map_err(failed(above.clone()))?;
                write(&level.join(file), value.trim()).map_err(failed(level.join(file)))?;
            }
        }
        Ok(())
    }

    /// Limits devices to the standard ones and those given.
    pub(crate) fn limit_devices(&self, devices: &Devices, nodes: &[String]) -> Result<(), CgroupError> {
        if devices.host {
            return Ok(());
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CgroupError { action: "limiting devices in".into(), path, source }
        };
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let lines = devices::STANDARD.iter().copied().chain(nodes.iter().chain(&devices.rules).map(String::as_str));
        match &self.hierarchy {
            Hierarchy::V1(_) => {
                let Some(folder) = self.folder("devices") else { return Ok(()) };
                write(&folder.join("devices.deny"), "a").map_err(failed(&folder))?;
                for line in lines {
                    let _: devices::Rule = line.parse().map_err(invalid).map_err(failed(&folder))?;
                    write(&folder.join("devices.allow"), line).map_err(failed(&folder))?;
                }
            }
            Hierarchy::V2(base) => {
                let folder = base.join(&self.path);
                let rules = lines.map(str::parse).collect::<Result<Vec<_>, _>>().map_err(invalid);
                let program = devices::program(&rules.map_err(failed(&folder))?);
                let open = File::open(&folder).map_err(failed(&folder))?;
                sys::attach_device_program(open.as_fd(), &program).map_err(failed(&folder))?;
            }
        }
        Ok(())
    }

    /// Moves a process in, by its number as the caller counts; 0 is the caller, which must have one thread only: on v1 a
    /// thread that moves itself alone need not wait (see [`Cgroup::is_entered_at_once`]).
    pub(crate) fn enter(&self, pid: u32) -> Result<(), CgroupError> {
        let list = if pid == 0 && !self.is_v2() { "tasks" } else { "cgroup.procs" };
        let pid = pid.to_string();
        for folder in self.folders() {
            let path = folder.join(list);
            match write(&path, &pid) {
                Ok(()) => {}
                // A controller that this group does not use.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {}
                Err(source) => return Err(CgroupError { action: "entering".into(), path, source }),
            }
        }
        Ok(())
    }

    /// Whether a process can move itself without waiting for every CPU to pass through the kernel, which takes some 10 ms
    /// after an idle while: on v1 from Linux 6.0 on. On v2 processes are born into their groups.
    pub(crate) fn is_entered_at_once(&self) -> bool {
        !self.is_v2() && linux_major().is_some_and(|major| major >= 6)
    }

    pub(crate) fn is_v2(&self) -> bool {
        matches!(self.hierarchy, Hierarchy::V2(_))
    }

    /// The folder to clone straight into, on v2.
    pub(crate) fn open_v2(&self) -> Option<File> {
        match &self.hierarchy {
            Hierarchy::V1(_) => None,
            Hierarchy::V2(base) => File::open(base.join(&self.path)).ok(),
        }
    }

    /// Controllers with a folder of their own, for mounting them into a container (v1).
    pub(crate) fn v1_mounts(&self) -> Option<Vec<(String, Vec<String>)>> {
        let Hierarchy::V1(controllers) = &self.hierarchy else { return None };
        let mut mounts: Vec<(PathBuf, Vec<String>)> = Vec::new();
        for (controller, base) in controllers {
            match mounts.iter_mut().find(|(b, _)| b == base) {
                Some((_, names)) => names.push(controller.clone()),
                None => mounts.push((base.clone(), vec![controller.clone()])),
            }
        }
        let name = |base: PathBuf| {
            let mount = base.parent().and_then(Path::file_name).unwrap_or_default();
            mount.to_string_lossy().into_owned()
        };
        Some(mounts.into_iter().map(|(base, controllers)| (name(base), controllers)).collect())
    }
}

/// The first number of the kernel's version.
fn linux_major() -> Option<u32> {
    rustix::system::uname().release().to_str().ok()?.split('.').next()?.parse().ok()
}

fn make(folder: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(folder).map_err(|source| CgroupError { action: "making".into(), path: folder.into(), source })
}
