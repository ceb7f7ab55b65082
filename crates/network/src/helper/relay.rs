//! Carrying bytes from IPv6 to IPv4, where nothing in the kernel can.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::model::Protocol;

use super::Relay;

/// How many connections or flows one relay carries at once.
const AT_ONCE: usize = 1024;
/// How long a UDP flow may be silent before it is forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// Connections that this process carries.
static CARRIED: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Carried;

impl Carried {
    fn one() -> Self {
        CARRIED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        CARRIED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections are carried now.
pub(super) fn carried() -> usize {
    CARRIED.load(Ordering::Relaxed)
}

/// A relay at work; dropping it stops accepting. Connections that are carried already live on.
#[derive(Debug)]
pub(super) struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn start(relay: Relay) -> io::Result<Running> {
    let kind = match relay.protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
        Protocol::Sctp => return Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP is not relayed")),
    };
    let socket = Socket::new(Domain::for_address(relay.listen), kind, None)?;
    if relay.listen.is_ipv6() {
        // IPv4 is translated in the kernel, which keeps the client's address.
        socket.set_only_v6(true)?;
    }
    // A successor binds it while this process still lives.
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&relay.listen.into())?;
    if kind == Type::STREAM {
        socket.listen(512)?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Running(tokio::spawn(carry_connections(listener, relay.to))))
    } else {
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Running(tokio::spawn(carry_datagrams(Arc::new(socket), relay.to))))
    }
}

async fn carry_connections(listener: TcpListener, to: SocketAddr) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((mut client, _)) => {
                let one = Carried::one();
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        client.set_nodelay(true).ok();
                        server.set_nodelay(true).ok();
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    } else {
                        // Nobody answers: the client is to see what a direct connection would: a reset.
                        client.set_zero_linger().ok();
                    }
                    drop((permit, one));
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn carry_datagrams(socket: Arc<UdpSocket>, to: SocketAddr) {
    let mut flows: HashMap<SocketAddr, (Arc<UdpSocket>, JoinHandle<()>, Instant)> = HashMap::new();
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let Ok((read, client)) = socket.recv_from(&mut buffer).await else { continue };
        if flows.len() >= AT_ONCE {
            flows.retain(|_, (_, task, used)| {
                let keep = used.elapsed() < SILENCE && !task.is_finished();
                if !keep {
                    task.abort();
                }
                keep
            });
        }
        let known = flows.get_mut(&client).filter(|(_, task, _)| !task.is_finished()).map(|(flow, _, used)| {
            *used = Instant::now();
            flow.clone()
        });
        let flow = match known {
            Some(flow) => flow,
            None if flows.len() >= AT_ONCE => continue,
            None => {
                let Ok(flow) = UdpSocket::bind("0.0.0.0:0").await else { continue };
                if flow.connect(to).await.is_err() {
                    continue;
                }
                let flow = Arc::new(flow);
                let task = tokio::spawn(carry_back(flow.clone(), socket.clone(), client));
                flows.insert(client, (flow.clone(), task, Instant::now()));
                flow
            }
        };
        let _ = flow.send(&buffer[..read]).await;
    }
}

/// Carries answers to one client until it is silent for long.
async fn carry_back(flow: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0u8; 64 * 1024];
    while let Ok(received) = tokio::time::timeout(SILENCE, flow.recv(&mut buffer)).await {
        match received {
            Ok(read) => drop(socket.send_to(&buffer[..read], client).await),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
