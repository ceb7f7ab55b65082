//! One TCP connection into a pod.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

use super::StreamError;
use super::session::frame;
use super::socket::{self, CLOSE, Socket};
use crate::Client;
use crate::resource::{Query, escape};

const DATA: u8 = 0;
const ERROR: u8 = 1;
const BUFFER: usize = 64 * 1024;

/// A connection to one port of a pod.
#[derive(Debug)]
pub struct Forward {
    /// The bytes in both directions; shutting it down ends the sending direction.
    pub stream: DuplexStream,
    end: oneshot::Receiver<Result<(), StreamError>>,
}

/// Connects to a port inside a pod, as its own `localhost` would.
///
/// # Errors
/// [`StreamError`] when the stream cannot be opened. Whether anything listens there shows in [`Forward::wait`].
pub async fn port_forward(client: &Client, namespace: &str, pod: &str, port: u16) -> Result<Forward, StreamError> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/portforward", escape(namespace), escape(pod));
    let path = Query::default().add("ports", &port.to_string()).onto(&path);
    let socket = socket::open(client, &path).await?;
    let (stream, inner) = duplex(BUFFER);
    let (told, end) = oneshot::channel();
    tokio::spawn(async move {
        let outcome = copy(socket, inner).await;
        // Nobody may be waiting for the end.
        let _ = told.send(outcome);
    });
    Ok(Forward { stream, end })
}

impl Forward {
    /// Waits for the connection's end.
    ///
    /// # Errors
    /// [`StreamError::Protocol`] with the node's words when the port could not be reached.
    pub async fn wait(&mut self) -> Result<(), StreamError> {
        (&mut self.end).await.unwrap_or(Err(StreamError::Cut))
    }

    /// Takes the stream apart from its outcome.
    pub fn split(self) -> (DuplexStream, impl Future<Output = Result<(), StreamError>>) {
        let end = self.end;
        (self.stream, async move { end.await.unwrap_or(Err(StreamError::Cut)) })
    }
}

async fn copy(socket: Socket, inner: DuplexStream) -> Result<(), StreamError> {
    let Socket { stream, closes } = socket;
    let (mut sink, mut messages) = stream.split();
    let (mut from_caller, mut to_caller) = tokio::io::split(inner);
    let sending = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let data = match from_caller.read(&mut buffer).await {
                Ok(0) | Err(_) if closes => frame(CLOSE, &[DATA]),
                Ok(0) | Err(_) => break,
                Ok(n) => frame(DATA, &buffer[..n]),
            };
            let last = data[0] == CLOSE;
            if sink.send(Message::Binary(data)).await.is_err() || last {
                break;
            }
        }
        // The receiving direction decides when the connection is over.
        std::future::pending::<()>().await;
    };
    let receiving = async {
        // Each channel begins with the port's number in two bytes.
        let mut greeted = [false; 2];
        while let Some(message) = messages.next().await {
            let data = match message.map_err(|error| StreamError::Protocol(error.into()))? {
                Message::Binary(data) => data,
                Message::Close(_) => break,
                _ => continue,
            };
            let Some((&channel, mut data)) = data.split_first() else { continue };
            if channel == CLOSE {
                // The peer has nothing more to say, but may still listen.
                if data.first() == Some(&DATA) && to_caller.shutdown().await.is_err() {
                    break;
                }
                continue;
            }
            let Some(greeted) = greeted.get_mut(usize::from(channel)) else { continue };
            if !std::mem::replace(greeted, true) {
                data = data.get(2..).unwrap_or_default();
            }
            match channel {
                ERROR if !data.is_empty() => {
                    return Err(StreamError::Protocol(String::from_utf8_lossy(data).into_owned().into()));
                }
                DATA if to_caller.write_all(data).await.is_err() => break,
                _ => {}
            }
        }
        Ok(())
    };
    let outcome = tokio::select! {
        () = sending => Ok(()),
        outcome = receiving => outcome,
    };
    // The caller may have gone.
    let _ = to_caller.shutdown().await;
    outcome
}
