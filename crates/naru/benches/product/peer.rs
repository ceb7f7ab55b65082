//! The peer: a Docker engine with namespaces and folders of its own, where `dockerd` is installed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::host::{run, worker_image};
use crate::http;
use crate::stamps::wait;

/// A running engine with the worker's image.
pub struct Docker {
    name: String,
    folder: PathBuf,
    /// The engine's keeper, and the pipe whose end tells it to remove everything.
    keeper: Option<(Child, ChildStdin)>,
}

impl Docker {
    /// `None`, said aloud, where it is not installed.
    pub fn start() -> Option<Self> {
        Self::start_at(2, None)
    }

    /// Another on the first one's wire, at 198.18.0.`number`.
    pub fn beside(first: &Docker, number: usize) -> Option<Self> {
        Self::start_at(number, Some(&first.name))
    }

    fn start_at(number: usize, wire: Option<&str>) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if naru_testkit::missing(&["dockerd", "docker", "containerd", "runc", "iptables", "ip", "nsenter", "unshare"]) {
            println!("    peer not installed (on Debian: scripts/bench.sh --fetch-peer, or apt-get install docker.io)");
            return None;
        }
        let name = format!("naru-peer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from("/tmp").join(&name);
        fs::create_dir_all(&folder).expect("a folder for the peer");
        let mut keeper = Command::new("sh")
            .args(["-c", include_str!("peer.sh")])
            .env("NAME", &name)
            .env("FOLDER", &folder)
            .env("NUMBER", number.to_string())
            .env("WIRE", wire.unwrap_or(&name))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the peer");
        let pipe = keeper.stdin.take().expect("a pipe");
        let docker = Self { name, folder, keeper: Some((keeper, pipe)) };
        wait("the Docker engine answers", || docker.call("GET", "/_ping", None).ok());
        docker.cli(&["load", "-i", &worker_image().to_string_lossy()]);
        Some(docker)
    }

    /// Makes it a swarm of one node.
    pub fn swarm(self) -> Self {
        self.cli(&["swarm", "init", "--advertise-addr", "198.18.0.2"]);
        self
    }

    /// Kills it with everything that it runs; what it leaves goes with the value.
    pub fn kill(&self) {
        let text = fs::read_to_string(self.folder.join("engine")).unwrap_or_default();
        let pid = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("the engine's process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill the engine");
    }

    /// Runs the docker command.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let socket = format!("unix://{}", self.folder.join("docker.sock").display());
        run(Command::new("docker").args(["-H", &socket]).args(arguments))
    }

    /// Asks the engine.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Value> {
        http::call(&self.folder.join("docker.sock"), method, path, body)
    }

    /// The log of a container.
    pub fn log(&self, id: &str) -> PathBuf {
        self.logs().join(id).join(format!("{id}-json.log"))
    }

    /// Where the logs of all containers are.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("data/containers")
    }

    /// Identifiers of the engine's own processes: dockerd, containerd and the shims.
    pub fn processes(&self) -> Vec<(String, i32)> {
        let folder = self.folder.to_string_lossy().into_owned();
        crate::memory::processes(|line| {
            line.contains(&folder) && !line.starts_with("sh ") && !line.starts_with("unshare")
        })
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some((mut keeper, pipe)) = self.keeper.take() {
            drop(pipe);
            let _ = keeper.wait();
        }
    }
}
