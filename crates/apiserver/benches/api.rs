//! What the API does in a second, over HTTPS from 64 connections, each create durable; LIST of 20,000 objects; how long a
//! change takes to reach 1,000 watchers; how soon a cold server answers, and what it holds in memory.
//!
//! The server is a process of its own (this program, started again), so that its processor time and memory are its own;
//! the load comes from this process on the same machine. `cargo bench -p naru-apiserver --bench api [-- <folder>]`.

#[path = "../examples/serve.rs"]
#[allow(dead_code)]
mod server;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(5);
const OBJECTS: usize = 20_000;
const WATCHERS: usize = 1_000;
const SERVE: &str = "NARU_BENCH_SERVE";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const OTHERS: &str = "/api/v1/namespaces/kube-system/configmaps";

type Connection = SendRequest<Full<Bytes>>;

/// A running server, ended with its value.
struct Server {
    child: Child,
    tls: TlsConnector,
    address: String,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(dir) = std::env::var_os(SERVE) {
        runtime.block_on(server::serve(Path::new(&dir), 0)).expect("serves");
        return;
    }
    let folder = std::env::args().skip(1).find(|a| !a.starts_with("--")).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::TempDir::new_in(folder).expect("a folder");
    runtime.block_on(run(dir.path()));
}

async fn run(dir: &Path) {
    let (server, cold) = Server::start(dir).await;
    println!("{:<46} {:>10.0} ms", "cold start, new cluster, to a ready API", cold.as_secs_f64() * 1e3);
    println!("{:<46} {:>10.1} MB", "resident memory, idle", server.memory());
    server.fill().await;
    println!("{:<46} {:>10.1} MB", format!("resident memory, {OBJECTS} objects"), server.memory());
    server.measure("gets", || request(Method::GET, &format!("{MAPS}/m0"), Bytes::new())).await;
    let next = AtomicUsize::new(0);
    let create = move || request(Method::POST, OTHERS, map(next.fetch_add(1, Relaxed)));
    server.measure("creates, durable", create).await;
    server.list().await;
    server.watch().await;
    drop(server);
    let (again, warm) = Server::start(dir).await;
    println!("{:<46} {:>10.0} ms", "start with those objects, to a ready API", warm.as_secs_f64() * 1e3);
    drop(again);
}

fn map(n: usize) -> Bytes {
    let text = "x".repeat(400);
    format!("{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"m{n}\"}},\"data\":{{\"k\":\"{text}\"}}}}").into()
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse::<Uri>().expect("a path");
    request.headers_mut().insert("host", "localhost".parse().expect("a header"));
    request
}

impl Server {
    async fn start(dir: &Path) -> (Server, Duration) {
        let config = dir.join("kubeconfig");
        let _ = std::fs::remove_file(&config);
        let begun = Instant::now();
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program).env(SERVE, dir).stdout(Stdio::null()).spawn().expect("starts");
        let text = loop {
            match std::fs::read_to_string(&config) {
                Ok(text) if text.contains("client-key-data") => break text,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let value =
            |key: &str| text.lines().find_map(|l| l.trim().strip_prefix(key)).expect("a value").trim().to_owned();
        let pem = |key: &str| BASE64.decode(value(key)).expect("base64");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem("certificate-authority-data:")).expect("PEM")).expect("a root");
        let chain = vec![CertificateDer::from_pem_slice(&pem("client-certificate-data:")).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(&pem("client-key-data:")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a client");
        let address = value("server: https://");
        let server = Server { child, tls: TlsConnector::from(Arc::new(tls)), address };
        let mut connection = server.connect().await;
        assert_eq!(answer(&mut connection, request(Method::GET, "/readyz", Bytes::new())).await.0, 200);
        (server, begun.elapsed())
    }

    async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).await.expect("connects");
        stream.set_nodelay(true).expect("no delay");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await.expect("shakes hands");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
        tokio::spawn(connection);
        sender
    }

    /// Sends requests from all connections for a while.
    async fn measure(&self, what: &str, next: impl Fn() -> Request<Full<Bytes>> + Send + Sync + 'static) {
        let next = Arc::new(next);
        let (begun, before) = (Instant::now(), self.cpu());
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let (mut connection, next) = (self.connect().await, next.clone());
            tasks.push(tokio::spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < TIME {
                    let sent = Instant::now();
                    let (code, _) = answer(&mut connection, next()).await;
                    assert!(code == 200 || code == 201, "{code}");
                    times.push(sent.elapsed());
                }
                times
            }));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("measured"));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = self.cpu() - before;
        times.sort();
        let at = |part: f64| times[(times.len() as f64 * part) as usize % times.len()].as_secs_f64() * 1e3;
        let rate = times.len() as f64 / seconds;
        println!(
            "{:<46} {rate:>10.0} /s   p50 {:.2} ms, p99 {:.2} ms; {:.1} µs of the server's processors each",
            format!("{what}, {CONNECTIONS} connections"),
            at(0.5),
            at(0.99),
            cpu * 1e6 / times.len() as f64
        );
    }

    /// Makes what is to be listed.
    async fn fill(&self) {
        let made = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let (mut connection, made) = (self.connect().await, made.clone());
            tasks.push(tokio::spawn(async move {
                loop {
                    let n = made.fetch_add(1, Relaxed);
                    if n >= OBJECTS {
                        return;
                    }
                    assert_eq!(answer(&mut connection, request(Method::POST, MAPS, map(n))).await.0, 201);
                }
            }));
        }
        for task in tasks {
            task.await.expect("filled");
        }
    }

    async fn list(&self) {
        let mut connection = self.connect().await;
        let (begun, before, mut count, mut bytes) = (Instant::now(), self.cpu(), 0, 0);
        while begun.elapsed() < TIME {
            let (code, length) = answer(&mut connection, request(Method::GET, MAPS, Bytes::new())).await;
            assert_eq!(code, 200);
            (count, bytes) = (count + 1, bytes + length);
        }
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = self.cpu() - before;
        println!(
            "{:<46} {:>10.1} /s   {:.0} MB/s, {:.1} /s per server CPU-second, {:.1} MB each",
            "lists of all of them, one connection",
            f64::from(count) / seconds,
            bytes as f64 / seconds / 1e6,
            f64::from(count) / cpu,
            bytes as f64 / f64::from(count) / 1e6
        );
    }

    /// Watches from many connections while 100 changes a second happen, each with the time it was sent in it.
    async fn watch(&self) {
        let begun = Instant::now();
        let ready = Arc::new(AtomicUsize::new(0));
        let mut watchers = Vec::new();
        for _ in 0..WATCHERS {
            let (mut connection, ready) = (self.connect().await, ready.clone());
            watchers.push(tokio::spawn(async move {
                let path = "/api/v1/namespaces/kube-public/configmaps?watch=1";
                let response =
                    connection.send_request(request(Method::GET, path, Bytes::new())).await.expect("watches");
                let mut body = response.into_body();
                ready.fetch_add(1, Relaxed);
                let mut times = Vec::new();
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { continue };
                    let text = String::from_utf8_lossy(&data);
                    for part in text.split("\"sent\":\"").skip(1) {
                        let sent: u128 = part.split('"').next().and_then(|n| n.parse().ok()).expect("a time");
                        times.push(begun.elapsed().as_micros().saturating_sub(sent));
                    }
                    if text.contains("\"last\"") {
                        break;
                    }
                }
                times
            }));
        }
        while ready.load(Relaxed) < WATCHERS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut connection = self.connect().await;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for n in 0..500 {
            tick.tick().await;
            let last = if n == 499 { ",\"last\":\"1\"" } else { "" };
            let sent = begun.elapsed().as_micros();
            let body = format!("{{\"metadata\":{{\"name\":\"w{n}\"}},\"data\":{{\"sent\":\"{sent}\"{last}}}}}");
            let path = "/api/v1/namespaces/kube-public/configmaps";
            assert_eq!(answer(&mut connection, request(Method::POST, path, body.into())).await.0, 201);
        }
        let mut times = Vec::new();
        for watcher in watchers {
            times.extend(watcher.await.expect("watched"));
        }
        times.sort_unstable();
        let at = |part: f64| times[(times.len() as f64 * part) as usize % times.len()] as f64 / 1e3;
        println!(
            "{:<46} {:>10.1} ms   p50 {:.1} ms, {} deliveries, resident {:.1} MB",
            format!("p99 from write to {WATCHERS} watchers, 100 writes/s"),
            at(0.99),
            at(0.5),
            times.len(),
            self.memory()
        );
    }

    /// Megabytes that the server holds.
    fn memory(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
    }

    /// Seconds of processor time that the server took.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0 // user and system time, in hundredths of a second on every Linux
    }

    fn proc(&self, file: &str) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(format!("/proc/{}/{file}", self.child.id())) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status code and length of an answer.
async fn answer(connection: &mut Connection, request: Request<Full<Bytes>>) -> (u16, usize) {
    connection.ready().await.expect("a connection");
    let response = connection.send_request(request).await.expect("an answer");
    let code = response.status().as_u16();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.expect("a body").into_data().map_or(0, |d| d.len());
    }
    (code, length)
}
