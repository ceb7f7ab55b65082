//! Exec and attach over SPDY: one stream each for input, output, error output, size and exit.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use super::{
    Stream,
    connection::{Writer, serve},
};
use crate::http::{
    channels::{Channel, In, Out, Peer, resize},
    session::Wanted,
};

/// Versions of the remote command protocol, the newest first. From version 4 on the exit is told as a status object.
pub(in crate::http) const VERSIONS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const OPEN: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Streams {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn place(&mut self, stream: Stream) {
        let slot = match stream.header("streamtype") {
            Some("stdin") => &mut self.stdin,
            Some("stdout") => &mut self.stdout,
            Some("stderr") => &mut self.stderr,
            Some("error") => &mut self.error,
            Some("resize") => &mut self.resize,
            _ => return,
        };
        *slot = Some(stream);
    }

    /// Every stream that the client said it would open is there. The one for sizes may come later or never.
    fn complete(&self, wanted: Wanted) -> bool {
        self.error.is_some()
            && (!wanted.stdin || self.stdin.is_some())
            && (!wanted.stdout || self.stdout.is_some())
            && (!wanted.stderr || self.stderr.is_some())
    }
}

/// Serves a session over SPDY; `None` when the client does not open its streams in time.
pub(in crate::http) async fn peer<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    io: S,
    wanted: Wanted,
) -> Option<Peer> {
    let mut accepted = serve(io);
    let mut streams = Streams::default();
    let opened = tokio::time::timeout(OPEN, async {
        while !streams.complete(wanted) {
            streams.place(accepted.recv().await?);
        }
        Some(())
    })
    .await;
    opened.ok().flatten()?;
    let (out, outbox) = mpsc::channel(16);
    let (sender, input) = mpsc::channel(16);
    let writer = |stream: &Option<Stream>| stream.as_ref().map(Stream::writer);
    let writers = [writer(&streams.stdout), writer(&streams.stderr), writer(&streams.error)];
    tokio::spawn(send(writers, outbox));
    if let Some(stdin) = streams.stdin.take() {
        tokio::spawn(feed(stdin, sender.clone()));
    }
    tokio::spawn(sizes(streams.resize.take(), accepted, sender));
    Some(Peer { out, input })
}

async fn send([stdout, stderr, error]: [Option<Writer>; 3], mut outbox: mpsc::Receiver<Out>) {
    let of = |channel| match channel {
        Channel::Stdout => stdout.as_ref(),
        Channel::Stderr => stderr.as_ref(),
        Channel::Error => error.as_ref(),
    };
    while let Some(next) = outbox.recv().await {
        match next {
            Out::Data(channel, data) => {
                if let Some(writer) = of(channel) {
                    writer.send(data).await;
                }
            }
            Out::End(channel) => {
                if let Some(writer) = of(channel) {
                    writer.finish().await;
                }
            }
            Out::Over => break,
        }
    }
    for channel in [Channel::Error, Channel::Stdout, Channel::Stderr] {
        if let Some(writer) = of(channel) {
            writer.finish().await;
        }
    }
}

async fn feed(mut stdin: Stream, sender: mpsc::Sender<In>) {
    while let Some(bytes) = stdin.recv().await {
        if sender.send(In::Stdin(bytes)).await.is_err() {
            // Nobody wants input any more; the connection's other streams go on.
            while stdin.recv().await.is_some() {}
            return;
        }
    }
    let _ = sender.send(In::StdinEnd).await;
}

/// Sizes are JSON objects one after another; the stream may be opened late.
async fn sizes(mut stream: Option<Stream>, mut accepted: mpsc::Receiver<Stream>, sender: mpsc::Sender<In>) {
    let mut text = Vec::new();
    loop {
        let Some(open) = &mut stream else {
            match accepted.recv().await {
                Some(late) if late.header("streamtype") == Some("resize") => stream = Some(late),
                Some(_) => {}
                None => return,
            }
            continue;
        };
        let Some(bytes) = open.recv().await else { return };
        text.extend_from_slice(&bytes);
        while let Some(end) = text.iter().position(|byte| *byte == b'}') {
            let object: Vec<u8> = text.drain(..=end).collect();
            if let Some(size) = resize(&object)
                && sender.send(In::Resize(size)).await.is_err()
            {
                return;
            }
        }
    }
}
