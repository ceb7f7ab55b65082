//! Network namespaces by name, and work done inside of them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{NEIGHBOUR, NODE};

/// A named network namespace.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    name: String,
}

/// A word that tells this process from others, also of other process namespaces.
pub(crate) fn own_word() -> String {
    format!("{}-{:x}", std::process::id(), std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos()))
}

impl Namespace {
    /// Makes one of this name, with its loopback up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn make(name: &str) -> Result<Namespace, String> {
        let namespace = Namespace { name: name.to_owned() };
        ip(&format!("netns add {name}"))?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that runs inside. Not `ip netns exec`: that hides the control groups by mounting a new `/sys`.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread inside.
    ///
    /// # Panics
    /// When the namespace is gone, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter the namespace");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` inside.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<String, String> {
        ip(&format!("-n {} {arguments}", self.name))
    }
}

/// Makes the host's namespace and its neighbour's, with a wire between them.
pub(crate) fn pair(name: &str) -> Result<(Namespace, Namespace), String> {
    let node = Namespace { name: name.to_owned() };
    let neighbour = Namespace { name: format!("{name}-out") };
    for namespace in [&node, &neighbour] {
        ip(&format!("netns add {}", namespace.name))?;
        namespace.ip("link set lo up")?;
    }
    node.ip(&format!("link add eth0 type veth peer name eth0 netns {}", neighbour.name))?;
    for (namespace, address) in [(&node, NODE), (&neighbour, NEIGHBOUR)] {
        namespace.ip(&format!("address add {address}/24 dev eth0"))?;
        namespace.ip("link set eth0 up")?;
    }
    node.ip(&format!("route add default via {NEIGHBOUR}"))?;
    Ok((node, neighbour))
}

fn ip(arguments: &str) -> Result<String, String> {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
