//! Our own kinds, for what Kubernetes has no word for.
//!
//! A `Network` is a set of pods that may talk to each other, as Compose and Docker know it; it is enforced besides
//! network policies, not through them, because policies add up and any user's policy would open a network. A `Project`
//! keeps a Compose project's source text next to the objects that were made from it, so that it can be shown back.

pub mod health;
pub mod names;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::{Deserialize, Serialize};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `naru.io/v1 Network`, cluster-wide: pods that name it in the annotation [`names::NETWORKS`] reach one another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Network {
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: NetworkSpec,
    /// What was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<NetworkStatus>,
}

/// What a [`Network`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkSpec {
    /// The name that people use, when it is not a DNS label (`shop_default`).
    #[serde(skip_serializing_if = "is_default")]
    pub title: String,
    /// The namespace of the project that made it; empty when it is shared (Compose's `external`).
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
    /// Members reach only one another, not the world outside.
    #[serde(skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Pods that no project owns (`naru run`) may join.
    #[serde(skip_serializing_if = "is_default")]
    pub attachable: bool,
    /// Members also get IPv6 addresses.
    #[serde(rename = "enableIPv6", skip_serializing_if = "is_default")]
    pub enable_ipv6: bool,
    /// Address ranges that fixed member addresses come from.
    #[serde(skip_serializing_if = "is_default")]
    pub subnets: Vec<String>,
    /// Driver options, kept as written.
    #[serde(skip_serializing_if = "is_default")]
    pub options: BTreeMap<String, String>,
}

/// What was seen of a [`Network`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkStatus {
    /// The generation that the rest speaks of.
    pub observed_generation: i64,
    /// Number of pods that are members now.
    pub members: i64,
    /// Conditions.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
}

/// `naru.io/v1 Project`, namespaced: a Compose project's source text and resolved model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Project {
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: ProjectSpec,
    /// What was made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ProjectStatus>,
}

/// What a [`Project`] holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectSpec {
    /// The project's name as Compose has it (`my_shop`).
    pub title: String,
    /// The folder that relative paths were resolved against.
    #[serde(skip_serializing_if = "is_default")]
    pub working_dir: String,
    /// The source files in the order they were merged.
    #[serde(skip_serializing_if = "is_default")]
    pub files: Vec<SourceFile>,
    /// The variables that the files name, with the values that were used.
    #[serde(skip_serializing_if = "is_default")]
    pub environment: BTreeMap<String, String>,
    /// The profiles that were asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub profiles: Vec<String>,
    /// The resolved model as JSON text.
    #[serde(skip_serializing_if = "is_default")]
    pub model: String,
}

/// One source file of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceFile {
    /// The path it was read from.
    pub path: String,
    /// The text, byte for byte.
    pub text: String,
}

/// What was made of a [`Project`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectStatus {
    /// The generation that the rest speaks of.
    pub observed_generation: i64,
    /// The objects made, for what is to be removed when a service leaves the file.
    #[serde(skip_serializing_if = "is_default")]
    pub objects: Vec<ObjectName>,
    /// Conditions.
    #[serde(skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
}

/// The name of one object of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectName {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty for cluster-wide objects.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
    /// The name.
    pub name: String,
}
