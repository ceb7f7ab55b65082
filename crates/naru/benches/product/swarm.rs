//! The peer with several machines: Docker engines on one wire, one of them a Swarm's manager.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::IMAGE;
use crate::peer::Docker;
use crate::stamps::wait;

/// A manager and engines beside it.
pub struct Swarm {
    manager: Docker,
    workers: Vec<Option<Docker>>,
    token: String,
}

impl Swarm {
    /// A swarm of one node, with so many engines beside it; `None`, said aloud, where Docker is not installed.
    pub fn start(workers: usize) -> Option<Self> {
        let manager = Docker::start()?.swarm();
        let workers = (0..workers).map(|at| Docker::beside(&manager, at + 3)).collect::<Option<Vec<_>>>()?;
        let token = manager.cli(&["swarm", "join-token", "--quiet", "worker"]);
        Some(Self { manager, workers: workers.into_iter().map(Some).collect(), token })
    }

    /// Joins one; gives the time until the manager calls it ready.
    pub fn join(&mut self, worker: usize) -> Duration {
        let before = self.ready();
        let begin = Instant::now();
        let address = format!("198.18.0.{}", worker + 3);
        let join = ["swarm", "join", "--token", &self.token, "--advertise-addr", &address, "198.18.0.2:2377"];
        self.workers[worker].as_ref().map(|engine| engine.cli(&join)).expect("an engine");
        wait("the swarm has one ready node more", || Some(()).filter(|()| self.ready() > before));
        begin.elapsed()
    }

    fn ready(&self) -> usize {
        let nodes = self.manager.call("GET", "/nodes", None).unwrap_or_default();
        nodes.as_array().into_iter().flatten().filter(|node| node["Status"]["State"] == "ready").count()
    }

    /// Takes one out again.
    pub fn leave(&mut self, worker: usize) {
        let node = self.node(worker);
        self.workers[worker].as_ref().map(|engine| engine.cli(&["swarm", "leave"])).expect("an engine");
        self.manager.cli(&["node", "rm", "--force", &node]);
    }

    /// The identifier of one's node.
    pub fn node(&self, worker: usize) -> String {
        self.workers[worker].as_ref().map(id).expect("an engine")
    }

    /// The identifier of the manager's node.
    pub fn manager_node(&self) -> String {
        id(&self.manager)
    }

    /// Kills one with everything that it runs.
    pub fn kill(&mut self, worker: usize) {
        self.workers[worker].as_ref().expect("an engine").kill();
    }

    /// Says whether a node takes tasks: `active`, `pause` or `drain`.
    pub fn availability(&self, node: &str, word: &str) {
        self.manager.cli(&["node", "update", "--availability", word, node]);
    }

    /// Starts a service.
    pub fn service(&self, name: &str, replicas: usize) {
        let replicas = replicas.to_string();
        let create = ["service", "create", "--detach", "--no-resolve-image", "--replicas", &replicas, "--name", name];
        self.manager.cli(&[&create[..], &[IMAGE]].concat());
    }

    /// When so many tasks run on other nodes than these.
    pub fn until_running(&self, count: usize, without: &[String]) -> Instant {
        let wanted = "/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D";
        wait(&format!("{count} tasks run"), || {
            std::thread::sleep(Duration::from_millis(20)); // each look costs the engine something
            let tasks = self.manager.call("GET", wanted, None).ok()?;
            let runs = |task: &&Value| {
                let node = task["NodeID"].as_str().unwrap_or_default();
                task["Status"]["State"] == "running" && !without.iter().any(|lost| lost == node)
            };
            let running = tasks.as_array()?.iter().filter(runs).count();
            Some(()).filter(|()| running == count)
        });
        Instant::now()
    }
}

fn id(engine: &Docker) -> String {
    let about = engine.call("GET", "/info", None).unwrap_or_default();
    about["Swarm"]["NodeID"].as_str().unwrap_or_default().to_owned()
}
