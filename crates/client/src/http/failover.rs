//! One server of several: the one that answers, until it does not.
//!
//! Only a connection that cannot be opened moves requests over to the next server. What broke under way may have been
//! done, so that is the caller's to judge, as with a single server; its next request finds the next server.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::HttpTransport;
use crate::{Body, BoxedIo, Transport, TransportError, UpgradeError, full_body};

/// A [`Transport`] to whichever of several servers answers. Clones share what they know.
#[derive(Clone)]
pub struct FailoverTransport {
    known: Arc<RwLock<Known>>,
    found: Arc<watch::Sender<u64>>,
}

struct Known {
    servers: Vec<HttpTransport>,
    /// The one in use.
    at: usize,
}

impl FailoverTransport {
    /// Over these servers, the first one first.
    pub fn new(servers: Vec<HttpTransport>) -> Self {
        FailoverTransport { known: Arc::new(RwLock::new(Known { servers, at: 0 })), found: Arc::default() }
    }

    /// Uses these servers from now on, beginning with the one at `at`: others than before, or the same ones with
    /// another certificate. Requests under way end where they began.
    pub fn replace(&self, servers: Vec<HttpTransport>, at: usize) {
        let at = if at < servers.len() { at } else { 0 };
        *self.known.write() = Known { servers, at };
        self.found.send_modify(|count| *count += 1);
    }

    /// How many servers are known.
    pub fn count(&self) -> usize {
        self.known.read().servers.len()
    }

    fn current(&self) -> Result<(HttpTransport, usize), TransportError> {
        let known = self.known.read();
        let server = known.servers.get(known.at).cloned().ok_or(TransportError::Closed)?;
        Ok((server, known.at))
    }

    /// Leaves the server at `from`, unless somebody has.
    fn leave(&self, from: usize) {
        let mut known = self.known.write();
        if known.at == from && !known.servers.is_empty() {
            known.at = (from + 1) % known.servers.len();
        }
    }
}

impl Transport for FailoverTransport {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TransportError>> {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body: Bytes = body
                .collect()
                .await
                .map_err(|source| TransportError::Broken { address: "the request's own body".into(), source })?
                .to_bytes();
            for left in (0..this.count().max(1)).rev() {
                let (server, at) = this.current()?;
                match server.call(Request::from_parts(parts.clone(), full_body(body.clone()))).await {
                    Err(TransportError::Connect { .. }) if left > 0 => this.leave(at),
                    Err(error @ TransportError::Connect { .. }) => {
                        this.leave(at);
                        return Err(error);
                    }
                    other => return other,
                }
            }
            Err(TransportError::Closed)
        })
    }

    fn upgrade(&self, request: Request<Body>) -> BoxFuture<'static, Result<(Response<()>, BoxedIo), UpgradeError>> {
        let this = self.clone();
        Box::pin(async move {
            let (server, at) = this.current()?;
            let upgraded = server.upgrade(request).await;
            if let Err(UpgradeError::Transport(TransportError::Connect { .. })) = &upgraded {
                this.leave(at);
            }
            upgraded
        })
    }

    fn found(&self) -> Option<watch::Receiver<u64>> {
        Some(self.found.subscribe())
    }
}

impl From<FailoverTransport> for Arc<dyn Transport> {
    fn from(transport: FailoverTransport) -> Self {
        Arc::new(transport)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answering;
    use super::*;
    use crate::Client;

    async fn ask(client: &Client) -> Result<String, crate::ClientError> {
        let answer = client.send(http::Method::POST, "/a", Some("text/plain"), full_body("hi")).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    #[tokio::test]
    async fn requests_move_to_a_server_that_answers_with_their_bodies() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| folder.path().join(name);
        let transport =
            FailoverTransport::new(vec![HttpTransport::unix(socket("dead")), HttpTransport::unix(socket("b"))]);
        let client = Client::new(Arc::new(transport.clone()));
        let error = ask(&client).await.unwrap_err();
        assert!(error.to_string().contains("dead") || format!("{error:?}").contains("Connect"), "{error:?}");
        answering(&socket("b"));
        for _ in 0..2 {
            assert_eq!(ask(&client).await.unwrap(), "HTTP/1.1 POST /a |hi");
        }
        transport.replace(vec![], 0);
        assert!(ask(&client).await.is_err());
    }
}
