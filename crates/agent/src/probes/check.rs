//! One execution of a probe.

use std::{net::IpAddr, time::Duration};

use naru_api::k8s::api::core::v1::Probe;
use naru_runtime::pod::{ContainerName, ExecConfig, PodUid, Reader, Runtime};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{Target, grpc, http};

/// Output of a probe that is kept for its event.
const OUTPUT: u64 = 4096;

/// Runs a probe once; the error says what a user should read.
pub(super) async fn check(
    runtime: &dyn Runtime,
    uid: &PodUid,
    name: &ContainerName,
    probe: &Probe,
    target: &Target<'_>,
    limit: Duration,
) -> Result<(), String> {
    if let Some(command) = &probe.exec {
        let args = command.command.clone().unwrap_or_default();
        let ran = timeout(limit, exec(runtime, uid, name, args, ExecConfig::default())).await;
        let (code, output) = ran.map_err(|_| format!("command timed out after {limit:?}"))??;
        return if code == 0 { Ok(()) } else { Err(format!("exit code {code}: {output}")) };
    }
    if let Some(get) = &probe.http_get {
        let status = http::get(get, target, limit).await?;
        return if (200..400).contains(&status) {
            Ok(())
        } else {
            Err(format!("HTTP probe failed with statuscode: {status}"))
        };
    }
    if let Some(socket) = &probe.tcp_socket {
        return tcp(socket.host.as_deref(), target.address, target.port(&socket.port)?, limit).await;
    }
    if let Some(call) = &probe.grpc {
        let port = u16::try_from(call.port).map_err(|_| format!("{} is not a port", call.port))?;
        let asked = grpc::healthy(target.address, port, call.service.as_deref().unwrap_or_default());
        return timeout(limit, asked).await.map_err(|_| format!("no answer within {limit:?}"))?;
    }
    Ok(())
}

/// Runs a command in a container: its exit code and the beginning of its output.
pub(crate) async fn exec(
    runtime: &dyn Runtime,
    uid: &PodUid,
    name: &ContainerName,
    args: Vec<String>,
    config: ExecConfig,
) -> Result<(i32, String), String> {
    let session = runtime.exec(uid, name, ExecConfig { args, ..config }).await.map_err(|error| crate::chain(&error))?;
    let (out, err, exit) = tokio::join!(read(session.stdout), read(session.stderr), session.exit);
    let exit = exit.map_err(|error| crate::chain(&error))?;
    let output = format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    Ok((exit.code, output.trim_end().to_owned()))
}

/// The beginning of a stream, read to its end.
async fn read(stream: Option<Reader>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    let _ = (&mut stream).take(OUTPUT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    kept
}

/// Opens a connection.
pub(crate) async fn tcp(host: Option<&str>, address: Option<IpAddr>, port: u16, limit: Duration) -> Result<(), String> {
    timeout(limit, connect(host, address, port)).await.map_err(|_| format!("no connection within {limit:?}"))?.map(drop)
}

/// A connection to a host by name, or to the pod.
pub(super) async fn connect(host: Option<&str>, address: Option<IpAddr>, port: u16) -> Result<TcpStream, String> {
    let host = host.filter(|host| !host.is_empty()).map(str::to_owned);
    let host = host.or_else(|| address.map(|address| address.to_string())).ok_or("the pod has no address yet")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    TcpStream::connect((bare.as_str(), port)).await.map_err(|error| format!("dial tcp {host}:{port}: {error}"))
}
