//! `postStart` and `preStop`.

use std::{net::IpAddr, time::Duration};

use naru_api::k8s::api::core::v1::LifecycleHandler;
use naru_runtime::pod::{ContainerName, ExecConfig, PodUid, Runtime};

use crate::{
    machine::EffectError,
    probes::{self, Target},
};

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
