//! A process's streams.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use naru_api::status::Status;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::socket::{self, CLOSE, Socket};
use super::{StreamError, StreamOptions};
use crate::resource::{Query, escape};
use crate::{BoxedIo, Client};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Bytes buffered between the caller and the connection, a stream.
const BUFFER: usize = 64 * 1024;

/// A running process's streams. Dropping it leaves the process; the node then decides by its terminal.
#[derive(Debug)]
pub struct Session {
    /// Its input; dropping or shutting it down tells the end of input.
    pub stdin: Option<DuplexStream>,
    /// Its output.
    pub stdout: DuplexStream,
    /// Its error output; ends at once with a terminal.
    pub stderr: DuplexStream,
    resize: watch::Sender<Option<TerminalSize>>,
    exit: oneshot::Receiver<Result<Exit, StreamError>>,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
}

/// Runs a program in a container.
///
/// # Errors
/// [`StreamError`] when the stream cannot be opened.
pub async fn exec(
    client: &Client,
    namespace: &str,
    pod: &str,
    options: &StreamOptions,
) -> Result<Session, StreamError> {
    let path = path(namespace, pod, "exec", options);
    Ok(Session::start(socket::open(client, &path).await?, options.stdin))
}

/// Joins the streams of a container's main process.
///
/// # Errors
/// [`StreamError`] when the stream cannot be opened.
pub async fn attach(
    client: &Client,
    namespace: &str,
    pod: &str,
    options: &StreamOptions,
) -> Result<Session, StreamError> {
    let path = path(namespace, pod, "attach", options);
    Ok(Session::start(socket::open(client, &path).await?, options.stdin))
}

fn path(namespace: &str, pod: &str, what: &str, options: &StreamOptions) -> String {
    let mut query = Query::default()
        .add("container", &options.container)
        .flag("stdin", options.stdin)
        .flag("stdout", options.stdout)
        .flag("stderr", options.stderr && !options.tty)
        .flag("tty", options.tty);
    for word in &options.command {
        query = query.word("command", word);
    }
    for (name, value) in &options.query {
        query = query.word(name, value);
    }
    query.onto(&format!("/api/v1/namespaces/{}/pods/{}/{what}", escape(namespace), escape(pod)))
}

impl Session {
    fn start(socket: Socket, with_stdin: bool) -> Session {
        let (sink, stream) = socket.stream.split();
        let (stdin, input) = duplex(BUFFER);
        let (stdout, output) = duplex(BUFFER);
        let (stderr, errors) = duplex(BUFFER);
        let (resize, sizes) = watch::channel(None);
        let (told, exit) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        tokio::spawn(async move {
            let outcome = receive(stream, output, errors).await;
            drop(over);
            // Nobody may be waiting for the exit.
            let _ = told.send(outcome);
        });
        let input = with_stdin.then_some(input);
        tokio::spawn(send(sink, input, socket.closes, sizes, ended));
        Session { stdin: with_stdin.then_some(stdin), stdout, stderr, resize, exit }
    }

    /// Tells the process's terminal its size.
    pub fn resize(&self, size: TerminalSize) {
        self.resize.send_replace(Some(size));
    }

    /// A handle to tell the size after the session has been taken apart.
    pub fn resizer(&self) -> watch::Sender<Option<TerminalSize>> {
        self.resize.clone()
    }

    /// Waits for the process's end. Output that has not been read stays readable.
    ///
    /// # Errors
    /// [`StreamError::Failed`] when it could not be run, [`StreamError::Cut`] when the connection broke.
    pub async fn wait(&mut self) -> Result<Exit, StreamError> {
        (&mut self.exit).await.unwrap_or(Err(StreamError::Cut))
    }
}

async fn receive(
    mut stream: SplitStream<WebSocketStream<BoxedIo>>,
    output: DuplexStream,
    errors: DuplexStream,
) -> Result<Exit, StreamError> {
    let (mut output, mut errors) = (Some(output), Some(errors));
    let mut exit = None;
    while let Some(message) = stream.next().await {
        let data = match message {
            Ok(Message::Binary(data)) => data,
            Ok(Message::Close(_)) => break,
            Ok(_) => continue,
            // A peer that has told the exit may drop the connection without the closing handshake.
            Err(_) if exit.is_some() => break,
            Err(error) => return Err(StreamError::Protocol(error.into())),
        };
        let Some((channel, data)) = data.split_first() else { continue };
        match *channel {
            STDOUT => deliver(&mut output, data).await,
            STDERR => deliver(&mut errors, data).await,
            ERROR => exit = Some(outcome(data)),
            CLOSE => match data.first() {
                Some(&STDOUT) => output = None,
                Some(&STDERR) => errors = None,
                _ => {}
            },
            _ => {}
        }
    }
    exit.unwrap_or(Err(StreamError::Cut))
}

/// Hands data to the caller; a caller who has stopped reading does not stop the other streams.
async fn deliver(to: &mut Option<DuplexStream>, data: &[u8]) {
    if let Some(stream) = to
        && stream.write_all(data).await.is_err()
    {
        *to = None;
    }
}

/// Reads the status with which a process ended.
fn outcome(data: &[u8]) -> Result<Exit, StreamError> {
    let mut value: Value = serde_json::from_slice(data).map_err(|error| StreamError::Protocol(error.into()))?;
    if value["status"] == "Success" {
        return Ok(Exit { code: 0 });
    }
    let causes = value["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => Ok(Exit { code }),
        None => {
            // On this channel nodes leave the kind out: there is no other.
            value["kind"] = "Status".into();
            let status = Status::from_json(&value).unwrap_or_else(|| Status::from_response(500, data));
            Err(StreamError::Failed(Box::new(status)))
        }
    }
}

async fn send(
    mut sink: SplitSink<WebSocketStream<BoxedIo>, Message>,
    mut input: Option<DuplexStream>,
    closes: bool,
    mut sizes: watch::Receiver<Option<TerminalSize>>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    let mut resizable = true;
    loop {
        let message = tokio::select! {
            biased;
            _ = &mut ended => break,
            changed = sizes.changed(), if resizable => {
                resizable = changed.is_ok();
                let Some(size) = *sizes.borrow_and_update() else { continue };
                if !resizable { continue }
                frame(RESIZE, json!({ "Width": size.width, "Height": size.height }).to_string().as_bytes())
            }
            read = read_some(&mut input, &mut buffer) => match read {
                Some(data) => frame(STDIN, &data),
                None => {
                    input = None;
                    if !closes { continue }
                    frame(CLOSE, &[STDIN])
                }
            },
        };
        if sink.send(Message::Binary(message)).await.is_err() {
            break;
        }
    }
    // The peer may be gone already.
    let _ = sink.close().await;
}

/// The next input, or `None` once at its end; never returns when there is no (more) input.
async fn read_some(input: &mut Option<DuplexStream>, buffer: &mut BytesMut) -> Option<Bytes> {
    let Some(stream) = input else { return std::future::pending().await };
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(buffer.split().freeze()),
    }
}

/// A message: the channel's byte and its data.
pub(super) fn frame(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    message.freeze()
}
