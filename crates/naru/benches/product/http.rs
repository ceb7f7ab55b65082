//! As much HTTP over unix sockets as the measuring side needs: one request a connection, whole or as lines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// Asks and reads the whole answer, which must be one of success.
pub fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Value> {
    let bytes = bytes(socket, method, path, body)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// The same without reading the answer as JSON.
pub fn bytes(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Vec<u8>> {
    let (status, mut reader) = open(socket, method, path, body)?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    match status {
        200..=299 | 304 => Ok(bytes),
        _ => Err(io::Error::other(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&bytes)))),
    }
}

/// Asks and gives the body as it comes. HTTP/1.0, so that it ends with the connection and comes in no chunks.
pub fn open(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, BufReader<UnixStream>)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok((status, reader))
}
