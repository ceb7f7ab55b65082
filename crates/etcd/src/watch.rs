//! Following every change of a range of keys.

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::client::is_stale_token;
use crate::message::{WatchAnswer, WatchCreateRequest, WatchRequest, WatchUnion, revision};
use crate::{Client, Error, Event};

/// Changes of one or more whole revisions, in order.
#[derive(Clone, Debug, Default)]
pub struct WatchResponse {
    /// The store's revision as it was sent: nothing up to it is still to come.
    pub revision: u64,
    /// The changes.
    pub events: Vec<Event>,
}

/// A watch that lives as long as its connection; nothing is repeated by itself.
pub struct Watcher {
    stream: Streaming<WatchAnswer>,
    endpoint: String,
    client: Client,
}

impl Client {
    /// Follows the keys from `key` to before `range_end`, from a revision on, which is included. Returns when etcd has
    /// said that it watches.
    ///
    /// # Errors
    /// [`Error::Compacted`] when the changes from there on are not kept any more.
    pub async fn watch(&self, key: Bytes, range_end: Bytes, start: u64) -> Result<Watcher, Error> {
        let asked = self.asked();
        let create = WatchCreateRequest { key, range_end, start_revision: start.cast_signed(), fragment: true };
        let create = WatchRequest { union: Some(WatchUnion::Create(create)) };
        let opened = async {
            let mut grpc = Grpc::new(asked.channel.clone()).max_decoding_message_size(usize::MAX);
            grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            // The request stays open as long as the watch: its end would end it.
            let requests = futures_util::StreamExt::chain(stream::iter([create]), stream::pending());
            let mut request: Request<_> = self.authorized(requests, &asked).await?;
            // A member that has lost its leader ends the watch instead of keeping silent.
            request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            let answer = grpc.streaming(request, path, ProstCodec::default()).await?;
            Ok(answer.into_inner())
        };
        let late = |_| Err(Status::deadline_exceeded("no answer within 8 s"));
        let opened: Result<_, Status> =
            tokio::time::timeout(std::time::Duration::from_secs(8), opened).await.unwrap_or_else(late);
        let stream = match opened {
            Ok(stream) => stream,
            Err(status) => return Err(self.failed(&status, &asked)),
        };
        let mut watcher = Watcher { stream, endpoint: asked.endpoint.to_owned(), client: self.clone() };
        let first = watcher.answer().await?;
        if !first.created {
            let message = "the watch did not begin with its creation".to_owned();
            return Err(Error::NoAnswer { endpoint: watcher.endpoint, message });
        }
        Ok(watcher)
    }

    fn failed(&self, status: &Status, asked: &crate::client::Asked<'_>) -> Error {
        if is_stale_token(status) {
            self.forget_token();
        }
        let error = Error::of(status, asked.endpoint);
        if matches!(error, Error::NoAnswer { .. }) {
            self.move_on(asked);
        }
        error
    }
}

impl Watcher {
    /// Waits for the next changes.
    ///
    /// # Errors
    /// The watch is over: the connection broke, the member lost its leader, or what it should tell is compacted.
    pub async fn next(&mut self) -> Result<WatchResponse, Error> {
        let mut whole = WatchResponse::default();
        loop {
            let answer = self.answer().await?;
            whole.revision = revision(answer.header.as_ref());
            whole.events.extend(answer.events);
            if !answer.fragment {
                return Ok(whole);
            }
        }
    }

    async fn answer(&mut self) -> Result<WatchAnswer, Error> {
        let ended = || Status::unavailable("the watch ended");
        let answer = match self.stream.message().await.and_then(|answer| answer.ok_or_else(ended)) {
            Ok(answer) => answer,
            Err(status) => {
                let asked = self.client.asked();
                // Unless the client has moved on from it already.
                return Err(if asked.endpoint == self.endpoint {
                    self.client.failed(&status, &asked)
                } else {
                    Error::of(&status, &self.endpoint)
                });
            }
        };
        if !answer.canceled {
            return Ok(answer);
        }
        if answer.compact_revision > 0 {
            return Err(Error::Compacted);
        }
        let message = format!("the watch was ended: {}", answer.cancel_reason);
        if message.contains("permission") || message.contains("auth") {
            self.client.forget_token();
        }
        Err(Error::NoAnswer { endpoint: self.endpoint.clone(), message })
    }
}
