//! Volumes and the claims on them.

use serde::Deserialize;
use serde_json::Value;

use super::Meta;

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    /// Metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub spec: VolumeClaimSpec,
    /// Its phase.
    pub status: VolumePhase,
}

/// What a claim asks for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeClaimSpec {
    /// The class; absent: the default one; empty: none, only existing volumes.
    pub storage_class_name: Option<String>,
    /// The volume it is bound to (or wants).
    pub volume_name: String,
    /// `ReadWriteOnce` and kin.
    pub access_modes: Vec<String>,
    /// `requests.storage`
    pub resources: Value,
    /// Which volumes may serve.
    pub selector: Option<Value>,
    /// `Filesystem` (also when empty) or `Block`.
    pub volume_mode: String,
}

/// A phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumePhase {
    /// `Pending`, `Available`, `Bound`, `Released`, `Failed` or `Lost`.
    pub phase: String,
    /// In a sentence.
    pub message: String,
    /// What a claim has got.
    pub capacity: Option<Value>,
}

/// A PersistentVolume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    /// Metadata.
    pub metadata: Meta,
    /// What it is.
    pub spec: VolumeSpec,
    /// Its phase.
    pub status: VolumePhase,
}

/// What a volume is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    /// Its class; empty for none.
    pub storage_class_name: String,
    /// The claim that holds it.
    pub claim_ref: Option<ClaimRef>,
    /// What it can do.
    pub access_modes: Vec<String>,
    /// `storage`
    pub capacity: Value,
    /// `Retain` (also when empty) or `Delete`.
    pub persistent_volume_reclaim_policy: String,
    /// `Filesystem` (also when empty) or `Block`.
    pub volume_mode: String,
    /// Where it can be used.
    pub node_affinity: Option<Value>,
}

/// The claim that holds a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid; empty when the volume was set aside for a claim to come.
    pub uid: String,
}

/// A StorageClass.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    /// Metadata.
    pub metadata: Meta,
    /// Who makes its volumes.
    pub provisioner: String,
    /// `Delete` (also when empty) or `Retain`.
    pub reclaim_policy: String,
    /// `Immediate` (also when empty) or `WaitForFirstConsumer`.
    pub volume_binding_mode: String,
    /// Whether a claim may grow after it was bound.
    pub allow_volume_expansion: bool,
}
