//! What a pod is made of before any container runs in it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{PodUid, Resources};

/// Where one of a pod's namespaces comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NamespaceMode {
    /// A new one, held by the supervisor.
    #[default]
    Private,
    /// The host's.
    Host,
    /// An existing one, by path (for example `/proc/<pid>/ns/net` of another pod's supervisor).
    Path(PathBuf),
}

/// A pod to be created. Containers are started in it afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodConfig {
    /// Identity; names the folders, the socket and the cgroup.
    pub uid: PodUid,
    /// The Kubernetes namespace, for records only.
    pub namespace: String,
    /// The pod's name, for records only.
    pub name: String,
    /// The UTS host name; at most 64 bytes. Ignored with the host's UTS namespace.
    pub hostname: String,
    /// The NIS domain name, when one is asked for.
    #[serde(default)]
    pub domainname: Option<String>,
    /// The network namespace. A new one has only `lo`, which is brought up.
    #[serde(default)]
    pub network: NamespaceMode,
    /// The IPC namespace (System V objects, POSIX queues) and with it the pod's `/dev/shm`.
    #[serde(default)]
    pub ipc: NamespaceMode,
    /// The UTS namespace. `Host` is what Kubernetes gives to host-network pods.
    #[serde(default)]
    pub uts: NamespaceMode,
    /// One process namespace for all containers of the pod, with a small reaper as process 1.
    #[serde(default)]
    pub share_process_namespace: bool,
    /// Containers see the host's processes.
    #[serde(default)]
    pub host_pid: bool,
    /// Kernel parameters by dotted name; only namespaced ones can be set.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// The cgroup that the pod's own is made in, relative to the runtime's root, for example `burstable`. Empty: the root.
    #[serde(default)]
    pub cgroup_parent: PathBuf,
    /// Limits over all containers together.
    #[serde(default)]
    pub resources: Resources,
    /// Size of the `/dev/shm` that the containers share, in bytes. `None`: 64 MiB, as Docker gives.
    #[serde(default)]
    pub shm_size: Option<u64>,
}

impl PodConfig {
    /// A pod with everything private and nothing limited.
    pub fn new(uid: PodUid, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            uid,
            namespace: namespace.into(),
            hostname: name.clone(),
            name,
            domainname: None,
            network: NamespaceMode::Private,
            ipc: NamespaceMode::Private,
            uts: NamespaceMode::Private,
            share_process_namespace: false,
            host_pid: false,
            sysctls: BTreeMap::new(),
            cgroup_parent: PathBuf::new(),
            resources: Resources::default(),
            shm_size: None,
        }
    }
}
