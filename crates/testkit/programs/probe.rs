//! The tests' container: a web service that tells about itself and misbehaves on demand. Standard library only, so
//! that it is one static file. It listens on `PORT` (8080) over TCP, and over UDP answers with what it was sent.
//!
//! Arguments: `--ignore-term` (TERM is not obeyed), `--term-code N` (the exit code after TERM), `--unhealthy` (from the
//! start), `--exit N` (at once), `--wait-for PATH` (goes on only when the file is there), `--then-exit N` (after
//! that). As a client: `--get
//! HOST:PORT/PATH` prints the answer and ends with 0 when it was 200; `--resolve NAME` prints a name's addresses.
//!
//! Paths: `/` everything about itself, one `name=value` a line; `/host`, `/remote`, `/env/NAME`, `/file/PATH`; `/health`
//! 200 or 503, `/health/good`, `/health/bad`; `/exit/N`; `/print/N/TEXT` N lines on standard output; `/memory/MB` keeps
//! that much; `/fork/N` starts N processes that wait; `/get/HOST:PORT/PATH` asks another server and passes the answer
//! on; `/resolve/NAME` the addresses of a name; `/slow/MS` answers late.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

static HEALTHY: AtomicBool = AtomicBool::new(true);
static TERM_CODE: AtomicI32 = AtomicI32::new(0);
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
    fn write(file: i32, bytes: *const u8, count: usize) -> isize;
    fn getuid() -> u32;
    fn getgid() -> u32;
}

extern "C" fn on_term(number: i32) {
    let text: &[u8] = match number {
        1 => b"got HUP\n",
        2 => b"got INT\n",
        3 => b"got QUIT\n",
        10 => b"got USR1\n",
        _ => b"got TERM\n",
    };
    unsafe {
        write(1, text.as_ptr(), text.len());
        if number != 1 && number != 10 {
            _exit(TERM_CODE.load(Ordering::Relaxed));
        }
    }
}

extern "C" fn on_ignored(_: i32) {
    let text = b"ignored TERM\n";
    unsafe { write(1, text.as_ptr(), text.len()) };
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    TERM_CODE.store(value("--term-code").and_then(|code| code.parse().ok()).unwrap_or(0), Ordering::Relaxed);
    let term = if has("--ignore-term") { on_ignored as extern "C" fn(i32) } else { on_term };
    unsafe {
        signal(15, term as usize);
        for number in [1, 2, 3, 10] {
            signal(number, on_term as extern "C" fn(i32) as usize);
        }
    }
    if let Some((what, name)) = value("--get").map(|url| ("get", url)).or(value("--resolve").map(|name| ("resolve", name))) {
        let (status, body) = answer(&format!("/{what}/{name}"), "");
        if status == 200 {
            println!("{body}");
        } else {
            eprintln!("{status} {body}");
        }
        std::process::exit(i32::from(status != 200));
    }
    HEALTHY.store(!has("--unhealthy"), Ordering::Relaxed);
    println!("probe starts on {}", host());
    if let Some(code) = value("--exit") {
        std::process::exit(code.parse().unwrap_or(1));
    }
    while let Some(path) = value("--wait-for")
        && !std::path::Path::new(path).exists()
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(code) = value("--then-exit") {
        println!("probe went");
        std::process::exit(code.parse().unwrap_or(1));
    }
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let udp = UdpSocket::bind(("0.0.0.0", port));
    std::thread::spawn(move || {
        let Ok(udp) = udp else { return };
        let mut buffer = [0; 2048];
        while let Ok((count, from)) = udp.recv_from(&mut buffer) {
            let answer = format!("{} {from} {}", host(), String::from_utf8_lossy(&buffer[..count]));
            let _ = udp.send_to(answer.as_bytes(), from);
        }
    });
    // Both families where the kernel has both; a mapped address is told as what it is.
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).expect("listen");
    println!("probe listens on port {port}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{error}");
            }
        });
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let remote = stream.peer_addr()?;
    let remote = std::net::SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines.by_ref() {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let (status, body) = answer(&path, &remote.ip().to_string());
    write!(stream, "HTTP/1.1 {status} .\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    stream.flush()?;
    if let Some(code) = path.strip_prefix("/exit/") {
        std::process::exit(code.parse().unwrap_or(1));
    }
    Ok(())
}

fn answer(path: &str, remote: &str) -> (u16, String) {
    let parts: Vec<&str> = path.trim_start_matches('/').splitn(3, '/').collect();
    let number = |at: usize| parts.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    let rest = path.trim_start_matches('/').split_once('/').map_or("", |(_, rest)| rest);
    match parts[0] {
        "host" => (200, host()),
        "remote" => (200, remote.to_owned()),
        "env" => std::env::var(rest).map_or((404, "not set".to_owned()), |value| (200, value)),
        "file" => match std::fs::read_to_string(format!("/{rest}")) {
            Ok(text) => (200, text),
            Err(error) => (404, error.to_string()),
        },
        "health" => {
            match rest {
                "good" => HEALTHY.store(true, Ordering::Relaxed),
                "bad" => HEALTHY.store(false, Ordering::Relaxed),
                _ if !HEALTHY.load(Ordering::Relaxed) => return (503, "unhealthy".to_owned()),
                _ => {}
            }
            (200, "healthy".to_owned())
        }
        "print" => {
            let text = parts.get(2).copied().unwrap_or("line");
            (1..=number(1)).for_each(|line| println!("{text} {line}"));
            (200, "printed".to_owned())
        }
        "memory" => {
            let block = vec![1_u8; number(1) as usize * 1024 * 1024];
            KEPT.lock().unwrap().push(block);
            (200, "kept".to_owned())
        }
        "fork" => {
            let forked = (0..number(1)).filter(|_| std::process::Command::new("/bin/sleep").arg("600").spawn().is_ok());
            (200, forked.count().to_string())
        }
        "get" => {
            let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
            get(server, path).unwrap_or_else(|error| (502, error.to_string()))
        }
        "resolve" => match (rest, 0).to_socket_addrs() {
            Ok(found) => {
                let mut found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
                found.sort();
                found.dedup();
                (200, found.join("\n"))
            }
            Err(error) => (404, error.to_string()),
        },
        "slow" => {
            std::thread::sleep(Duration::from_millis(number(1)));
            (200, host())
        }
        "exit" => (200, "bye".to_owned()),
        "" => (200, about(remote)),
        _ => (404, "not here".to_owned()),
    }
}

fn about(remote: &str) -> String {
    let mut lines = vec![
        format!("host={}", host()),
        format!("remote={remote}"),
        format!("pid={}", std::process::id()),
        format!("uid={}", unsafe { getuid() }),
        format!("gid={}", unsafe { getgid() }),
        format!("cwd={}", std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default()),
        format!("args={}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
    ];
    lines.extend(std::env::vars().map(|(name, value)| format!("env.{name}={value}")));
    lines.join("\n")
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn get(server: &str, path: &str) -> std::io::Result<(u16, String)> {
    let address = server.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(4)))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(502);
    Ok((status, body.to_owned()))
}
