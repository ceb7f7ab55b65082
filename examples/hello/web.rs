//! The demo's web service: counts its visitors in Redis. Standard library only, so that it is one static file.
//!
//! `web` serves on port 8080; `web check` asks a running one whether it is well (the health test).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("check") {
        std::process::exit(i32::from(!is_well()));
    }
    let listener = TcpListener::bind("0.0.0.0:8080").expect("port 8080");
    println!("listening on port 8080");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = answer(&stream) {
                eprintln!("{error}");
            }
        });
    }
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines.by_ref() {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (status, body) = match path {
        "/healthz" => ("200 OK", "ok\n".to_owned()),
        "/" => match visits() {
            Ok(count) => ("200 OK", format!("Hello from {}, you are visitor {count}.\n", host.trim())),
            Err(error) => ("503 Service Unavailable", format!("Redis does not answer: {error}\n")),
        },
        _ => ("404 Not Found", "not here\n".to_owned()),
    };
    if path != "/healthz" {
        println!("{request} {status}");
    }
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn visits() -> std::io::Result<u64> {
    let redis = std::env::var("REDIS").unwrap_or_else(|_| "redis:6379".to_owned());
    let address = redis.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"INCR visits\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    line.trim().trim_start_matches(':').parse().map_err(|_| std::io::Error::other(line.trim().to_owned()))
}

fn is_well() -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:8080")?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}
