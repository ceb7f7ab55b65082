//! A loaded project: every file merged, every form long, every path absolute, every variable replaced.
//!
//! It serialises to the YAML that `naru config` shows and to the JSON that the server stores; reading that back gives
//! the same project.

mod build;
mod deploy;
mod life;
mod limits;
mod links;
mod mounts;
mod service;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use build::Build;
pub use deploy::{Deploy, Limits, Placement, Preference, Resources, RestartPolicy, UpdateConfig};
pub use life::{Dependency, Healthcheck, Hook, Logging};
pub use limits::{Blkio, BlkioRate, BlkioWeight, Ulimit};
pub use links::{NetworkReference, Port};
pub use mounts::{Device, EnvFile, FileReference, Mount, MountBind, MountImage, MountTmpfs, MountVolume};
pub use service::Service;

/// A map of texts that may be unset.
pub type Texts = BTreeMap<String, Option<String>>;

/// A project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// The folder that relative paths started from.
    #[serde(rename = "x-naru-working-dir", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Its services.
    pub services: BTreeMap<String, Service>,
    /// Its networks, `default` among them when a service uses it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Network>,
    /// Its named volumes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Volume>,
    /// Its configs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, Content>,
    /// Its secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Content>,
    /// Keys of the user's own, `x-*`, as they were written.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, serde_json::Value>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its name in the cluster.
    pub name: String,
    /// Made elsewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// Without a way out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// Driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Texts,
    /// Address management, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipam: Option<serde_json::Value>,
    /// Driver options, as they were written.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: Texts,
    /// Whether services on the network have IPv6 addresses too, where the cluster has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// IPv4 on the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether others may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachable: Option<bool>,
}

/// A named volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name in the cluster.
    pub name: String,
    /// Made elsewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// Driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: Texts,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Texts,
}

/// A config or a secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Its name in the cluster.
    pub name: String,
    /// From a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From a variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Written out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Made elsewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Texts,
    /// The bytes, base64, once the client has read them; never shown by `naru config`.
    #[serde(rename = "x-naru-data", skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}
