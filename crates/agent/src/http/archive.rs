//! `/archive/{namespace}/{pod}/{container}?path=…`: files out of (GET) and into (PUT) a running container, as tar.
//!
//! As with `docker cp`: a path that is a folder receives the archive's entries; one that does not exist yet gives the
//! single source (`name` in the query) its new name.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::Method;
use http_body_util::{BodyExt, BodyStream};
use naru_client::BoxError;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    reply::{Refusal, Reply, json_reply, streamed, typed},
    router::Call,
    tree::{self, Tree},
};
use crate::machine::State;

pub(super) async fn archive(call: Call) -> Reply {
    let path =
        call.query.get("path").filter(|path| !path.is_empty()).ok_or_else(|| Refusal::bad("the query needs a path"))?;
    let path = path.to_owned();
    let found = call.pod(&call.path[1], &call.path[2])?;
    let container = &call.path[3];
    found.running(container)?;
    let pid = match found.observed.containers.get(container.as_str()).map(|seen| &seen.state) {
        Some(State::Running { pid, .. }) => *pid,
        _ => return Err(Refusal::absent(format!("container {container:?} is not running"))),
    };
    let root = Tree::of_process(pid).map_err(|error| Refusal::failed(&error))?;
    let name = call.query.get("name").map(str::to_owned).unwrap_or_default();
    match *call.request.method() {
        Method::GET => read(root, path).await,
        Method::PUT => write(call, root, path, name).await,
        _ => Err(Refusal::bad("expected GET or PUT")),
    }
}

async fn read(root: Tree, path: String) -> Reply {
    let (sender, inbox) = mpsc::channel(8);
    // Looked for before answering, so that what does not exist is a 404 and no broken stream.
    let shown = path.clone();
    let (root, entry) = tokio::task::spawn_blocking(move || root.find(&path).map(|entry| (root, entry)))
        .await
        .map_err(|error| Refusal::failed(&error))?
        .map_err(|error| no_such(&shown, &error))?;
    tokio::task::spawn_blocking(move || {
        let _root = root;
        let mut out = Chunks { sender: sender.clone(), buffer: Vec::new() };
        let written = tree::pack(&entry, &mut out).and_then(|()| out.flush());
        if let Err(error) = written {
            let _ = sender.blocking_send(Err(BoxError::from(error)));
        }
    });
    Ok(typed("application/x-tar", streamed(inbox)))
}

async fn write(call: Call, root: Tree, path: String, name: String) -> Reply {
    let frames = BodyStream::new(call.request.into_body().map_err(io::Error::other));
    let data = frames.try_filter_map(async |frame| Ok(frame.into_data().ok()));
    let mut reader = SyncIoBridge::new(StreamReader::new(Box::pin(data)));
    let shown = path.clone();
    let unpack = move || {
        tree::unpack(&root, &path, &name, &mut reader)?;
        // Behind the archive's end there is padding: who is still sending it must not meet a closed connection.
        io::copy(&mut reader, &mut io::sink()).map(drop)
    };
    let done = tokio::task::spawn_blocking(unpack).await;
    done.map_err(|error| Refusal::failed(&error))?.map_err(|error| no_such(&shown, &error))?;
    Ok(json_reply(&json!({})))
}

fn no_such(path: &str, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::absent(format!("could not find {path} in the container")),
        _ => Refusal::bad(format!("{path}: {error}")),
    }
}

/// Passes what is written on in chunks.
struct Chunks {
    sender: mpsc::Sender<Result<Bytes, BoxError>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 128 << 10 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.buffer).into();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
