//! Clients that hold connections and say nothing, or half of something.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{World, within};

/// Reads until the server closes.
async fn ended(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut answer = Vec::new();
    // Closed in good order or not, it is closed.
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}

/// Half a head, its end in pieces that never come to an end.
async fn half_a_head(socket: PathBuf) {
    let mut stream = UnixStream::connect(socket).await.expect("a connection");
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: naru\r\nx-slow: ").await.expect("written");
    let (read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"a").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    assert_eq!(String::from_utf8_lossy(&ended(read).await), "", "nothing was asked");
    trickle.abort();
}

/// A connection that never begins to shake hands.
async fn no_handshake(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    assert!(ended(stream).await.is_empty());
}

/// A connection that asks, waits for longer than a head may take, and asks again.
async fn a_pooled_one(socket: PathBuf, others: impl Future<Output = ()>) {
    let mut stream = UnixStream::connect(socket).await.expect("a connection");
    let request = b"GET /readyz HTTP/1.1\r\nhost: naru\r\n\r\n";
    let mut buffer = [0; 1024];
    stream.write_all(request).await.expect("written");
    let read = within(stream.read(&mut buffer)).await.expect("an answer");
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    others.await;
    stream.write_all(request).await.expect("it is still open");
    let read = within(stream.read(&mut buffer)).await.expect("an answer");
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn who_dawdles_is_cut_off_and_who_waits_is_not() {
    let world = World::start().await;
    let slow = async {
        tokio::join!(half_a_head(world.socket()), no_handshake(world.address));
    };
    a_pooled_one(world.socket(), slow).await;
}
