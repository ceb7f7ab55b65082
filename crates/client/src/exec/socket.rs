//! Opening a WebSocket over a transport.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use naru_api::status::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::StreamError;
use crate::{BoxedIo, Client, UpgradeError, empty_body};

/// Closes one channel; its data is the channel's byte. Version 5 only.
pub(super) const CLOSE: u8 = 255;

/// An open WebSocket and what was agreed on it.
pub(super) struct Socket {
    pub(super) stream: WebSocketStream<BoxedIo>,
    /// Whether single channels can be closed.
    pub(super) closes: bool,
}

pub(super) async fn open(client: &Client, path: &str) -> Result<Socket, StreamError> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let protocol = |error: &str| StreamError::Protocol(error.into());
    let mut request =
        client.request(&Method::GET, path, None, empty_body()).map_err(|error| StreamError::Protocol(error.into()))?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v5.channel.k8s.io, v4.channel.k8s.io"));
    let value = HeaderValue::try_from(&key).map_err(|error| StreamError::Protocol(error.into()))?;
    headers.insert(SEC_WEBSOCKET_KEY, value);
    let (response, io) = match client.transport().upgrade(request).await {
        Ok(upgraded) => upgraded,
        Err(UpgradeError::Transport(error)) => return Err(error.into()),
        Err(UpgradeError::Broken(error)) => return Err(StreamError::Protocol(error)),
        Err(UpgradeError::Refused(response)) => {
            let code = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(StreamError::Protocol)?.to_bytes();
            return Err(StreamError::Refused(Box::new(Status::from_response(code, &body))));
        }
    };
    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(protocol("its Sec-WebSocket-Accept does not fit the key"));
    }
    let closes = match response.headers().get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes) {
        Some(b"v5.channel.k8s.io") => true,
        Some(b"v4.channel.k8s.io") => false,
        _ => return Err(protocol("it agreed to no version of channel.k8s.io")),
    };
    Ok(Socket { stream: WebSocketStream::from_raw_socket(io, Role::Client, None).await, closes })
}
