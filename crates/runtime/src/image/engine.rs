//! Copying images out of a Docker engine on this machine.

use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, BodyStream, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::io::StreamReader;

use super::error::ImageError;
use super::options::BoxedReader;
use super::reference::Reference;

const SOCKET: &str = "/var/run/docker.sock";

/// Where the engine listens: `DOCKER_HOST` when it names a socket, else the usual place.
pub(crate) fn socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    PathBuf::from(host.strip_prefix("unix://").unwrap_or(SOCKET))
}

/// The engine's archive of an image, as a stream.
pub(crate) async fn export(socket: &Path, reference: &Reference) -> Result<BoxedReader, ImageError> {
    let name = reference.familiar();
    let refuse = |problem: String| ImageError::Engine { socket: socket.to_owned(), name: name.clone(), problem };
    let stream =
        UnixStream::connect(socket).await.map_err(|e| refuse(format!("it cannot be reached ({e}); is it running?")))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| refuse(e.to_string()))?;
    // Ends when the response was read or given up.
    tokio::spawn(connection);
    // Names need no escaping: they hold neither spaces nor percent signs, and slashes stay.
    let request = http::Request::get(format!("/images/{name}/get"))
        .header(http::header::HOST, "docker")
        .body(Empty::<Bytes>::new());
    let response =
        sender.send_request(request.map_err(|e| refuse(e.to_string()))?).await.map_err(|e| refuse(e.to_string()))?;
    match response.status().as_u16() {
        200 => Ok(reader(response.into_body())),
        404 => Err(refuse("it has no such image".into())),
        status => {
            let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Err(refuse(format!("it answers {status} {}", String::from_utf8_lossy(&body).trim())))
        }
    }
}

fn reader(body: Incoming) -> BoxedReader {
    let frames = TryStreamExt::map_err(BodyStream::new(body), std::io::Error::other);
    let data = frames.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
    Box::new(StreamReader::new(Box::pin(data)))
}
