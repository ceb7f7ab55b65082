//! Clients of other people, unchanged: Helm, Python's, Go's and Rust's libraries against the real program.
//!
//! They are fetched and built once and kept beside the other caches, never in the checkout; what is slow to build the
//! first time is built by `make test-long` alone, and used by `make test` from then on. What cannot be had is said as
//! skipped. The alternative, recorded requests of these clients, would prove what they sent once.

mod controller_runtime;
mod fetched;
mod helm;
mod python;
mod rust;

use naru_testkit::{Host, Output, shared_host};

/// A namespace of one test on the host that they share.
struct Space {
    host: &'static Host,
    name: &'static str,
}

impl Space {
    fn new(name: &'static str) -> Option<Space> {
        if naru_testkit::missing(&["kubectl"]) {
            return None;
        }
        let host = shared_host(env!("CARGO_BIN_EXE_naru"))?;
        host.kubectl(&["create", "namespace", name]).ok();
        Some(Space { host, name })
    }

    #[track_caller]
    fn kubectl(&self, arguments: &[&str]) -> Output {
        self.host.kubectl(&[&["-n", self.name], arguments].concat())
    }

    /// A program with this cluster as the one it finds.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = self.host.command(program);
        command.env("KUBECONFIG", self.host.kubeconfig()).env("NAMESPACE", self.name);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = self.kubectl(&["get", "all,events"]);
            eprintln!("--- {}\n--- the server\n{}", all.stdout, self.host.log_tail(15));
        }
        self.host.kubectl(&["delete", "namespace", self.name, "--wait=false"]);
    }
}
