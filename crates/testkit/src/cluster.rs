//! Several hosts that are one cluster.

use serde_json::Value;

use crate::process::Output;
use crate::{Host, HostOptions, Image, Lan};

/// A server and machines beside it on one wire.
///
/// The workers are `w1`, `w2`, … once they have joined.
#[derive(Debug)]
pub struct Cluster {
    /// The wire.
    pub lan: Lan,
    /// The server, `node-1`.
    pub server: Host,
    /// The others.
    pub workers: Vec<Host>,
    program: String,
}

/// A pod as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPod {
    /// Its name.
    pub name: String,
    /// Its node; empty without one.
    pub node: String,
    /// It is ready and stays.
    pub ready: bool,
}

impl Cluster {
    /// A server, and as many machines that belong nowhere yet; `None` (said loudly) where the machine lacks something.
    ///
    /// # Panics
    /// When it does not start.
    pub fn apart(program: &str, count: usize, server: &[&str]) -> Option<Cluster> {
        let lan = Lan::new()?;
        let words = server.iter().map(|word| (*word).to_owned()).collect();
        let options = HostOptions { lan: Some(lan.clone()), server: words, ..HostOptions::default() };
        let server = Host::start_with(program, options)?;
        let mut cluster = Cluster { lan, server, workers: Vec::new(), program: program.to_owned() };
        for _ in 0..count {
            let machine = cluster.machine()?;
            cluster.workers.push(machine);
        }
        Some(cluster)
    }

    /// The same, where all have joined and have the images of tests.
    ///
    /// # Panics
    /// When one does not.
    pub fn start(program: &str, count: usize, server: &[&str]) -> Option<Cluster> {
        let cluster = Cluster::apart(program, count, server)?;
        let token = cluster.token(&[]);
        for (at, worker) in cluster.workers.iter().enumerate() {
            cluster.welcome(worker, &token, &format!("w{}", at + 1));
        }
        Some(cluster)
    }

    /// Another machine on the wire, which belongs nowhere.
    pub fn machine(&self) -> Option<Host> {
        let options = HostOptions { idle: true, lan: Some(self.lan.clone()), ..HostOptions::default() };
        Host::start_with(&self.program, options)
    }

    /// Lets a machine join and gives it the images of tests.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn welcome(&self, machine: &Host, token: &str, name: &str) {
        Self::join(machine, token, name).ok();
        machine.load(Image::Busybox);
        machine.load(Image::Probe);
    }

    /// `naru join` on a machine.
    #[track_caller]
    pub fn join(machine: &Host, token: &str, name: &str) -> Output {
        machine.naru(&["join", token, "--node-name", name])
    }

    /// A join token.
    #[track_caller]
    pub fn token(&self, more: &[&str]) -> String {
        let line = self.server.naru(&[&["token", "create"], more].concat()).ok().text().trim().to_owned();
        assert_eq!(line.lines().count(), 1, "one line to paste: {line}");
        line.strip_prefix("naru join ").expect("a command").to_owned()
    }

    /// The rows of `naru node ls`.
    #[track_caller]
    pub fn nodes(&self) -> Vec<Value> {
        self.server.naru(&["node", "ls", "--format", "json"]).ok().json().as_array().cloned().unwrap_or_default()
    }

    /// A node's status there; `absent` without one.
    #[track_caller]
    pub fn status_of(&self, node: &str) -> String {
        let nodes = self.nodes();
        let found = nodes.iter().find(|row| row["Name"] == node);
        found.and_then(|row| row["Status"].as_str()).unwrap_or("absent").to_owned()
    }

    /// The pods of a namespace, by name.
    #[track_caller]
    pub fn pods(&self, namespace: &str) -> Vec<SeenPod> {
        let list = self.server.kubectl(&["get", "pods", "-n", namespace, "-o", "json"]).ok().json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            let stays = pod["metadata"].get("deletionTimestamp").is_none();
            SeenPod {
                name: text(&pod["metadata"]["name"]),
                node: text(&pod["spec"]["nodeName"]),
                ready: ready && stays,
            }
        };
        list["items"].as_array().into_iter().flatten().map(seen).collect()
    }

    /// How many pods of the namespace `default` are ready on each of these nodes.
    #[track_caller]
    pub fn ready_on<const N: usize>(&self, nodes: [&str; N]) -> [usize; N] {
        let pods = self.pods("default");
        nodes.map(|node| pods.iter().filter(|pod| pod.node == node && pod.ready).count())
    }

    /// Applies a Deployment `web` of probes, which spread over the nodes; `more` are further fields of the container.
    #[track_caller]
    pub fn deploy(&self, replicas: usize, more: &str) {
        let text = format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 3
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
      - {{name: web, image: "naru.local/probe:1"{more}}}
"#
        );
        self.server.kubectl_fed(&text, &["apply", "-f", "-"]).ok();
    }

    /// Publishes that Deployment at a port of every node.
    #[track_caller]
    pub fn expose(&self, port: u16) {
        let service = serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": port}]}});
        self.server.kubectl_fed(&service.to_string(), &["apply", "-f", "-"]).ok();
    }
}
