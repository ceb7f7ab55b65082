//! As much of an HTTP client as tests need, so that requests can be made from any namespace.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Long enough for a loaded machine, short enough that a refused connection is soon tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server's answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks `http://<address>:<port><path>` from the namespace of this thread (see [`crate::Host::inside`]).
///
/// # Errors
/// When nothing answers.
pub fn get_here(address: IpAddr, port: u16, path: &str) -> Result<Answer, String> {
    let to = SocketAddr::new(address, port);
    let fault = |error: std::io::Error| format!("http://{to}{path}: {error}");
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(fault)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").map_err(fault)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(fault)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| format!("http://{to}{path}: not an HTTP answer"))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = super::parse("HTTP/1.1 503 Busy\r\nA: b\r\n\r\nlater").expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (503, "later"));
        assert!(super::parse("").is_none());
    }
}
