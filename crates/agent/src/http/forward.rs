//! Port-forward: connections to a pod's own `localhost`.
//!
//! A socket belongs to the network namespace that its thread was in when it was made. So each connection is opened by a
//! short-lived thread that joins the pod's namespace and ends; the socket then works from anywhere.

use std::{
    collections::HashMap,
    fs::File,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    reply::{Refusal, Reply},
    router::Call,
    spdy, upgrade, websocket,
};

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const SPDY: &str = "portforward.k8s.io";
const CONNECT: Duration = Duration::from_secs(10);
const BUFFER: usize = 32 << 10;
/// A client's two streams of one connection arrive one after the other.
const PAIR: Duration = Duration::from_secs(30);

/// Where connections are opened.
#[derive(Clone, Debug)]
pub(super) struct Namespace(Option<PathBuf>);

pub(super) fn forward(mut call: Call, namespace: &str, pod: &str) -> Reply {
    let found = call.pod(namespace, pod)?;
    let on_host = found.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let sandbox = found.executor.sandbox();
    let netns = match (on_host, sandbox) {
        (true, _) => None,
        (false, Some(created)) => Some(created.netns),
        (false, None) => return Err(Refusal::new(http::StatusCode::CONFLICT, format!("pod {pod:?} is not running"))),
    };
    let place = Namespace(netns);
    let ports: Vec<u16> = call
        .query
        .all("ports")
        .iter()
        .chain(&call.query.all("port"))
        .flat_map(|list| list.split(','))
        .map(|port| port.parse().map_err(|_| Refusal::bad(format!("{port:?} is not a port"))))
        .collect::<Result<_, _>>()?;
    let agreed = upgrade::agree(&mut call.request, &[TUNNEL, websocket::V5, websocket::V4], &[SPDY])?;
    let (direct, protocol, stream) = (agreed.spdy, agreed.protocol, agreed.upgrade);
    tokio::spawn(async move {
        let io = match upgrade::io(stream).await {
            Ok(io) => io,
            Err(error) => return tracing::debug!(%error, "a stream was not taken over"),
        };
        if direct {
            over_spdy(io, place).await;
        } else if protocol == TUNNEL {
            over_spdy(websocket::tunnel(io).await, place).await;
        } else {
            over_channels(io, place, ports).await;
        }
    });
    Ok(agreed.response)
}

impl Namespace {
    /// Connects to a port of the pod's `localhost`, IPv4 before IPv6.
    pub async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let place = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            // A thread of its own, not one of the pool: it never leaves the pod's namespace again.
            let thread = std::thread::Builder::new().name("port-forward".into()).spawn(move || place.open(port))?;
            thread.join().map_err(|_| io::Error::other("the connecting thread panicked"))?
        });
        let opened = opened.await.map_err(|error| error.to_string())?;
        let stream =
            opened.map_err(|error| format!("failed to connect to localhost:{port} inside the pod: {error}"))?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        TcpStream::from_std(stream).map_err(|error| error.to_string())
    }

    fn open(&self, port: u16) -> io::Result<std::net::TcpStream> {
        if let Some(path) = &self.0 {
            let namespace = File::open(path)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        let first = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let second = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let connect = |address| std::net::TcpStream::connect_timeout(&address, CONNECT);
        connect(first).or_else(|error| connect(second).map_err(|_| error))
    }
}

/// SPDY: two streams a connection, `error` and `data`, with the same request id.
async fn over_spdy<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: S, place: Namespace) {
    let mut streams = spdy::serve(io);
    let mut waiting: HashMap<String, spdy::Stream> = HashMap::new();
    loop {
        let next = match tokio::time::timeout(PAIR, streams.recv()).await {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(_) => {
                // A half pair that waits this long has been given up by its client.
                waiting.clear();
                continue;
            }
        };
        let id = next.header("requestid").unwrap_or_default().to_owned();
        let Some(other) = waiting.remove(&id) else {
            waiting.insert(id, next);
            continue;
        };
        let (data, error) = if next.header("streamtype") == Some("data") { (next, other) } else { (other, next) };
        let place = place.clone();
        tokio::spawn(async move { one_of_spdy(data, error, place).await });
    }
}

async fn one_of_spdy(mut data: spdy::Stream, error: spdy::Stream, place: Namespace) {
    let port = data.header("port").and_then(|port| port.parse::<u16>().ok());
    let connected = match port {
        Some(port) => place.connect(port).await,
        None => Err("the stream names no port".to_owned()),
    };
    let socket = match connected {
        Ok(socket) => socket,
        Err(message) => {
            error.send(message.into()).await;
            error.finish().await;
            data.finish().await;
            return;
        }
    };
    error.finish().await;
    let (mut from_pod, mut to_pod) = socket.into_split();
    let writer = data.writer();
    let down = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count) = from_pod.read(&mut buffer).await {
            if count == 0 || !writer.send(buffer[..count].to_vec().into()).await {
                break;
            }
        }
        writer.finish().await;
    };
    let up = async {
        while let Some(bytes) = data.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to_pod.shutdown().await;
    };
    tokio::join!(down, up);
}

/// WebSocket channels: for the `i`-th port channel `2i` carries data and `2i + 1` an error; each begins with the port.
/// Clients are never told that one channel ended: those of Kubernetes know two channels a port and no other.
async fn over_channels<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: S, place: Namespace, ports: Vec<u16>) {
    let (mut sink, mut stream) = websocket::open(io).await.split();
    let (out, mut outbox) = mpsc::channel::<Message>(32);
    let writing = tokio::spawn(async move {
        while let Some(message) = outbox.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(websocket::farewell()).await;
    });
    let mut writers = HashMap::new();
    for (at, port) in (0u8..).zip(ports) {
        let (data, error) = (at * 2, at * 2 + 1);
        for channel in [data, error] {
            let _ = out.send(websocket::message(channel, &port.to_le_bytes())).await;
        }
        match place.connect(port).await {
            Ok(socket) => {
                let (mut from_pod, to_pod) = socket.into_split();
                writers.insert(data, Arc::new(Mutex::new(Some(to_pod))));
                let out = out.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; BUFFER];
                    while let Ok(count) = from_pod.read(&mut buffer).await {
                        if count == 0 || out.send(websocket::message(data, &buffer[..count])).await.is_err() {
                            break;
                        }
                    }
                });
            }
            Err(message) => {
                let _ = out.send(websocket::message(error, message.as_bytes())).await;
            }
        }
    }
    // From here on only the copying tasks keep the sending side open: when the last ends, the connection closes.
    drop(out);
    let reading = async {
        while let Some(Ok(next)) = stream.next().await {
            let data = match next {
                Message::Binary(data) => data,
                Message::Close(_) => break,
                _ => continue,
            };
            let Some((&channel, rest)) = data.split_first() else { continue };
            let closed = (channel == websocket::CLOSE).then(|| rest.first().copied()).flatten();
            let Some(writer) = writers.get(&closed.unwrap_or(channel)) else { continue };
            let mut writer = writer.lock().await;
            let broken = match writer.as_mut() {
                Some(writer) if closed.is_none() => writer.write_all(rest).await.is_err(),
                _ => true,
            };
            if broken {
                // Dropping the half tells the pod that no more comes.
                *writer = None;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        _ = writing => {}
    }
}
