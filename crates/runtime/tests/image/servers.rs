//! A real registry, and what stands around one: a token server, a line that gets cut, a Docker engine's socket.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// User and password of every test registry that asks.
pub const USER: (&str, &str) = ("user", "geheim");
/// The same for a registry that checks itself (bcrypt).
const PASSWORDS: &str = "user:$2a$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n";

/// Debian's `docker-registry`, with its blobs in a scratch folder. Killed when dropped.
pub struct Registry {
    process: Child,
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
}

/// How a registry checks who asks.
pub enum Door {
    Open,
    Password,
    Token,
}

impl Registry {
    /// None, said loudly, when the program is not installed.
    pub async fn start(door: Door) -> Option<Registry> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut config = json!({
            "version": 0.1, "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("data")}},
            "http": {"addr": port.to_string(), "secret": "a test"},
        });
        match door {
            Door::Open => {}
            Door::Password => {
                std::fs::write(folder.path().join("htpasswd"), PASSWORDS).unwrap();
                config["auth"] = json!({"htpasswd": {"realm": "test", "path": folder.path().join("htpasswd")}});
            }
            Door::Token => {
                let realm = token_server(folder.path()).await;
                config["auth"] = json!({"token": {"realm": realm, "service": "registry", "issuer": "tests", "rootcertbundle": folder.path().join("token.pem")}});
            }
        }
        // JSON is YAML.
        std::fs::write(folder.path().join("config.yml"), config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(process) => {
                let registry = Registry { process, folder, address: port };
                reachable(port).await;
                Some(registry)
            }
            Err(error) => {
                eprintln!("SKIPPED: docker-registry cannot be run ({error}): apt-get install docker-registry");
                None
            }
        }
    }

    /// Overwrites a blob's bytes with others of the same length.
    pub fn damage(&self, hex: &str) {
        let path = self.folder.path().join(format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(path, vec![b'!'; length as usize]).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn reachable(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "the registry does not listen at {address}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server that gives tokens to [`USER`] as `docker-registry` believes them. Gives its address.
async fn token_server(folder: &Path) -> String {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["tests".to_owned()]).unwrap().self_signed(&pair).unwrap();
    std::fs::write(folder.join("token.pem"), certificate.pem()).unwrap();
    let random = ring::rand::SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random).unwrap();
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(certificate.der())]});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let expected = format!("Basic {}", STANDARD.encode(format!("{}:{}", USER.0, USER.1)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (line, headers, mut stream) = request(stream).await;
            let scope = line
                .split(['?', '&', ' '])
                .find_map(|part| part.strip_prefix("scope="))
                .unwrap_or_default()
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            let parts: Vec<&str> = scope.split(':').collect();
            if !headers.iter().any(|h| h.strip_prefix("authorization: ").is_some_and(|value| value == expected))
                || parts.len() != 3
            {
                let _ = stream
                    .write_all(
                        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 14\r\nConnection: close\r\n\r\nwrong password",
                    )
                    .await;
                continue;
            }
            let now = jiff::Timestamp::now().as_second();
            let actions: Vec<&str> = parts[2].split(',').collect();
            let claims = json!({"iss": "tests", "sub": USER.0, "aud": "registry", "exp": now + 300, "nbf": now - 10, "iat": now - 10, "jti": "1",
                "access": [{"type": parts[0], "name": parts[1], "actions": actions}]});
            let text = format!(
                "{}.{}",
                URL_SAFE_NO_PAD.encode(header.to_string()),
                URL_SAFE_NO_PAD.encode(claims.to_string())
            );
            let signature = key.sign(&random, text.as_bytes()).unwrap();
            let body = json!({"token": format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))}).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    realm
}

/// Reads a request's first line and its headers, names in lower case.
async fn request<S: tokio::io::AsyncRead + Unpin>(stream: S) -> (String, Vec<String>, S) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap_or(0);
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        let lower = line.split_once(": ").map(|(name, value)| format!("{}: {value}", name.to_lowercase()));
        lines.push(lower.unwrap_or(line));
    }
    let first = if lines.is_empty() { String::new() } else { lines.remove(0) };
    (first, lines, reader.into_inner())
}

/// A line to a server that can be cut.
pub struct Line {
    pub address: SocketAddr,
    /// Bytes that came through in the server's direction to the client.
    pub passed: Arc<AtomicU64>,
    /// Bytes after which each connection is cut.
    cut_after: Arc<AtomicU64>,
    /// Whether every connection is refused.
    down: Arc<AtomicBool>,
}

impl Line {
    pub async fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Line {
            address: listener.local_addr().unwrap(),
            passed: Arc::default(),
            cut_after: Arc::new(u64::MAX.into()),
            down: Arc::default(),
        };
        let (passed, cut_after, down) = (line.passed.clone(), line.cut_after.clone(), line.down.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !down.load(Ordering::SeqCst) {
                    tokio::spawn(carry(client, server, passed.clone(), cut_after.clone()));
                }
            }
        });
        line
    }

    /// Cuts every connection after it carried so many bytes.
    pub fn cut_after(&self, bytes: u64) {
        self.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Takes the line down, or up again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: SocketAddr, passed: Arc<AtomicU64>, cut_after: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let (mut carried, mut buffer) = (0, vec![0; 16 << 10]);
    while carried < cut_after.load(Ordering::SeqCst) {
        let Ok(count @ 1..) = from_server.read(&mut buffer).await else { break };
        if to_client.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        carried += count as u64;
        passed.fetch_add(count as u64, Ordering::SeqCst);
    }
    up.abort();
}

/// Sends a document to an open registry, as tools do that this package is not.
pub async fn put(server: SocketAddr, path: &str, media_type: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// A Docker engine that has one image.
pub async fn docker_engine(socket: &Path, name: &str, archive: Vec<u8>) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let wanted = format!("GET /images/{name}/get HTTP/1.1");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (line, _, mut stream) = request(stream).await;
            if line != wanted {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").await;
                continue;
            }
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            for chunk in archive.chunks(1000) {
                let _ = stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await;
            }
            let _ = stream.write_all(b"0\r\n\r\n").await;
        }
    });
}
