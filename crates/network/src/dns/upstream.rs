//! Names that are not ours: asked where the machine itself would ask.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one server may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a server that did not answer is asked last.
const GRUDGE: Duration = Duration::from_secs(10);
/// How long one may take that did not answer the last time it was asked.
const LITTLE_PATIENCE: Duration = Duration::from_millis(400);
/// After how long a datagram is taken for lost and sent again.
const RESEND: Duration = Duration::from_millis(700);
/// How often the machine's configuration is looked at.
const REFRESH: Duration = Duration::from_secs(2);
/// Where systemd-resolved lists the servers behind its stub.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// The machine's own name servers, as `resolv.conf` has them now.
#[derive(Debug)]
pub struct Upstream {
    file: PathBuf,
    /// Addresses that lead back here.
    own: Vec<IpAddr>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    checked: Option<Instant>,
    modified: Option<SystemTime>,
    servers: Vec<Server>,
}

#[derive(Debug, Clone)]
struct Server {
    address: SocketAddr,
    failed: Option<Instant>,
}

impl Upstream {
    /// Asks the servers that `file` names, except `own` addresses: a question must not come back here.
    pub fn new(file: &Path, own: &[IpAddr]) -> Self {
        let mut own = own.to_vec();
        own.push(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)));
        Self { file: file.to_owned(), own, state: Mutex::default() }
    }

    /// Asks over UDP (or TCP when the client did) and returns the first answer to exactly this question. A server that
    /// cannot or will not say is passed over while there are others, as resolvers do; its refusal is better than nothing.
    pub async fn ask(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let mut refusal = None;
        for (server, patience) in self.servers() {
            let attempt = async { if over_tcp { ask_tcp(server, query).await } else { ask_udp(server, query).await } };
            match tokio::time::timeout(patience, attempt).await {
                Ok(Ok(answer)) => {
                    self.remember(server, None);
                    if !is_refusal(&answer) {
                        return Some(answer);
                    }
                    refusal.get_or_insert(answer);
                }
                Ok(Err(error)) => {
                    tracing::debug!(%server, %error, "name server failed");
                    self.remember(server, Some(Instant::now()));
                }
                Err(_) => self.remember(server, Some(Instant::now())),
            }
        }
        refusal
    }

    /// The servers in the order to ask them, with the patience each deserves.
    fn servers(&self) -> Vec<(SocketAddr, Duration)> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.checked.is_none_or(|checked| now.duration_since(checked) >= REFRESH) {
            state.checked = Some(now);
            let modified = std::fs::metadata(&self.file).and_then(|metadata| metadata.modified()).ok();
            if modified != state.modified || state.servers.is_empty() {
                state.modified = modified;
                state.servers = read_servers(&self.file, &self.own);
            }
        }
        order(&state.servers, now)
    }

    fn remember(&self, address: SocketAddr, failed: Option<Instant>) {
        let mut state = self.state.lock();
        if let Some(server) = state.servers.iter_mut().find(|server| server.address == address) {
            server.failed = failed;
        }
    }
}

/// Those that did not answer lately come last. The only one gets its time in any case, and so does the first when none of
/// them answers: then it is the way there that is slow.
fn order(servers: &[Server], now: Instant) -> Vec<(SocketAddr, Duration)> {
    let grudge = |server: &&Server| server.failed.is_some_and(|failed| now.duration_since(failed) < GRUDGE);
    let (last, first): (Vec<&Server>, Vec<&Server>) = servers.iter().partition(grudge);
    let others = first.iter().any(|server| server.failed.is_none());
    let patience = |server: &Server| if server.failed.is_some() && others { LITTLE_PATIENCE } else { PATIENCE };
    first.into_iter().chain(last).map(|server| (server.address, patience(server))).collect()
}

/// SERVFAIL, NOTIMP and REFUSED say nothing about the name.
fn is_refusal(answer: &[u8]) -> bool {
    matches!(answer.get(3).map(|flags| flags & 0x0f), Some(2 | 4 | 5))
}

fn read_servers(file: &Path, own: &[IpAddr]) -> Vec<Server> {
    let mut addresses = parse_servers(&std::fs::read_to_string(file).unwrap_or_default());
    let stub = |address: &SocketAddr| address.ip() == IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
    // The stub knows about split horizons, so it is asked first; what it would ask is there for when it is stopped.
    if addresses.iter().any(stub) {
        addresses.extend(parse_servers(&std::fs::read_to_string(RESOLVED).unwrap_or_default()));
    }
    let mut seen = Vec::new();
    for address in addresses {
        if !own.contains(&address.ip()) && !seen.contains(&address) {
            seen.push(address);
        }
    }
    seen.into_iter().map(|address| Server { address, failed: None }).collect()
}

pub(super) fn parse_servers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next()? != "nameserver" {
                return None;
            }
            // Zones of link-local addresses (`fe80::1%eth0`) are not understood by the standard parser.
            words.next()?.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53))
        })
        .collect()
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().map_err(io::Error::other)?;
    // A socket of its own: the source port is as unpredictable as the identifier.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let (query, identifier) = disguise(query);
    socket.send(&query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(received) = tokio::time::timeout(RESEND, socket.recv(&mut buffer)).await else {
            socket.send(&query).await?;
            continue;
        };
        let read = received?;
        if answers(&buffer[..read], &query) {
            buffer.truncate(read);
            buffer[..2].copy_from_slice(&identifier);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let (query, identifier) = disguise(query);
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&query);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    if !answers(&answer, &query) {
        return Err(io::Error::other("the answer is to another question"));
    }
    answer[..2].copy_from_slice(&identifier);
    Ok(answer)
}

/// The query under a fresh identifier, and the client's own.
fn disguise(query: &[u8]) -> (Vec<u8>, [u8; 2]) {
    let mut query = query.to_vec();
    let identifier = [query[0], query[1]];
    query[..2].copy_from_slice(&random_u16().to_be_bytes());
    (query, identifier)
}

fn random_u16() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's per-process random keys, over a counter of their own.
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u16
}

/// Whether `answer` is a response to exactly `query`: identifier, and the question byte for byte (case included).
fn answers(answer: &[u8], query: &[u8]) -> bool {
    const HEADER: usize = 12;
    let question = question_end(query).unwrap_or(HEADER);
    answer.len() >= HEADER
        && answer[..2] == query[..2]
        && answer[2] & 0x80 != 0
        // Errors may come back without the question.
        && (answer.get(HEADER..question) == query.get(HEADER..question) || answer[4..6] == [0, 0])
}

/// Where the first question ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match *message.get(at)? as usize {
            0 => return Some(at + 5),
            length if length < 64 => at += length + 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";

    /// A server that lets `lost` questions pass and then answers with this code.
    async fn server(code: u8, lost: usize) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            for turn in 0.. {
                let (read, client) = socket.recv_from(&mut buffer).await.unwrap();
                if turn >= lost {
                    buffer[2] |= 0x80;
                    buffer[3] = code;
                    socket.send_to(&buffer[..read], client).await.unwrap();
                }
            }
        });
        address
    }

    fn upstream(servers: &[SocketAddr]) -> Upstream {
        let upstream = Upstream::new(Path::new("/nonexistent"), &[]);
        let servers = servers.iter().map(|address| Server { address: *address, failed: None }).collect();
        *upstream.state.lock() = State { checked: Some(Instant::now() + GRUDGE), modified: None, servers };
        upstream
    }

    #[tokio::test]
    async fn a_server_that_cannot_say_is_passed_over() {
        let (failing, knowing) = (server(2, 0).await, server(3, 0).await);
        let answer = upstream(&[failing, knowing]).ask(QUERY, false).await.unwrap();
        assert_eq!(answer[3], 3, "that there is no such name is an answer");
        assert_eq!(answer[..2], QUERY[..2]);
        let answer = upstream(&[failing]).ask(QUERY, false).await.unwrap();
        assert_eq!(answer[3], 2, "a refusal is better than silence");
    }

    #[tokio::test]
    async fn a_lost_question_is_asked_again_and_a_dead_server_last() {
        let (dead, slow) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), server(0, 1).await);
        let dead = dead.local_addr().unwrap();
        let upstream = upstream(&[dead, slow]);
        assert_eq!(upstream.ask(QUERY, false).await.unwrap()[3], 0);
        let first = upstream.servers()[0].0;
        assert_eq!(first, slow);
    }

    #[test]
    fn patience_is_short_with_the_silent_only_while_others_answer() {
        let now = Instant::now();
        let server = |port, failed| Server { address: ([192, 0, 2, 1], port).into(), failed };
        let ports = |servers: &[Server]| -> Vec<(u16, Duration)> {
            order(servers, now).into_iter().map(|(server, patience)| (server.port(), patience)).collect()
        };
        let (fine, silent) = (server(1, None), server(2, Some(now)));
        assert_eq!(ports(&[silent.clone(), fine.clone()]), [(1, PATIENCE), (2, LITTLE_PATIENCE)]);
        assert_eq!(ports(std::slice::from_ref(&silent)), [(2, PATIENCE)]);
        let forgiven = server(3, now.checked_sub(GRUDGE));
        assert_eq!(ports(&[forgiven, fine]), [(3, LITTLE_PATIENCE), (1, PATIENCE)]);
    }
}
