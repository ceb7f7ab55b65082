//! What makes pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Meta};

/// A Deployment.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: DeploymentSpec,
    /// What is seen.
    pub status: DeploymentStatus,
}

/// A Deployment's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    /// How many pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: Value,
    /// What its pods are.
    pub template: Value,
    /// How it changes.
    pub strategy: Strategy,
    /// How long a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// How many old ReplicaSets to keep; 10 when absent.
    pub revision_history_limit: Option<i32>,
    /// Changes of the template are not rolled out.
    pub paused: bool,
    /// How long without progress counts as failed; 600 when absent.
    pub progress_deadline_seconds: Option<i64>,
}

/// `RollingUpdate` or `Recreate`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bounds of `RollingUpdate`.
    pub rolling_update: Option<Rolling>,
}

/// Bounds of a rolling update: numbers or percentages.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rolling {
    /// How many pods too many.
    pub max_surge: Value,
    /// How many pods too few.
    pub max_unavailable: Value,
    /// Below which ordinal pods are left alone (StatefulSets).
    pub partition: i32,
}

/// A Deployment's status.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation these figures belong to.
    pub observed_generation: i64,
    /// Pods, old and new.
    pub replicas: i32,
    /// Pods of the present template.
    pub updated_replicas: i32,
    /// Ready ones.
    pub ready_replicas: i32,
    /// Ready for long enough.
    pub available_replicas: i32,
    /// How many are missing to full availability.
    pub unavailable_replicas: i32,
    /// How often a template's hash met another's name.
    pub collision_count: Option<i32>,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A ReplicaSet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: ReplicaSetSpec,
    /// What is seen.
    pub status: ReplicaSetStatus,
}

/// A ReplicaSet's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    /// How many pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: Value,
    /// What its pods are.
    pub template: Value,
    /// How long a pod must be ready to count as available.
    pub min_ready_seconds: i64,
}

/// A ReplicaSet's status.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// The generation these figures belong to.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Pods that carry every label of the template.
    pub fully_labeled_replicas: i32,
    /// Ready ones.
    pub ready_replicas: i32,
    /// Ready for long enough.
    pub available_replicas: i32,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A DaemonSet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: DaemonSetSpec,
    /// What is seen, as JSON.
    pub status: Value,
}

/// A DaemonSet's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    /// Which pods are its own.
    pub selector: Value,
    /// What its pods are.
    pub template: Value,
    /// How it changes.
    pub update_strategy: UpdateStrategy,
    /// How long a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// How many old revisions to keep; 10 when absent.
    pub revision_history_limit: Option<i32>,
}

/// `RollingUpdate` or `OnDelete`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bounds of `RollingUpdate`.
    pub rolling_update: Option<Rolling>,
}

/// A StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: StatefulSetSpec,
    /// What is seen, as JSON.
    pub status: Value,
}

/// A StatefulSet's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    /// How many pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: Value,
    /// What its pods are.
    pub template: Value,
    /// The headless service that names its pods.
    pub service_name: String,
    /// `OrderedReady` (also when empty) or `Parallel`.
    pub pod_management_policy: String,
    /// How it changes.
    pub update_strategy: UpdateStrategy,
    /// Claims made for each pod.
    pub volume_claim_templates: Vec<Value>,
    /// How long a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// How many old revisions to keep; 10 when absent.
    pub revision_history_limit: Option<i32>,
    /// Where its ordinals begin.
    pub ordinals: Option<Value>,
}

/// A stored former template.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    /// Metadata.
    pub metadata: Meta,
    /// Which one.
    pub revision: i64,
    /// The template.
    pub data: Value,
}

/// A Job.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: JobSpec,
    /// What is seen.
    pub status: JobStatus,
}

/// A Job's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// How many pods at once; 1 when absent.
    pub parallelism: Option<i32>,
    /// How many must succeed; absent: one that succeeds ends the job.
    pub completions: Option<i32>,
    /// How many failures to bear; 6 when absent.
    pub backoff_limit: Option<i32>,
    /// How many failures to bear per index.
    pub backoff_limit_per_index: Option<i32>,
    /// How many indexes may fail.
    pub max_failed_indexes: Option<i32>,
    /// What becomes of which failure.
    pub pod_failure_policy: Option<Value>,
    /// When some indexes are enough.
    pub success_policy: Option<Value>,
    /// `TerminatingOrFailed` (also when empty) or `Failed`.
    pub pod_replacement_policy: String,
    /// Who runs it; nobody but us when empty.
    pub managed_by: String,
    /// How long it may take.
    pub active_deadline_seconds: Option<i64>,
    /// How long after its end it is deleted.
    pub ttl_seconds_after_finished: Option<i64>,
    /// `NonIndexed` (also when empty) or `Indexed`.
    pub completion_mode: String,
    /// Its pods are taken away until it is resumed.
    pub suspend: bool,
    /// Which pods are its own.
    pub selector: Value,
    /// What its pods are.
    pub template: Value,
}

/// A Job's status.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// Running pods.
    pub active: i32,
    /// Running and ready pods.
    pub ready: Option<i32>,
    /// Pods on their way out.
    pub terminating: i32,
    /// Pods that succeeded.
    pub succeeded: i32,
    /// Pods that failed.
    pub failed: i32,
    /// When it began.
    pub start_time: Option<Timestamp>,
    /// When it succeeded.
    pub completion_time: Option<Timestamp>,
    /// The indexes that succeeded, as ranges.
    pub completed_indexes: String,
    /// The indexes that failed for good, as ranges.
    pub failed_indexes: String,
    /// The pods whose end is recorded but whose finalizer may still be there.
    pub uncounted_terminated_pods: Option<Value>,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A CronJob.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CronJob {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: CronJobSpec,
    /// What is seen, as JSON.
    pub status: BTreeMap<String, Value>,
}

/// A CronJob's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    /// Five fields or a macro such as `@hourly`.
    pub schedule: String,
    /// The zone it is read in; UTC when absent.
    pub time_zone: Option<String>,
    /// `Allow` (also when empty), `Forbid` or `Replace`.
    pub concurrency_policy: String,
    /// No new runs.
    pub suspend: bool,
    /// How late a run may still begin.
    pub starting_deadline_seconds: Option<i64>,
    /// How many successful runs to keep; 3 when absent.
    pub successful_jobs_history_limit: Option<i32>,
    /// How many failed runs to keep; 1 when absent.
    pub failed_jobs_history_limit: Option<i32>,
    /// What its runs are.
    pub job_template: Value,
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: BudgetSpec,
    /// What is seen.
    pub status: BudgetStatus,
}

/// What a budget protects: a number or a percentage of either.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    /// Which pods.
    pub selector: Value,
    /// How many must stay healthy.
    pub min_available: Option<Value>,
    /// How many may be unhealthy.
    pub max_unavailable: Option<Value>,
}

/// A budget's status.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    /// The generation these figures belong to.
    pub observed_generation: i64,
    /// Pods whose eviction was granted and that are not yet on their way out.
    pub disrupted_pods: BTreeMap<String, Timestamp>,
    /// How many may be evicted now.
    pub disruptions_allowed: i32,
    /// Healthy pods.
    pub current_healthy: i32,
    /// How many must be healthy.
    pub desired_healthy: i32,
    /// How many there should be.
    pub expected_pods: i32,
    /// Conditions.
    pub conditions: Vec<Condition>,
}
