//! Channels over WebSocket (`v4.channel.k8s.io`, `v5.channel.k8s.io`), and any byte stream over it.
//!
//! One binary message is a channel's number and its data. Version 5 adds channel 255, by which the client closes the
//! channel named by its one byte of data. Kubernetes' clients take no such message themselves, and take any end but a
//! close frame that says "normal" for a broken connection.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use super::channels::{Channel, In, Out, Peer, resize};

pub(super) const V5: &str = "v5.channel.k8s.io";
pub(super) const V4: &str = "v4.channel.k8s.io";
const STDIN: u8 = 0;
const RESIZE: u8 = 4;
pub(super) const CLOSE: u8 = 255;
const BUFFER: usize = 64 << 10;

/// A message of one channel.
pub(super) fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(data.len() + 1);
    bytes.put_u8(channel);
    bytes.put_slice(data);
    Message::Binary(bytes.freeze())
}

/// The end of a connection on which everything went well.
pub(super) fn farewell() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Takes over an upgraded stream as the server's side.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Server, None).await
}

/// Serves a session over WebSocket.
pub(super) async fn peer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S, closes: bool) -> Peer {
    let (mut sink, mut stream) = open(io).await.split();
    let (out, mut outbox) = mpsc::channel::<Out>(16);
    let (sender, input) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(next) = outbox.recv().await {
            let number = |channel| match channel {
                Channel::Stdout => 1,
                Channel::Stderr => 2,
                Channel::Error => 3,
            };
            let sent = match next {
                Out::Data(channel, data) => sink.send(message(number(channel), &data)).await,
                Out::End(_) => Ok(()),
                Out::Over => break,
            };
            if sent.is_err() {
                return;
            }
        }
        let _ = sink.send(farewell()).await;
    });
    tokio::spawn(async move {
        while let Some(Ok(next)) = stream.next().await {
            let data = match next {
                Message::Binary(data) => data,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => break,
                _ => continue,
            };
            let Some(channel) = data.first().copied() else { continue };
            let rest = data.slice(1..);
            let input = match channel {
                // An empty message of version 4 is no end: kubectl sends one to open the channel.
                STDIN if rest.is_empty() => continue,
                STDIN => In::Stdin(rest),
                RESIZE => match resize(&rest) {
                    Some(size) => In::Resize(size),
                    None => continue,
                },
                CLOSE if closes && rest.first() == Some(&STDIN) => In::StdinEnd,
                _ => continue,
            };
            if sender.send(input).await.is_err() {
                // Nobody reads any more; the messages still have to be drained for pings and the close.
                continue;
            }
        }
    });
    Peer { out, input }
}

/// A byte stream carried in binary messages, as kubectl tunnels SPDY.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) -> DuplexStream {
    let (mut sink, mut stream) = open(io).await.split();
    let (near, far) = tokio::io::duplex(BUFFER);
    let (mut from, mut to) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count) = from.read(&mut buffer).await {
            if count == 0 || sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                break;
            }
        }
        let _ = sink.send(farewell()).await;
    });
    tokio::spawn(async move {
        while let Some(Ok(next)) = stream.next().await {
            match next {
                Message::Binary(data) if to.write_all(&data).await.is_err() => break,
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = to.shutdown().await;
    });
    near
}
