//! Real members of etcd on loopback, with folders of their own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::require::skipped;

/// One etcd cluster. Its members die with this value, and with the thread that started them.
pub struct Etcd {
    program: PathBuf,
    folder: Folder,
    members: Vec<Member>,
    setup: EtcdSetup,
}

/// How members are set up.
#[derive(Clone, Default)]
pub struct EtcdSetup {
    /// With limits for transactions of any size, instead of etcd's own.
    pub roomy: bool,
    /// Certificate authority, certificate and key in PEM, for members and for whoever asks them.
    pub certificates: Option<[PathBuf; 3]>,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Killed>,
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Etcd {
    /// Starts members that listen; `None` where etcd is missing, which is said loudly.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start(count: usize, setup: EtcdSetup) -> Option<Etcd> {
        let program = Etcd::program("etcd")?;
        // Another process may take a port between looking and using it.
        for _ in 0..3 {
            let name = format!("naru-etcd-{}-{}", std::process::id(), free_port());
            let folder = Folder(std::env::temp_dir().join(name));
            let member = |_| Member { client: free_port(), peer: free_port(), process: None };
            let members = (0..count).map(member).collect();
            let mut etcd = Etcd { program: program.clone(), folder, members, setup: setup.clone() };
            (0..count).for_each(|index| etcd.revive(index));
            if etcd.listens() {
                return Some(etcd);
            }
        }
        panic!("etcd does not come up");
    }

    /// Where a program of etcd is: on the path, or where `make setup-test` unpacks it. `None`, and said, when nowhere.
    pub fn program(name: &str) -> Option<PathBuf> {
        let cache = std::env::var_os("NARU_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/naru")));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(cache.map(|cache| cache.join("etcd/usr/bin")));
        let mut found = folders.map(|folder| folder.join(name)).filter(|path| path.is_file());
        found.next().or_else(|| skipped(&format!("{name} is missing: `make setup-test` unpacks it")))
    }

    /// Starts a member that was killed, with what it had.
    ///
    /// # Panics
    /// When it cannot be started at all.
    pub fn revive(&mut self, index: usize) {
        let scheme = if self.setup.certificates.is_some() { "https" } else { "http" };
        let cluster: Vec<_> =
            self.members.iter().enumerate().map(|(i, m)| format!("m{i}=http://127.0.0.1:{}", m.peer)).collect();
        let Member { client, peer, .. } = self.members[index];
        // A test that is killed takes its members with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program);
        command.args(["--name", &format!("m{index}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(self.folder.0.join(format!("m{index}")));
        for (flag, value) in [
            ("--listen-client-urls", format!("{scheme}://127.0.0.1:{client}")),
            ("--advertise-client-urls", format!("{scheme}://127.0.0.1:{client}")),
            ("--listen-peer-urls", format!("http://127.0.0.1:{peer}")),
            ("--initial-advertise-peer-urls", format!("http://127.0.0.1:{peer}")),
            ("--initial-cluster", cluster.join(",")),
        ] {
            command.args([flag, &value]);
        }
        if self.setup.roomy {
            command.args(["--max-txn-ops", "10000", "--max-request-bytes", "16777216"]);
        }
        if let Some([authority, certificate, key]) = &self.setup.certificates {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(authority);
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[index].process = Some(Killed(process.expect("setpriv, of util-linux")));
    }

    /// As if a member's power went.
    pub fn kill(&mut self, index: usize) {
        self.members[index].process = None;
    }

    /// Where its members are asked.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.setup.certificates.is_some() { "https" } else { "http" };
        self.members.iter().map(|member| format!("{scheme}://127.0.0.1:{}", member.client)).collect()
    }

    /// The members' processes.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.members.iter().filter_map(|member| Some(member.process.as_ref()?.0.id()))
    }

    /// The certificates it was set up with: authority, certificate, key.
    pub fn certificates(&self) -> Option<[&Path; 3]> {
        self.setup.certificates.as_ref().map(|files| files.each_ref().map(PathBuf::as_path))
    }

    /// Whether all accept connections; not when one has ended.
    fn listens(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if self.members.iter().all(|member| TcpStream::connect(("127.0.0.1", member.client)).is_ok()) {
                return true;
            }
            let mut processes = self.members.iter_mut().filter_map(|member| member.process.as_mut());
            if processes.any(|process| process.0.try_wait().is_ok_and(|ended| ended.is_some())) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    listener.local_addr().expect("its address").port()
}
