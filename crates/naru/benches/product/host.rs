//! The machine in little that a benchmark runs on, with the benchmarks' image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use naru_testkit::{Host, HostOptions};
use serde_json::{Value, json};

use crate::http;

/// The image of `programs/worker.rs`.
pub const IMAGE: &str = "naru.local/bench-worker:1";
/// The namespace of pods that benchmarks make themselves.
pub const NAMESPACE: &str = "bench";

/// A host with a server and the image.
pub struct Bench {
    pub host: Host,
}

impl Bench {
    /// `None`, said aloud, where the machine lacks something.
    pub fn start() -> Option<Self> {
        let bench = Self::idle()?;
        bench.host.start_server();
        bench.load(&worker_image());
        bench.call("POST", "/api/v1/namespaces", Some(&json!({"metadata": {"name": NAMESPACE}})));
        Some(bench)
    }

    /// The same with no server yet.
    pub fn idle() -> Option<Self> {
        let options = HostOptions { images: Some(Vec::new()), idle: true, ..HostOptions::default() };
        Host::start_with(&program(), options).map(|host| Self { host })
    }

    /// Loads an image's archive.
    pub fn load(&self, archive: &Path) {
        self.host.naru(&["image", "load", "-i", &archive.to_string_lossy()]).ok();
    }

    /// The server's socket.
    pub fn socket(&self) -> PathBuf {
        self.host.run_dir().join("naru.sock")
    }

    /// Asks the API server.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        http::call(&self.socket(), method, path, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a pod of the worker; gives the path of its first log.
    #[track_caller]
    pub fn pod(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let container = json!({"name": "main", "image": IMAGE, "args": arguments});
        let pod = json!({"metadata": {"name": name, "labels": {"bench": "pod"}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}});
        let made = self.call("POST", &format!("/api/v1/namespaces/{NAMESPACE}/pods"), Some(&pod));
        let uid = made["metadata"]["uid"].as_str().unwrap_or_default();
        self.host.state_dir().join(format!("logs/{NAMESPACE}_{name}_{uid}/main/0.log"))
    }
}

/// The program that is measured.
pub fn program() -> String {
    let built = option_env!("CARGO_BIN_EXE_naru").map(str::to_owned);
    std::env::var("NARU_BENCH_BINARY").ok().or(built).expect("NARU_BENCH_BINARY names the program")
}

/// The worker's archive, made when it is not there or older than its source.
pub fn worker_image() -> PathBuf {
    image("bench-worker", "crates/naru/benches/product/programs/worker.rs", IMAGE)
}

/// The archive of an image that holds one program of one file.
pub fn image(word: &str, source: &str, name: &str) -> PathBuf {
    let folder = cache().join("bench");
    fs::create_dir_all(&folder).expect("a folder in the cache");
    let (source, program) = (Host::repository(source), folder.join(word));
    let archive = folder.join(format!("{word}.tar"));
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if time(&archive).is_none() || time(&program) < time(&source) {
        let mut compile = Command::new("rustc");
        compile.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort"]);
        run(compile.args(["-C", "strip=symbols", "-o"]).arg(&program).arg(&source));
        let mut pack = Command::new(Host::repository("scripts/pack-image.sh"));
        pack.args(["--name", name, "--add", &format!("{}:/{word}", program.display()), "--expose", "8080"]);
        run(pack.args(["--entrypoint", &format!("[\"/{word}\"]"), "-o"]).arg(&archive));
    }
    archive
}

/// Where what is slow to make is kept.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/naru");
    std::env::var_os("NARU_CACHE").map_or_else(home, PathBuf::from)
}

/// Runs a program that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
