//! Agreeing on a protocol for a two-way stream.

use base64::Engine as _;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use naru_client::{Body, empty_body};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::reply::Refusal;

/// The stream after the upgrade.
pub(super) type Io = TokioIo<Upgraded>;

/// What was agreed on.
pub(super) struct Agreed {
    /// The answer that says so.
    pub response: Response<Body>,
    /// SPDY directly, else WebSocket.
    pub spdy: bool,
    /// The subprotocol.
    pub protocol: String,
    /// The stream, once the answer is sent.
    pub upgrade: OnUpgrade,
}

/// Picks the first of `websocket` that the client offers over WebSocket, or of `spdy` over SPDY/3.1.
pub(super) fn agree(
    request: &mut http::Request<hyper::body::Incoming>,
    websocket: &[&str],
    spdy: &[&str],
) -> Result<Agreed, Refusal> {
    let upgrade = hyper::upgrade::on(&mut *request);
    let headers = request.headers();
    let wanted =
        headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut response = Response::new(empty_body());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let spdy_wanted = wanted == "spdy/3.1";
    let protocol = match wanted.as_str() {
        "websocket" => {
            let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
            if base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|key| key.len() != 16) {
                return Err(Refusal::bad("Sec-WebSocket-Key: expected 16 bytes in base64"));
            }
            let protocol = choose(headers, "sec-websocket-protocol", websocket)?;
            answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            answer.insert(header::SEC_WEBSOCKET_ACCEPT, text(&derive_accept_key(key))?);
            answer.insert(header::SEC_WEBSOCKET_PROTOCOL, text(protocol)?);
            protocol
        }
        "spdy/3.1" => {
            let protocol = choose(headers, "x-stream-protocol-version", spdy)?;
            answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
            answer.insert("x-stream-protocol-version", text(protocol)?);
            protocol
        }
        _ => return Err(Refusal::bad("expected a request to upgrade to websocket or SPDY/3.1")),
    };
    let protocol = protocol.to_owned();
    Ok(Agreed { response, spdy: spdy_wanted, protocol, upgrade })
}

fn choose<'a>(headers: &HeaderMap, name: &str, ours: &[&'a str]) -> Result<&'a str, Refusal> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let chosen = ours.iter().find(|own| offered.contains(*own));
    chosen.copied().ok_or_else(|| Refusal::bad(format!("{name}: expected one of {ours:?}, got {offered:?}")))
}

fn text(value: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(value).map_err(|error| Refusal::failed(&error))
}

/// The upgraded stream.
pub(super) async fn io(upgrade: OnUpgrade) -> Result<Io, hyper::Error> {
    upgrade.await.map(TokioIo::new)
}
