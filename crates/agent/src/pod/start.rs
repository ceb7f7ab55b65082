//! The start of one container: everything it needs, read and written, then one call to the runtime.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use naru_api::k8s::api::core::v1::Container;
use naru_runtime::pod::{PodError, StartStep};

use super::{Executor, execute::Resolved};
use crate::{
    machine::{EffectError, Exit, Outcome},
    translate::{self, ContainerInput, Facts, Paths},
    volumes,
};

/// How long a start waits for the namespace's services to be known.
const SERVICES: Duration = Duration::from_millis(200);

impl Executor {
    /// Starts attempt number `attempt` of a container.
    pub(super) async fn start(&self, name: &str, attempt: u32) -> Result<Outcome, EffectError> {
        let pod = self.pod();
        let (container, target) = find(&pod, name).ok_or_else(|| {
            EffectError::new("CreateContainerConfigError", format!("the pod has no container {name:?}"))
        })?;
        let Some(Resolved { image, rootfs }) = self.resolved(name) else {
            return Err(EffectError::new("CreateContainerError", "the image was not resolved"));
        };
        if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
            let text = "volumeDevices: this node gives containers no block devices: mount the volume with volumeMounts";
            return Err(EffectError::new("CreateContainerConfigError", text));
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let references = translate::references(&container);
        let lookup = self.node.objects.lookup(namespace, &references).await;
        let lookup = lookup.map_err(|error| EffectError::chain("CreateContainerConfigError", &error))?;
        // Just after the agent's start; when the API stays away the pod starts with what is known.
        if !self.node.services.is_synced() {
            let _ = tokio::time::timeout(SERVICES, self.node.services.synced()).await;
        }
        let services = self.service_variables(&pod);
        let facts = self.facts();
        let hostname = translate::hostname(&pod, &self.node.config.dns.domain);
        let prepared = self.prepared();
        // Mounts may name variables, and variables never name mounts: the environment first.
        let mut input = ContainerInput {
            pod: &pod,
            container: &container,
            target: target.as_deref(),
            attempt,
            image: &image.config,
            rootfs: &rootfs,
            facts: &facts,
            lookup: &lookup,
            services: &services,
            paths: &self.paths,
            hostname: &hostname,
            mounts: Vec::new(),
        };
        let invalid = |error: &dyn std::error::Error| EffectError::chain("CreateContainerConfigError", error);
        let variables = translate::variables(&input).map_err(|error| invalid(&error))?;
        let value = |name: &str| variables.get(name).cloned();
        let mounts = volumes::container_mounts(&pod, &container, &prepared, &self.paths, &image.config, value);
        let (mounts, copies) = mounts.map_err(|error| invalid(&error))?;
        input.mounts = mounts;
        let config = translate::container(input).map_err(|error| invalid(&error))?;
        self.write_files(&hostname, &facts, &container, attempt).map_err(|error| {
            EffectError::new("CreateContainerError", format!("cannot write below {:?}: {error}", self.paths.root))
        })?;
        if !copies.is_empty() {
            let (rootfs, root) = (rootfs.clone(), self.paths.root.clone());
            let filled = tokio::task::spawn_blocking(move || volumes::copy_up(&rootfs, &copies, &root)).await;
            let filled = filled.map_err(|error| EffectError::new("CreateContainerError", error))?;
            filled.map_err(|error| EffectError::chain("CreateContainerError", &error))?;
        }
        let started = match self.runtime().start(&self.uid, config).await {
            Ok(started) => started,
            Err(error) => return self.judge_failure(name, attempt, error).await,
        };
        self.note(super::Note::normal("Created", format!("Created container {name}")).of(name));
        self.degraded(&started.warnings);
        self.tidy(name, attempt);
        Ok(Outcome::Started { pid: started.pid, at: started.started_at, id: self.container_id(name, attempt) })
    }

    /// A start that failed: perhaps it had succeeded before a crash, perhaps the program is at fault, else try again.
    async fn judge_failure(&self, name: &str, attempt: u32, error: PodError) -> Result<Outcome, EffectError> {
        use naru_runtime::pod::ContainerState;
        if let PodError::WrongState { .. } = error
            && let Ok(record) = self.runtime().state(&self.uid).await
            && let Some((_, known)) = record.containers.iter().find(|(known, _)| known.as_str() == name)
            && known.attempt == attempt
        {
            match &known.state {
                ContainerState::Running { pid, started_at, .. } => {
                    return Ok(Outcome::Started { pid: *pid, at: *started_at, id: self.container_id(name, attempt) });
                }
                ContainerState::Exited { exit } => {
                    let exit = Some(Box::new(Exit::from_runtime(exit)));
                    return Err(EffectError { exit, ..EffectError::chain("RunContainerError", &error) });
                }
                ContainerState::Starting | ContainerState::Lost => {}
            }
        }
        let mut failed = EffectError::chain("CreateContainerError", &error);
        if let PodError::Start { failure, .. } = &error {
            let programs = [
                StartStep::WorkingDirectory,
                StartStep::ProgramNotFound,
                StartStep::ProgramNotExecutable,
                StartStep::Exec,
            ];
            if programs.contains(&failure.step) {
                let now = jiff::Timestamp::now();
                let exit = Exit {
                    code: failure.exit_code(),
                    signal: None,
                    reason: "StartError",
                    message: failed.message.clone(),
                    started_at: Some(now),
                    finished_at: now,
                    why: None,
                };
                failed.reason = "RunContainerError";
                failed.exit = Some(Box::new(exit));
            }
        }
        Err(failed)
    }

    /// Host table, resolver, host name, and the file for last words.
    fn write_files(&self, hostname: &str, facts: &Facts, container: &Container, attempt: u32) -> std::io::Result<()> {
        let pod = self.pod();
        let etc = self.paths.etc();
        fs::create_dir_all(&etc)?;
        let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let table = if on_host { fs::read_to_string("/etc/hosts").ok() } else { None };
        let dns = &self.node.config.dns;
        let hosts = translate::hosts_file(
            &pod,
            hostname,
            &facts.pod_ips,
            facts.host_ips.first().copied(),
            &dns.domain,
            table.as_deref(),
        );
        update(&etc.join("hosts"), &hosts, 0o644)?;
        update(&etc.join("resolv.conf"), &translate::resolv_conf(&pod, dns, &self.node.host_resolver), 0o644)?;
        update(&etc.join("hostname"), &format!("{hostname}\n"), 0o644)?;
        // World-writable: the program may run as anyone.
        update(&self.paths.termination_log(&container.name, attempt), "", 0o666)
    }

    /// Removes what attempts before the last one left.
    fn tidy(&self, name: &str, attempt: u32) {
        const LOGS_KEPT: u32 = 5;
        let Some(before) = attempt.checked_sub(1) else { return };
        let layer = self.paths.layer(name, Some(before));
        let words = self.paths.termination_log(name, before);
        let log = attempt.checked_sub(LOGS_KEPT).map(|old| self.paths.log(name, old));
        tokio::task::spawn_blocking(move || {
            let _ = fs::remove_dir_all(layer);
            let _ = fs::remove_file(words);
            if let Some(log) = log {
                remove_log(&log);
            }
        });
    }
}

fn remove_log(log: &Path) {
    let _ = fs::remove_file(log);
    for number in 1..100 {
        let mut rotated = log.as_os_str().to_owned();
        rotated.push(format!(".{number}"));
        if fs::remove_file(rotated).is_err() {
            break;
        }
    }
}

/// Writes a file in place (it may be bound into a running container) when it differs.
fn update(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A container of the spec by name; an ephemeral one in the form of an ordinary one, with its target.
pub(super) fn find(pod: &naru_api::k8s::api::core::v1::Pod, name: &str) -> Option<(Container, Option<String>)> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if let Some(container) = all.find(|container| container.name == name) {
        return Some((container.clone(), None));
    }
    let own = spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?.clone();
    let container = Container {
        args: own.args,
        command: own.command,
        env: own.env,
        env_from: own.env_from,
        image: own.image,
        name: own.name,
        security_context: own.security_context,
        stdin: own.stdin,
        stdin_once: own.stdin_once,
        termination_message_path: own.termination_message_path,
        termination_message_policy: own.termination_message_policy,
        tty: own.tty,
        volume_mounts: own.volume_mounts,
        working_dir: own.working_dir,
        ..Container::default()
    };
    Some((container, own.target_container_name))
}

impl Paths {
    /// A container's last words: its termination message, or by policy the end of its log.
    pub(super) fn last_words(&self, container: &Container, attempt: u32, failed: bool) -> String {
        const MOST: usize = 4096;
        let file = self.termination_log(&container.name, attempt);
        let text = fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned());
        let text = text.unwrap_or_default();
        let from_logs = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if text.is_empty() && failed && from_logs {
            return crate::logs::tail(&self.log(&container.name, attempt), 2048, 80);
        }
        text
    }
}
