//! Following a collection's changes event by event.

use std::collections::VecDeque;

use futures_util::{Stream, StreamExt, stream};
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::lines::Lines;
use crate::{Body, BoxError, Client, ClientError, empty_body};

/// One change of a watched collection.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent<T> {
    /// The object was created, or existed when the watch began.
    Added(T),
    /// The object changed.
    Modified(T),
    /// The object is gone; its last state.
    Deleted(T),
    /// Nothing changed up to this resourceVersion.
    Bookmark(String),
}

impl<T> WatchEvent<T> {
    /// Turns the object into another type.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<WatchEvent<U>, E> {
        Ok(match self {
            WatchEvent::Added(object) => WatchEvent::Added(read(object)?),
            WatchEvent::Modified(object) => WatchEvent::Modified(read(object)?),
            WatchEvent::Deleted(object) => WatchEvent::Deleted(read(object)?),
            WatchEvent::Bookmark(version) => WatchEvent::Bookmark(version),
        })
    }
}

struct Open {
    client: Client,
    path: String,
    body: Body,
    lines: Lines,
    ready: VecDeque<Result<WatchEvent<Value>, ClientError>>,
}

/// Opens a watch at a path with its query.
pub(crate) async fn open(
    client: &Client,
    path: String,
) -> Result<impl Stream<Item = Result<WatchEvent<Value>, ClientError>> + Send + Unpin + use<>, ClientError> {
    let body = client.open(Method::GET, &path, None, empty_body()).await?.into_body();
    let open = Open { client: client.clone(), path, body, lines: Lines::default(), ready: VecDeque::new() };
    Ok(stream::unfold(open, Open::step).boxed())
}

impl Open {
    async fn step(mut self) -> Option<(Result<WatchEvent<Value>, ClientError>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.lines.push(data);
                    while let Some(line) = self.lines.next() {
                        let event = self.read(&line);
                        self.ready.push_back(event);
                    }
                }
                Err(source) => {
                    let event = Err(self.unreadable(source));
                    return Some((event, self));
                }
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<WatchEvent<Value>, ClientError> {
        let mut event: Value = serde_json::from_slice(line).map_err(|error| self.unreadable(error.into()))?;
        let object = event["object"].take();
        match event["type"].as_str().unwrap_or_default() {
            "ADDED" => Ok(WatchEvent::Added(object)),
            "MODIFIED" => Ok(WatchEvent::Modified(object)),
            "DELETED" => Ok(WatchEvent::Deleted(object)),
            "BOOKMARK" => {
                Ok(WatchEvent::Bookmark(object["metadata"]["resourceVersion"].as_str().unwrap_or_default().into()))
            }
            "ERROR" => Err(self.client.refusal("watch", &self.path, 500, object.to_string().as_bytes())),
            other => Err(self.unreadable(format!("unknown watch event type {other:?}").into())),
        }
    }

    fn unreadable(&self, source: BoxError) -> ClientError {
        ClientError::Answer { request: format!("watch {}", self.path), source }
    }
}
