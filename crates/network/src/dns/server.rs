//! The sockets: one task each, answering from the newest names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, Query, ResponseCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::answer::{LARGEST_DATAGRAM, Outcome, answer, encode};
use super::cache::{Cache, Question};
use super::names::Names;
use super::upstream::Upstream;

/// How many questions may be waiting for upstream servers at once; more are answered "try again".
const WAITING: usize = 512;
/// How many upstream answers are remembered.
const REMEMBERED: usize = 4096;
/// How long a TCP client may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a pod's question waits until the pod itself is known: names of a large cluster may come seconds after a pod
/// has started, and without the asker's namespace nothing is short for anything.
const INTRODUCTION: Duration = Duration::from_secs(4);
/// How many TCP clients there may be at once.
const CONNECTIONS: usize = 256;

/// Answers questions from the newest names. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DnsServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    names: ArcSwap<Names>,
    /// Told when there are other names.
    renamed: watch::Sender<()>,
    upstream: Upstream,
    cache: Mutex<Cache>,
    waiting: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    turn: AtomicUsize,
}

/// How a question came.
struct Way {
    /// The pod whose own socket it came through.
    asker: Option<IpAddr>,
    over_tcp: bool,
}

/// The tasks of one pair of sockets; dropping it closes them.
#[derive(Debug)]
pub struct Listener {
    tasks: [JoinHandle<()>; 2],
    udp: Arc<UdpSocket>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// How long what has arrived may take to be read before a socket closes.
const LAST: Duration = Duration::from_millis(100);

impl Listener {
    /// Takes no more questions, answers those that have arrived, and closes. For sockets whose address a successor has
    /// bound as well.
    pub async fn retire(self) {
        // A socket that belongs to one peer is given nobody else's questions any more. Answers are addressed each.
        if let Ok(mut own) = self.udp.local_addr() {
            own.set_port(9);
            let _ = self.udp.connect(own).await;
        }
        tokio::time::sleep(LAST).await;
    }
}

impl DnsServer {
    /// A server that knows no names yet.
    pub fn new(upstream: Upstream) -> Self {
        Self {
            inner: Arc::new(Inner {
                names: ArcSwap::default(),
                renamed: watch::Sender::default(),
                upstream,
                cache: Mutex::new(Cache::new(REMEMBERED)),
                waiting: Arc::new(Semaphore::new(WAITING)),
                connections: Arc::new(Semaphore::new(CONNECTIONS)),
                turn: AtomicUsize::new(0),
            }),
        }
    }

    /// Replaces all names at once.
    pub fn set_names(&self, names: Names) {
        self.inner.names.store(Arc::new(names));
        self.inner.renamed.send_replace(());
    }

    /// Serves a pair of sockets. `asker` is who asks through them, when that is one pod; else the client's address says.
    pub fn serve(
        &self,
        udp: std::net::UdpSocket,
        tcp: std::net::TcpListener,
        asker: Option<Ipv4Addr>,
    ) -> io::Result<Listener> {
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let udp = Arc::new(UdpSocket::from_std(udp)?);
        let tcp = TcpListener::from_std(tcp)?;
        let asker = asker.map(IpAddr::V4);
        let tasks = [
            tokio::spawn(self.clone().serve_udp(udp.clone(), asker)),
            tokio::spawn(self.clone().serve_tcp(tcp, asker)),
        ];
        Ok(Listener { tasks, udp })
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>, asker: Option<IpAddr>) {
        let mut buffer = [0u8; 4096];
        loop {
            let (read, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // A client's "port unreachable" shows up here; the socket itself is fine.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot receive questions");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some((query, outcome)) = self.begin(&buffer[..read], asker.unwrap_or(client.ip())) else { continue };
            let limit = usize::from(query.max_payload().min(LARGEST_DATAGRAM));
            if let Outcome::Answer(message) = outcome {
                if let Some(bytes) = encode(message, limit)
                    && socket.try_send_to(&bytes, client).is_err()
                {
                    let _ = socket.send_to(&bytes, client).await;
                }
                continue;
            }
            let Ok(permit) = self.inner.waiting.clone().try_acquire_owned() else {
                if let Some(bytes) = encode(failure(&query), limit) {
                    let _ = socket.try_send_to(&bytes, client);
                }
                continue;
            };
            let (server, socket, bytes) = (self.clone(), socket.clone(), buffer[..read].to_vec());
            tokio::spawn(async move {
                let message = server.finish(&query, &bytes, outcome, Way { asker, over_tcp: false }).await;
                if let Some(bytes) = encode(message, limit) {
                    let _ = socket.send_to(&bytes, client).await;
                }
                drop(permit);
            });
        }
    }

    async fn serve_tcp(self, listener: TcpListener, asker: Option<IpAddr>) {
        loop {
            let Ok((stream, client)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(permit) = self.inner.connections.clone().try_acquire_owned() else { continue };
            let server = self.clone();
            tokio::spawn(async move {
                let _ = server.converse(stream, client, asker).await;
                drop(permit);
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream, client: SocketAddr, asker: Option<IpAddr>) -> io::Result<()> {
        loop {
            let next = async {
                let mut bytes = vec![0; stream.read_u16().await?.into()];
                stream.read_exact(&mut bytes).await.map(|_| bytes)
            };
            let bytes = tokio::time::timeout(SILENCE, next).await??;
            let Some((query, outcome)) = self.begin(&bytes, asker.unwrap_or(client.ip())) else { return Ok(()) };
            let message = self.finish(&query, &bytes, outcome, Way { asker, over_tcp: true }).await;
            let Some(answer) = encode(message, u16::MAX.into()) else { return Ok(()) };
            let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(&answer);
            stream.write_all(&framed).await?;
        }
    }

    /// Reads a question and answers what can be answered at once. What is no question gets no answer.
    fn begin(&self, bytes: &[u8], client: IpAddr) -> Option<(Message, Outcome)> {
        // Responses are dropped before parsing: two servers must not talk to each other for ever.
        if bytes.len() < 12 || bytes[2] & 0x80 != 0 {
            return None;
        }
        let query = Message::from_vec(bytes).ok()?;
        let outcome = self.consider(client, &query);
        Some((query, outcome))
    }

    fn consider(&self, client: IpAddr, query: &Message) -> Outcome {
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed);
        answer(&self.inner.names.load(), client, query, turn)
    }

    fn knows(&self, pod: IpAddr) -> bool {
        self.inner.names.load().pod_at(pod).is_some()
    }

    /// Returns when `pod` is among the names, and after a while at the latest.
    async fn introduced(&self, pod: IpAddr) {
        let mut renamed = self.inner.renamed.subscribe();
        let known = async { while !self.knows(pod) && renamed.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(INTRODUCTION, known).await;
    }

    async fn finish(&self, query: &Message, bytes: &[u8], outcome: Outcome, way: Way) -> Message {
        let Way { asker, over_tcp } = way;
        let outcome = match (outcome, asker) {
            // What nobody here seems to bear may be short for something of the asker's own namespace.
            (Outcome::Forward, Some(pod)) if !self.knows(pod) => {
                self.introduced(pod).await;
                self.consider(pod, query)
            }
            (outcome, _) => outcome,
        };
        match outcome {
            Outcome::Answer(message) => message,
            Outcome::Forward => self.forward(query, bytes, over_tcp).await.unwrap_or_else(|| failure(query)),
            Outcome::Chase { mut begun, target } => {
                let Some(kind) = query.queries.first().map(Query::query_type) else { return failure(query) };
                let mut onward = Message::query();
                onward.metadata.recursion_desired = true;
                onward.add_query(Query::query(target, kind));
                let Ok(bytes) = onward.to_vec() else { return failure(query) };
                match self.forward(&onward, &bytes, over_tcp).await {
                    Some(rest) => {
                        begun.answers.extend(rest.answers);
                        // For how long a negative answer may be believed.
                        begun.authorities.extend(rest.authorities);
                        begun.metadata.response_code = rest.metadata.response_code;
                        begun
                    }
                    None => failure(query),
                }
            }
        }
    }

    async fn forward(&self, query: &Message, bytes: &[u8], over_tcp: bool) -> Option<Message> {
        let question = query.queries.first()?;
        let dnssec = query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let key: Question = (question.name().to_lowercase(), question.query_type(), dnssec);
        let known = self.inner.cache.lock().get(&key, Instant::now());
        let mut message = match known {
            Some(message) => message,
            None => {
                let answer = self.inner.upstream.ask(bytes, over_tcp).await?;
                let message = Message::from_vec(&answer).ok()?;
                self.inner.cache.lock().put(key, &message, Instant::now());
                message
            }
        };
        message.metadata.id = query.metadata.id;
        // Spelled as this client spelled it.
        message.queries = query.queries.clone();
        if query.edns.is_none() {
            message.edns = None;
        }
        Some(message)
    }
}

fn failure(query: &Message) -> Message {
    let mut message = Message::error_msg(query.metadata.id, query.metadata.op_code, ResponseCode::ServFail);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.queries = query.queries.clone();
    message
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};

    use super::*;
    use crate::dns::{PodNames, ServiceNames, Zone};

    #[tokio::test]
    async fn who_is_not_known_yet_is_not_sent_elsewhere() {
        let pod = Ipv4Addr::new(10, 42, 0, 9);
        let server = DnsServer::new(Upstream::new(std::path::Path::new("/dev/null"), &[]));
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _listener = server.serve(bound, tcp, Some(pod)).unwrap();

        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii("web.").unwrap(), RecordType::A));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&query.to_vec().unwrap(), address).await.unwrap();
        // It has asked, and others' names change nothing.
        tokio::time::timeout(Duration::from_secs(60), async {
            while server.inner.renamed.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        server.set_names(Names::new(Zone::default()));

        let web = Ipv4Addr::new(10, 43, 0, 7);
        server.set_names(Names::new(Zone {
            domain: "cluster.local".into(),
            services: vec![ServiceNames {
                namespace: "shop".into(),
                name: "web".into(),
                addresses: vec![web.into()],
                ..ServiceNames::default()
            }],
            pods: vec![PodNames { namespace: "shop".into(), address: Some(pod), ..PodNames::default() }],
            ..Zone::default()
        }));
        let mut answer = [0; 512];
        let read = tokio::time::timeout(Duration::from_secs(60), client.recv(&mut answer)).await.unwrap().unwrap();
        let answer = Message::from_vec(&answer[..read]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers[0].to_string().contains("10.43.0.7"), "{answer}");
    }
}
