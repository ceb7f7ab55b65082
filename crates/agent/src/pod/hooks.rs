//! `postStart` and `preStop`.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use naru_api::k8s::api::core::v1::{LifecycleHandler, Pod};
use naru_runtime::pod::{ContainerName, ExecConfig, PodUid, RunAs, Runtime};
use serde::Deserialize;

use crate::{
    machine::EffectError,
    probes::{self, Target},
};

/// A hook that says more than its command (`naru.io/hooks`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Command {
    command: Vec<String>,
    user: Option<String>,
    privileged: bool,
    working_dir: Option<PathBuf>,
    environment: BTreeMap<String, Option<String>>,
}

impl Command {
    /// The hooks of a container in order; `None` where its `lifecycle` says all.
    pub(super) fn all(pod: &Pod, container: &str, post_start: bool) -> Option<Vec<Command>> {
        let note = pod.metadata.annotations.as_ref()?.get(naru_api::naru::names::HOOKS)?;
        let mut all: BTreeMap<String, BTreeMap<String, Vec<Command>>> = serde_json::from_str(note).ok()?;
        all.remove(container)?.remove(if post_start { "postStart" } else { "preStop" })
    }

    fn config(&self) -> ExecConfig {
        let user = self.user.clone().map(|user| RunAs { user, ..RunAs::default() });
        let set = |(name, value): (&String, &Option<String>)| Some(format!("{name}={}", value.as_ref()?));
        ExecConfig {
            env: self.environment.iter().filter_map(set).collect(),
            cwd: self.working_dir.clone(),
            user,
            privileged: self.privileged,
            ..ExecConfig::default()
        }
    }
}

/// Runs a command hook to its end.
pub(super) async fn run_command(
    runtime: &dyn Runtime,
    uid: &PodUid,
    container: &ContainerName,
    command: Command,
) -> Result<(), EffectError> {
    let failed = |message: String| EffectError::new("FailedHook", message);
    let config = command.config();
    let (code, output) = probes::exec(runtime, uid, container, command.command, config).await.map_err(failed)?;
    if code == 0 { Ok(()) } else { Err(failed(format!("exec hook exited with {code}: {output}"))) }
}

/// Runs a hook to its end.
pub(super) async fn run(
    runtime: &dyn Runtime,
    uid: &PodUid,
    container: &ContainerName,
    hook: &LifecycleHandler,
    target: &Target<'_>,
) -> Result<(), EffectError> {
    let failed = |message: String| EffectError::new("FailedHook", message);
    if let Some(exec) = &hook.exec {
        let args = exec.command.clone().unwrap_or_default();
        let (code, output) =
            probes::exec(runtime, uid, container, args, ExecConfig::default()).await.map_err(failed)?;
        return if code == 0 { Ok(()) } else { Err(failed(format!("exec hook exited with {code}: {output}"))) };
    }
    if let Some(http) = &hook.http_get {
        let timeout = Duration::from_secs(30);
        return probes::http(http, target, timeout).await.map(drop).map_err(failed);
    }
    if let Some(tcp) = &hook.tcp_socket {
        let address: Option<IpAddr> = target.address;
        let port = target.port(&tcp.port).map_err(failed)?;
        return probes::tcp(tcp.host.as_deref(), address, port, Duration::from_secs(30)).await.map_err(failed);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hooks_of_the_annotation_stand_over_the_lifecycle() {
        let hooks = json!({"web": {"postStart": [{"command": ["a"]}, {"command": ["b"], "user": "1:2", "privileged": true,
            "working_dir": "/w", "environment": {"A": "1", "B": null}}]}});
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"annotations": {"naru.io/hooks": hooks.to_string()}}})).unwrap();
        let all = Command::all(&pod, "web", true).unwrap();
        assert_eq!(all.iter().map(|hook| hook.command[0].as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let plain = all[0].config();
        assert!(plain.user.is_none() && plain.cwd.is_none() && plain.env.is_empty() && !plain.privileged);
        let config = all[1].config();
        assert_eq!((config.user.unwrap().user, config.cwd, config.privileged), ("1:2".into(), Some("/w".into()), true));
        assert_eq!(config.env, ["A=1"]);
        assert!(Command::all(&pod, "web", false).is_none() && Command::all(&pod, "db", true).is_none());
    }
}
