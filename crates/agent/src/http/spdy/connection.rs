//! One SPDY connection, from the server's side: the client opens streams, they are handed out as they come.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    frame::Frame,
    headers::{Decoder, Encoder, Headers},
};

/// Frames that wait to be written.
const QUEUE: usize = 32;
/// Chunks of one stream that wait to be read.
const BACKLOG: usize = 64;
/// Longer data is cut into frames of this size.
const CHUNK: usize = 32 << 10;

/// A stream that the client opened.
pub(in crate::http) struct Stream {
    headers: Headers,
    data: mpsc::Receiver<Bytes>,
    writer: Writer,
}

/// The sending side of a stream.
#[derive(Clone)]
pub(in crate::http) struct Writer {
    id: u32,
    queue: mpsc::Sender<Frame>,
}

impl Stream {
    /// A header's value; names are in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The next data; `None` when the client has ended its side.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.data.recv().await
    }

    /// A handle to send with.
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Sends data; false when the connection is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        self.writer.send(data).await
    }

    /// Ends our side.
    pub async fn finish(&self) {
        self.writer.finish().await;
    }
}

impl Writer {
    /// Sends data; false when the connection is gone.
    pub async fn send(&self, mut data: Bytes) -> bool {
        while !data.is_empty() {
            let chunk = data.split_to(data.len().min(CHUNK));
            if self.queue.send(Frame::Data { id: self.id, fin: false, data: chunk }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends our side.
    pub async fn finish(&self) {
        let _ = self.queue.send(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await;
    }
}

/// Serves a connection; its streams come out until it ends.
pub(in crate::http) fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: S) -> mpsc::Receiver<Stream> {
    let (from, to) = tokio::io::split(io);
    let (queue, outbox) = mpsc::channel(QUEUE);
    let (streams, accepted) = mpsc::channel(QUEUE);
    tokio::spawn(write(to, outbox));
    tokio::spawn(async move {
        if let Err(error) = read(from, queue, streams).await {
            tracing::debug!(%error, "a SPDY connection ended");
        }
    });
    accepted
}

async fn write<W: AsyncWrite + Unpin>(mut to: W, mut outbox: mpsc::Receiver<Frame>) {
    let mut encoder = Encoder::new();
    while let Some(frame) = outbox.recv().await {
        // Blocks are compressed in the order in which they are sent.
        let frame = match frame {
            Frame::SynReply { id, fin, .. } => match encoder.encode(&Headers::new()) {
                Ok(block) => Frame::SynReply { id, fin, block: block.into() },
                Err(error) => return tracing::debug!(%error, "a header block was not written"),
            },
            other => other,
        };
        if to.write_all(&frame.bytes()).await.is_err() || (outbox.is_empty() && to.flush().await.is_err()) {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn read<R: AsyncRead + Unpin>(
    mut from: R,
    queue: mpsc::Sender<Frame>,
    streams: mpsc::Sender<Stream>,
) -> std::io::Result<()> {
    let mut decoder = Decoder::new();
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    while let Some(frame) = Frame::read(&mut from).await? {
        match frame {
            Frame::SynStream { id, fin, block } => {
                let headers = decoder.decode(&block)?;
                let (sender, data) = mpsc::channel(BACKLOG);
                if !fin {
                    open.insert(id, sender);
                }
                if queue.send(Frame::SynReply { id, fin: false, block: Bytes::new() }).await.is_err() {
                    return Ok(());
                }
                let writer = Writer { id, queue: queue.clone() };
                if streams.send(Stream { headers, data, writer }).await.is_err() {
                    return Ok(());
                }
            }
            Frame::Headers { id, fin, block } => {
                // Nothing reads them, but the decompressor must see every block.
                decoder.decode(&block)?;
                if fin {
                    open.remove(&id);
                }
            }
            Frame::SynReply { block, .. } => drop(decoder.decode(&block)?),
            Frame::Data { id, fin, data } => {
                if let Some(sender) = open.get(&id).filter(|_| !data.is_empty()) {
                    // A stream that nobody reads any more swallows its data.
                    let _ = sender.send(data).await;
                }
                if fin {
                    open.remove(&id);
                }
            }
            Frame::Reset { id } => drop(open.remove(&id)),
            Frame::Ping { id } => {
                // Clients count odd; an even number is the echo of a ping of ours, which we never send.
                if id % 2 == 1 && queue.send(Frame::Ping { id }).await.is_err() {
                    return Ok(());
                }
            }
            Frame::GoAway => return Ok(()),
            Frame::Other => {}
        }
    }
    Ok(())
}
