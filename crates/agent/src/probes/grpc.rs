//! The gRPC health protocol: one unary call of `grpc.health.v1.Health/Check` over cleartext HTTP/2.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::check::connect;

/// `SERVING` in the protocol.
const SERVING: u8 = 1;

/// Asks whether `service` (empty: the whole server) is serving.
pub(super) async fn healthy(address: Option<IpAddr>, port: u16, service: &str) -> Result<(), String> {
    let stream = connect(None, address, port).await?;
    let host = stream.peer_addr().map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP/2: {error}"))?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.36")
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string());
    let answer = async {
        let answer = sender.send_request(request?).await.map_err(|error| format!("no answer: {error}"))?;
        let early = answer.headers().get("grpc-status").cloned();
        let body = answer.into_body().collect().await.map_err(|error| format!("the answer broke off: {error}"))?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned().or(early);
        Ok::<_, String>((status, body.to_bytes()))
    }
    .await;
    connection.abort();
    let (status, body) = answer?;
    match status.as_ref().map(|status| status.as_bytes()) {
        Some(b"0") => {}
        Some(code) => return Err(format!("gRPC status {}", String::from_utf8_lossy(code))),
        None => return Err("not a gRPC server".to_owned()),
    }
    match serving(&body) {
        Some(SERVING) => Ok(()),
        other => Err(format!("service unhealthy (responded with {other:?})")),
    }
}

/// `HealthCheckRequest { service = 1 }` with gRPC's five bytes before it.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    framed.into()
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `HealthCheckResponse { status = 1 }`: absent is zero, `UNKNOWN`.
pub(super) fn serving(framed: &[u8]) -> Option<u8> {
    let message = framed.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}
