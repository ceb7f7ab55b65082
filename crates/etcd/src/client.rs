//! Asking one endpoint after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use parking_lot::Mutex;
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::message::{AuthenticateRequest, AuthenticateResponse, CompactionRequest, EmptyResponse};
use crate::{Config, ConfigError, Credentials, Error, RangeRequest, RangeResponse, TxnRequest, TxnResponse};

/// How long an answer may take. Longer than etcd's own patience with itself (about 7 s), which has the better words.
const ANSWER: Duration = Duration::from_secs(8);
/// A read that found nobody is tried again after so long, on the next endpoint.
const PAUSE: Duration = Duration::from_millis(50);

/// A client of one etcd cluster. Clones share connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    members: Vec<Member>,
    /// The one that is asked.
    current: AtomicUsize,
    credentials: Option<Credentials>,
    token: Mutex<Option<MetadataValue<tonic::metadata::Ascii>>>,
}

struct Member {
    endpoint: String,
    channel: Channel,
}

/// One who can be asked now.
pub(crate) struct Asked<'a> {
    pub endpoint: &'a str,
    pub channel: Channel,
    index: usize,
}

impl Client {
    /// A client that connects when it is first needed. Must be called inside of a runtime.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(config: &Config) -> Result<Client, ConfigError> {
        let endpoints = config.endpoints()?;
        let named = config.endpoints.iter().cloned().zip(endpoints);
        let members = named.map(|(endpoint, built)| Member { endpoint, channel: built.connect_lazy() });
        Ok(Client(Arc::new(Inner {
            members: members.collect(),
            current: AtomicUsize::new(0),
            credentials: config.credentials.clone(),
            token: Mutex::new(None),
        })))
    }

    /// Reads; linearizable. Asks every endpoint before it gives up.
    ///
    /// # Errors
    /// When it is refused, compacted, or nobody answers.
    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let mut left = self.0.members.len() + 1;
        loop {
            left -= 1;
            match self.call("/etcdserverpb.KV/Range", request.clone()).await {
                Err(Error::NoAnswer { .. } | Error::Busy { .. }) if left > 0 => tokio::time::sleep(PAUSE).await,
                answered => return answered,
            }
        }
    }

    /// Does a transaction. It is sent once.
    ///
    /// # Errors
    /// [`Error::is_ambiguous`] says whether it may have happened, or may yet happen.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.call("/etcdserverpb.KV/Txn", request).await
    }

    /// Forgets what was before a revision.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that has happened already.
    pub async fn compact(&self, revision: u64) -> Result<(), Error> {
        let request = CompactionRequest { revision: revision.cast_signed() };
        self.call::<_, EmptyResponse>("/etcdserverpb.KV/Compact", request).await.map(drop)
    }

    /// How large a transaction is on the wire, in bytes: etcd's limit (1.5 MiB unless set) counts these.
    pub fn size_of(request: &TxnRequest) -> usize {
        request.encoded_len()
    }

    /// Which endpoint is asked now.
    pub fn endpoint(&self) -> &str {
        self.asked().endpoint
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        let index = self.0.current.load(Ordering::Relaxed);
        let member = &self.0.members[index % self.0.members.len()];
        Asked { endpoint: &member.endpoint, channel: member.channel.clone(), index }
    }

    /// The next endpoint is asked from now on, unless somebody has moved on from this one already.
    pub(crate) fn move_on(&self, from: &Asked<'_>) {
        let next = (from.index + 1) % self.0.members.len();
        let _ = self.0.current.compare_exchange(from.index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn call<M, R>(&self, path: &'static str, message: M) -> Result<R, Error>
    where
        M: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let asked = self.asked();
        let mut renewed = false;
        loop {
            let answered = match self.authorized(message.clone(), &asked).await {
                Ok(request) => unary(asked.channel.clone(), path, request).await,
                Err(status) => Err(status),
            };
            match answered {
                Ok(response) => return Ok(response),
                Err(status) if is_stale_token(&status) && !renewed => {
                    *self.0.token.lock() = None;
                    renewed = true;
                }
                Err(status) => {
                    let error = Error::of(&status, asked.endpoint);
                    if matches!(error, Error::NoAnswer { .. }) {
                        self.move_on(&asked);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The request with the token of who asks, which is fetched when there is none.
    pub(crate) async fn authorized<M>(&self, message: M, asked: &Asked<'_>) -> Result<Request<M>, Status> {
        let mut request = Request::new(message);
        let Some(credentials) = &self.0.credentials else { return Ok(request) };
        let known = self.0.token.lock().clone();
        let token = match known {
            Some(token) => token,
            None => {
                let ask =
                    AuthenticateRequest { name: credentials.user.clone(), password: credentials.password.clone() };
                let answer: AuthenticateResponse =
                    unary(asked.channel.clone(), "/etcdserverpb.Auth/Authenticate", Request::new(ask)).await?;
                let token = MetadataValue::try_from(answer.token)
                    .map_err(|_| Status::failed_precondition("etcd's token is no text"))?;
                *self.0.token.lock() = Some(token.clone());
                token
            }
        };
        request.metadata_mut().insert("token", token);
        Ok(request)
    }

    pub(crate) fn forget_token(&self) {
        *self.0.token.lock() = None;
    }
}

/// Tokens of etcd end after a while, and with the member that issued them.
pub(crate) fn is_stale_token(status: &Status) -> bool {
    status.code() == Code::Unauthenticated || status.message().contains("invalid auth token")
}

async fn unary<M, R>(channel: Channel, path: &'static str, mut request: Request<M>) -> Result<R, Status>
where
    M: Message + 'static,
    R: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    let asking = async {
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        request.set_timeout(ANSWER);
        let answer = grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::default()).await;
        answer.map(tonic::Response::into_inner)
    };
    let late = |_| Status::deadline_exceeded("no answer within 8 s");
    tokio::time::timeout(ANSWER, asking).await.map_err(late)?
}
