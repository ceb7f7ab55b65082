//! Pods.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Condition, Meta, exact};

/// A pod as controllers see it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: PodSpec,
    /// What is seen.
    pub status: PodStatus,
}

/// The specification's fields that controllers read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node it is bound to; empty while pending.
    pub node_name: String,
    /// Its host name, if set.
    pub hostname: String,
    /// The headless service under which its host name is found.
    pub subdomain: String,
    /// Shares the node's network.
    pub host_network: bool,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// Which scheduler it wants.
    pub scheduler_name: String,
    /// What holds its scheduling up.
    #[serde(deserialize_with = "exact")]
    pub scheduling_gates: Vec<Gate>,
    /// Which taints it bears.
    #[serde(deserialize_with = "exact")]
    pub tolerations: Vec<Toleration>,
    /// Its containers' names and ports.
    #[serde(deserialize_with = "exact")]
    pub containers: Vec<Container>,
    /// Its init containers' ports (those that keep running may have some).
    #[serde(deserialize_with = "exact")]
    pub init_containers: Vec<Container>,
    /// Its volumes that are claims.
    #[serde(deserialize_with = "exact")]
    pub volumes: Vec<Volume>,
}

/// A scheduling gate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// Its name.
    pub name: String,
}

/// A container's name and ports.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Ports by name.
    #[serde(deserialize_with = "exact")]
    pub ports: Vec<ContainerPort>,
}

/// A named port.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: String,
    /// Number inside the pod.
    pub container_port: u16,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
}

/// A volume, as far as it names a claim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// The claim it mounts.
    pub persistent_volume_claim: Option<Claim>,
    /// A claim made for the pod itself, named `<pod>-<volume>`.
    pub ephemeral: Option<serde_json::Value>,
}

/// A claim's name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claim {
    /// The name.
    pub claim_name: String,
}

/// A toleration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// The taint's key; empty for all.
    pub key: String,
    /// `Equal` (also when empty) or `Exists`.
    pub operator: String,
    /// The taint's value.
    pub value: String,
    /// The taint's effect; empty for all.
    pub effect: String,
    /// For how long a `NoExecute` taint is borne; for ever when absent.
    pub toleration_seconds: Option<i64>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Not yet running.
    #[default]
    Pending,
    /// Bound, with at least one container started.
    Running,
    /// Every container ended well and none will run again.
    Succeeded,
    /// Every container ended, at least one badly, and none will run again.
    Failed,
    /// Its node cannot be asked.
    #[serde(other)]
    Unknown,
}

/// What is seen of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, in a word.
    pub reason: String,
    /// Its first address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// All its addresses.
    #[serde(rename = "podIPs")]
    #[serde(deserialize_with = "exact")]
    pub pod_ips: Vec<PodIp>,
    /// Conditions.
    #[serde(deserialize_with = "exact")]
    pub conditions: Vec<Condition>,
    /// Its containers.
    #[serde(deserialize_with = "exact")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Its init containers.
    #[serde(deserialize_with = "exact")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// When its node first took it up.
    pub start_time: Option<Timestamp>,
}

/// An address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// What is seen of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// How often it has been started again.
    pub restart_count: i32,
    /// Now.
    pub state: State,
    /// Before its last restart.
    pub last_state: State,
}

/// A container's state: at most one is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct State {
    /// Not running yet or between two runs.
    pub waiting: Option<Waiting>,
    /// Ended.
    pub terminated: Option<Terminated>,
}

/// Why a container waits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// In a word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i32,
    /// In a word.
    pub reason: String,
    /// When.
    pub finished_at: Option<Timestamp>,
}

impl Pod {
    /// Neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_deleting()
    }

    /// All its containers have ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase, Phase::Succeeded | Phase::Failed)
    }

    /// All its containers ended well for good.
    pub fn is_succeeded(&self) -> bool {
        self.status.phase == Phase::Succeeded
    }

    /// The condition `Ready` holds.
    pub fn is_ready(&self) -> bool {
        self.ready_condition().is_some_and(Condition::is_true)
    }

    /// Since when the condition `Ready` holds.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.ready_condition().filter(|ready| ready.is_true())?.last_transition_time
    }

    fn ready_condition(&self) -> Option<&Condition> {
        Condition::find(&self.status.conditions, "Ready")
    }

    /// How often its containers have been started again, all together.
    pub fn restarts(&self) -> i32 {
        self.status.container_statuses.iter().map(|container| container.restart_count).sum()
    }

    /// The names of the claims it mounts.
    pub fn claims(&self) -> impl Iterator<Item = String> {
        self.spec.volumes.iter().filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", self.metadata.name, volume.name)),
            (None, None) => None,
        })
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let several = self.status.pod_ips.iter().map(|ip| ip.ip.as_str());
        let one = self.status.pod_ips.is_empty().then_some(self.status.pod_ip.as_str());
        several.chain(one).filter(|ip| !ip.is_empty())
    }
}
