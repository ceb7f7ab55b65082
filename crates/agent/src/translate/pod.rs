//! The sandbox's configuration, and where a pod's files are.

use std::path::{Path, PathBuf};

use naru_api::k8s::api::core::v1::Pod;
use naru_runtime::pod::{NamespaceMode, PodConfig, PodUid};

use super::{Extras, TranslateError, qos, resources};

/// Where everything of one pod lies on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The pod's folder: `<state>/agent/<uid>`.
    pub root: PathBuf,
    /// The pod's logs: `<state>/logs/<namespace>_<name>_<uid>`.
    pub logs: PathBuf,
}

impl Paths {
    /// Of the pod with these names.
    #[must_use]
    pub fn new(state: &Path, namespace: &str, name: &str, uid: &str) -> Paths {
        Paths {
            root: state.join("agent").join(uid),
            logs: state.join("logs").join(format!("{namespace}_{name}_{uid}")),
        }
    }

    /// Volumes of the pod's own.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// A container's writable layer. One for all attempts where restarts keep it, else one an attempt.
    #[must_use]
    pub fn layer(&self, container: &str, attempt: Option<u32>) -> PathBuf {
        let layers = self.root.join("layers").join(container);
        attempt.map_or_else(|| layers.join("kept"), |attempt| layers.join(attempt.to_string()))
    }

    /// Small files bound into containers.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    /// The file in which a container leaves its last words.
    #[must_use]
    pub fn termination_log(&self, container: &str, attempt: u32) -> PathBuf {
        self.etc().join(format!("{container}-{attempt}.termination"))
    }

    /// One attempt's log file.
    #[must_use]
    pub fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.logs.join(container).join(format!("{attempt}.log"))
    }
}

/// The host name that the pod sees: `spec.hostname`, else its name, cut to what the kernel takes.
#[must_use]
pub fn hostname(pod: &Pod, domain: &str) -> String {
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|spec| spec.hostname_override.clone()).filter(|name| !name.is_empty()) {
        return name;
    }
    let chosen = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = chosen.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(63);
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let full = spec.and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    match spec.and_then(|spec| spec.subdomain.as_deref()).filter(|_| full) {
        Some(subdomain) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            format!("{name}.{subdomain}.{namespace}.svc.{domain}")
        }
        None => name,
    }
}

/// The sandbox. `join` is the network namespace of another pod, for `network_mode: service:x`.
///
/// # Errors
/// When an annotation is malformed.
pub fn pod_config(pod: &Pod, uid: PodUid, domain: &str, join: Option<PathBuf>) -> Result<PodConfig, TranslateError> {
    let extras = Extras::of(pod)?;
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut config = PodConfig::new(uid, namespace, pod.metadata.name.clone().unwrap_or_default());
    config.hostname = hostname(pod, domain);
    config.shm_size = extras.shm_size;
    config.domainname.clone_from(&extras.domainname);
    let Some(spec) = pod.spec.as_ref() else { return Ok(config) };
    let host = |flag: Option<bool>| if flag == Some(true) { NamespaceMode::Host } else { NamespaceMode::Private };
    config.network = join.map_or_else(|| host(spec.host_network), NamespaceMode::Path);
    config.uts = host(Some(spec.host_network == Some(true) || extras.host_uts));
    config.ipc = host(spec.host_ipc);
    config.host_pid = spec.host_pid == Some(true);
    config.share_process_namespace = spec.share_process_namespace == Some(true);
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    config.sysctls = sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect();
    config.resources = resources::pod(spec);
    config.cgroup_parent = match qos(spec) {
        super::Qos::Guaranteed => PathBuf::new(),
        super::Qos::Burstable => "burstable".into(),
        super::Qos::BestEffort => "besteffort".into(),
    };
    Ok(config)
}
