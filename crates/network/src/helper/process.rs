//! The helper's side: one thread, one socket to be told through, one file to remember by.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::PodUid;
use crate::dns::{DnsServer, Listener, Names, Upstream, Zone};
use crate::wireguard::userspace::{Told, Userspace};

use super::protocol::{PodResolver, Relay, Reply, Request, helper_version};
use super::succession::{Predecessor, Retirement};
use super::{redirect, relay};

/// How long changes gather before they are written to disk.
const GATHER: Duration = Duration::from_millis(100);
/// How many pods' namespaces are entered at once.
const OPENERS: usize = 16;
/// How many requests of one conversation may be under way.
const UNDER_WAY: usize = 128;

/// How the helper is started: as `--key value` pairs on its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperOptions {
    /// The socket it is told through.
    pub socket: PathBuf,
    /// The file it remembers by.
    pub snapshot: PathBuf,
    /// Where it answers names.
    pub dns: SocketAddr,
    /// Whose name servers it asks for foreign names.
    pub resolv_conf: PathBuf,
}

impl HelperOptions {
    /// The command line that starts such a helper.
    pub fn to_args(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        [
            ("--socket", path(&self.socket)),
            ("--snapshot", path(&self.snapshot)),
            ("--dns", self.dns.to_string()),
            ("--resolv-conf", path(&self.resolv_conf)),
        ]
        .into_iter()
        .flat_map(|(key, value)| [key.to_owned(), value])
        .collect()
    }

    /// Reads a command line made by [`HelperOptions::to_args`].
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        let mut args = args.into_iter();
        while let Some(key) = args.next() {
            let value = args.next().ok_or_else(|| format!("{key} needs a value"))?;
            values.insert(key, value);
        }
        let mut take = |key: &str| values.remove(key).ok_or_else(|| format!("{key} is missing"));
        let options = Self {
            socket: take("--socket")?.into(),
            snapshot: take("--snapshot")?.into(),
            dns: take("--dns")?.parse().map_err(|_| "--dns needs address:port".to_owned())?,
            resolv_conf: take("--resolv-conf")?.into(),
        };
        match values.keys().next() {
            Some(unknown) => Err(format!("{unknown} is unknown")),
            None => Ok(options),
        }
    }
}

/// Runs the helper until it is told to stop: what the hidden subcommand `naru helper` calls, before any thread exists.
pub fn helper_main(args: impl IntoIterator<Item = String>) -> ! {
    // A session of its own: closing the daemon's terminal or stopping its process group must not reach the names.
    rustix::process::setsid().ok();
    let outcome = HelperOptions::parse(args).map_err(io::Error::other).and_then(|options| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(OPENERS).build()?;
        runtime.block_on(serve(options))
    });
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by macro: it panics where nothing can be written, on a full disk for example.
            let line = format!("naru helper: {}\n", crate::chain(&error));
            io::Write::write_all(&mut io::stderr(), line.as_bytes()).ok();
            ExitCode::FAILURE
        }
    };
    std::process::exit(i32::from(code != ExitCode::SUCCESS))
}

/// What is remembered on disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Snapshot {
    zone: Zone,
    pods: Vec<PodResolver>,
    relays: Vec<Relay>,
    #[serde(default)]
    tunnel: Told,
}

type Opened = Result<(std::net::UdpSocket, std::net::TcpListener), redirect::RedirectError>;

/// A request, as far as it can be taken before its turn.
enum Begun {
    Asked(Request),
    /// This pod is answered already, or will be when its turn comes.
    Served(PodResolver),
    /// Its sockets are being opened.
    Opening(PodResolver, JoinHandle<Opened>),
    /// The tunnel is being read or changed.
    Tunnel(JoinHandle<Reply>),
    /// Another one takes over.
    Retire,
    Nonsense(String),
}

fn open(pod: PodResolver) -> JoinHandle<Opened> {
    tokio::task::spawn_blocking(move || redirect::open(&pod))
}

struct State {
    options: HelperOptions,
    dns: DnsServer,
    told: Mutex<Snapshot>,
    pods: Mutex<BTreeMap<PodUid, Listener>>,
    /// Pods whose sockets are being opened for a request.
    opening: Mutex<BTreeSet<PodUid>>,
    /// Whether the pods of an earlier process are answered again.
    reopened: watch::Sender<bool>,
    relays: Mutex<BTreeMap<Relay, relay::Running>>,
    tunnel: Arc<Userspace>,
    changed: Arc<Notify>,
    stop: Notify,
    /// The DNS service's sockets, until this process retires.
    listener: Mutex<Option<Listener>>,
    retirement: Retirement,
}

/// Serves names and relays until told to stop.
pub async fn serve(options: HelperOptions) -> io::Result<()> {
    let upstream = Upstream::new(&options.resolv_conf, &[options.dns.ip()]);
    let changed = Arc::new(Notify::new());
    let told = changed.clone();
    let state = Arc::new(State {
        dns: DnsServer::new(upstream),
        told: Mutex::default(),
        pods: Mutex::default(),
        opening: Mutex::default(),
        reopened: watch::Sender::new(false),
        relays: Mutex::default(),
        tunnel: Arc::new(Userspace::new(Arc::new(move || told.notify_one()))),
        changed,
        stop: Notify::new(),
        listener: Mutex::new(None),
        retirement: Retirement::default(),
        options: options.clone(),
    });
    let (pods, rest) = state.restore_names();
    let (udp, tcp) = bind_dns(options.dns)?;
    *state.listener.lock() = Some(state.dns.serve(udp, tcp, None)?);
    match Predecessor::find(&options.socket).await {
        // Names first, which two can answer; then what only one can hold.
        Some(predecessor) => {
            state.clone().reopen(pods).await;
            predecessor.retire().await;
            state.restore_rest(rest);
        }
        None => {
            state.restore_rest(rest);
            tokio::spawn(state.clone().reopen(pods));
        }
    }
    let control = bind_control(&options.socket)?;
    tokio::select! {
        () = state.clone().accept(control) => {}
        () = state.clone().remember() => {}
        () = state.stop.notified() => {
            std::fs::remove_file(&options.snapshot).ok();
            std::fs::remove_file(&options.socket).ok();
        }
        // What is on disk, the socket too, is the successor's.
        () = state.retirement.over(|| state.pods.lock().clear()) => {}
    }
    Ok(())
}

/// The address need not exist yet, and a successor may bind it while this process still lives.
fn bind_dns(address: SocketAddr) -> io::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let bind = |kind: Type| {
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if address.is_ipv4() {
            socket.set_freebind_v4(true)?;
        }
        socket.set_reuse_port(true)?;
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        } else {
            // Bursts from many pods at once.
            socket.set_recv_buffer_size(1 << 20).ok();
        }
        socket.bind(&address.into())?;
        Ok::<_, io::Error>(socket)
    };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot answer names on {address}: {error}"));
    let udp = bind(Type::DGRAM).map_err(named)?;
    let tcp = bind(Type::STREAM).map_err(named)?;
    tcp.listen(128).map_err(named)?;
    Ok((udp.into(), tcp.into()))
}

fn bind_control(path: &Path) -> io::Result<UnixListener> {
    std::fs::remove_file(path).ok();
    let listener = UnixListener::bind(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display())))?;
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, owner_only)?;
    Ok(listener)
}

impl State {
    async fn accept(self: Arc<Self>, control: UnixListener) {
        loop {
            match control.accept().await {
                Ok((stream, _)) => {
                    let state = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = state.converse(stream).await {
                            tracing::debug!(%error, "a conversation broke off");
                        }
                    });
                }
                Err(_) => tokio::time::sleep(GATHER).await,
            }
        }
    }

    /// Requests take effect, and are answered, in the order they were asked in; namespaces are entered beside that, so
    /// a hundred pods that start at once do not wait for one another.
    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let (queue, mut begun) = mpsc::channel(UNDER_WAY);
        let hear = async move {
            let mut lines = BufReader::new(read).lines();
            while let Some(line) = lines.next_line().await? {
                if queue.send(self.begin(&line)).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let answer = async move {
            while let Some(begun) = begun.recv().await {
                let mut text = serde_json::to_string(&self.finish(begun).await).map_err(io::Error::other)?;
                text.push('\n');
                write.write_all(text.as_bytes()).await?;
            }
            Ok(())
        };
        tokio::try_join!(hear, answer).map(drop)
    }

    fn begin(&self, line: &str) -> Begun {
        match serde_json::from_str(line) {
            // Never twice at once for one pod: the rules of one and the sockets of the other would be left.
            Ok(Request::Attach(pod))
                if !self.serves(&pod) && self.reopened() && self.opening.lock().insert(pod.uid.clone()) =>
            {
                Begun::Opening(pod.clone(), open(pod))
            }
            Ok(Request::Attach(pod)) => Begun::Served(pod),
            Ok(Request::Tunnel(question)) => {
                let tunnel = self.tunnel.clone();
                Begun::Tunnel(tokio::task::spawn_blocking(move || tunnel.answer(question)))
            }
            Ok(Request::Retire) => Begun::Retire,
            Ok(request) => Begun::Asked(request),
            Err(error) => Begun::Nonsense(error.to_string()),
        }
    }

    async fn finish(&self, begun: Begun) -> Reply {
        let reply = match begun {
            Begun::Nonsense(error) => return Reply::Failed { reason: format!("not understood: {error}") },
            Begun::Asked(request) => self.answer(request),
            Begun::Retire => return self.retire().await,
            Begun::Tunnel(reply) => match reply.await {
                // Looked at often, and nothing to remember.
                Ok(reply @ Reply::Tunnel(_)) => return reply,
                Ok(reply) => {
                    // Who is answered may count on it, also when this process is killed with its next breath: nobody
                    // would tell the tunnel again.
                    self.write();
                    return reply;
                }
                Err(error) => Reply::Failed { reason: error.to_string() },
            },
            Begun::Served(pod) => {
                let _ = self.reopened.subscribe().wait_for(|done| *done).await;
                // It may have been let go by a request before this one.
                if self.serves(&pod) { Reply::Done } else { self.attach(pod.clone(), open(pod).await).into() }
            }
            Begun::Opening(pod, opened) => {
                let opened = opened.await;
                self.opening.lock().remove(&pod.uid);
                self.attach(pod, opened).into()
            }
        };
        self.changed.notify_one();
        reply
    }

    fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Hello => {
                return Reply::Hello { version: helper_version(), pid: std::process::id() };
            }
            Request::Zone(zone) => {
                self.dns.set_names(Names::new(zone.clone()));
                self.told.lock().zone = zone;
            }
            // Answered by `finish`, which has the sockets.
            Request::Attach(_) | Request::Tunnel(_) | Request::Retire => {}
            Request::Detach(uid) => {
                self.pods.lock().remove(&uid);
                self.told.lock().pods.retain(|pod| pod.uid != uid);
            }
            Request::Retain(uids) => {
                let uids: BTreeSet<PodUid> = uids.into_iter().collect();
                self.pods.lock().retain(|uid, _| uids.contains(uid));
                self.told.lock().pods.retain(|pod| uids.contains(&pod.uid));
            }
            Request::Relays(relays) => return Reply::Relays { failed: self.set_relays(relays) },
            Request::Stop => self.stop.notify_one(),
        }
        Reply::Done
    }

    /// Lets go of what only one process can hold: the tunnel, the DNS service's address, ports that are relayed. Pods'
    /// questions that are on their way are still answered, and connections carried.
    async fn retire(&self) -> Reply {
        self.retirement.begin();
        let tunnel = self.tunnel.clone();
        let closed = tokio::task::spawn_blocking(move || tunnel.answer(crate::wireguard::Ask::Close));
        let listener = self.listener.lock().take();
        if let Some(listener) = listener {
            listener.retire().await;
        }
        self.relays.lock().clear();
        match closed.await {
            Ok(reply) => reply,
            Err(error) => Reply::Failed { reason: error.to_string() },
        }
    }

    fn reopened(&self) -> bool {
        *self.reopened.borrow()
    }

    fn serves(&self, pod: &PodResolver) -> bool {
        self.told.lock().pods.contains(pod) && self.pods.lock().contains_key(&pod.uid)
    }

    fn attach(&self, mut pod: PodResolver, opened: Result<Opened, JoinError>) -> Result<(), String> {
        let (udp, tcp) = opened.map_err(|error| error.to_string())?.map_err(|error| crate::chain(&error))?;
        pod.inode = redirect::inode(&pod.netns);
        let listener = self.dns.serve(udp, tcp, Some(pod.address)).map_err(|error| error.to_string())?;
        self.pods.lock().insert(pod.uid.clone(), listener);
        let mut told = self.told.lock();
        told.pods.retain(|other| other.uid != pod.uid);
        told.pods.push(pod);
        Ok(())
    }

    fn set_relays(&self, wanted: Vec<Relay>) -> Vec<(Relay, String)> {
        let mut running = self.relays.lock();
        let set: BTreeSet<Relay> = wanted.iter().copied().collect();
        running.retain(|relay, _| set.contains(relay));
        let mut failed = Vec::new();
        for relay in set {
            if running.contains_key(&relay) {
                continue;
            }
            match relay::start(relay) {
                Ok(task) => drop(running.insert(relay, task)),
                Err(error) if lacks_ipv6(&error) => {}
                Err(error) => failed.push((relay, error.to_string())),
            }
        }
        self.told.lock().relays = wanted;
        failed
    }

    /// Takes up the names that an earlier process was told; says in which pods it is to answer again, and what else there
    /// is to take up.
    fn restore_names(&self) -> (Vec<PodResolver>, Snapshot) {
        let Ok(text) = std::fs::read(&self.options.snapshot) else { return Default::default() };
        let Ok(mut snapshot) = serde_json::from_slice::<Snapshot>(&text) else { return Default::default() };
        self.dns.set_names(Names::new(snapshot.zone.clone()));
        let mut told = self.told.lock();
        told.zone = std::mem::take(&mut snapshot.zone);
        told.pods = std::mem::take(&mut snapshot.pods);
        (told.pods.clone(), snapshot)
    }

    /// Takes up what only one process can hold.
    fn restore_rest(&self, snapshot: Snapshot) {
        self.set_relays(snapshot.relays);
        // Without it there is no way to other nodes, and the daemon, which looks, says so and makes it anew.
        if let Err(reason) = self.tunnel.restore(snapshot.tunnel) {
            tracing::warn!(reason, "the encrypted tunnel is not open");
        }
    }

    /// Opens the resolvers of these pods again, beside whatever is asked meanwhile.
    async fn reopen(self: Arc<Self>, pods: Vec<PodResolver>) {
        let opening: Vec<_> = pods.into_iter().map(|pod| (pod.clone(), open(pod))).collect();
        for (pod, opened) in opening {
            let opened = opened.await;
            // Let go, or told anew, since then.
            if !self.told.lock().pods.contains(&pod) || self.pods.lock().contains_key(&pod.uid) {
                continue;
            }
            if let Err(reason) = self.attach(pod.clone(), opened) {
                tracing::info!(pod = %pod.uid, reason, "a pod is gone");
                self.told.lock().pods.retain(|other| *other != pod);
            }
        }
        self.reopened.send_replace(true);
        self.changed.notify_one();
    }

    /// Writes what was told, a moment after it changed.
    async fn remember(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write();
        }
    }

    /// Writes what was told, unless it is a successor's to remember.
    fn write(&self) {
        if self.retirement.has_begun() {
            return;
        }
        let told = Snapshot { tunnel: self.tunnel.told(), ..self.told.lock().clone() };
        let text = serde_json::to_vec(&told);
        let path = &self.options.snapshot;
        let temporary = path.with_extension("tmp");
        let written = text
            .map_err(io::Error::other)
            .and_then(|text| std::fs::write(&temporary, text))
            .and_then(|()| std::fs::rename(&temporary, path));
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "cannot remember what was told");
        }
    }
}

/// Whether the machine simply has no IPv6, or not this address.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The address the DNS service has by default, with its port.
impl Default for HelperOptions {
    fn default() -> Self {
        Self {
            socket: "/run/naru/helper.sock".into(),
            snapshot: "/var/lib/naru/network/helper.json".into(),
            dns: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 43, 0, 10)), 53),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}
