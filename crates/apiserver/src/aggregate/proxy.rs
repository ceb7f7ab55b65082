//! Passing a request on to a further server.
//!
//! The request was authenticated and judged before; what the server gets is the request without the user's credential and
//! with the user's name. Bodies are streams in both directions, and an upgraded connection is copied byte by byte, so a
//! watch or an `exec` of another server's is no different from one of this server's.

use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use naru_api::Status;
use naru_client::{Body, BoxedIo, Transport, TransportError, UpgradeError, chain, empty_body};

use super::front::introduce;
use super::pools::{Endpoint, Trust};
use super::remote::Remote;
use crate::authentication::Peer;
use crate::node_proxy::{NOT_FORWARDED, forwarded};
use crate::passage::{Held, Passage};
use crate::state::Core;
use crate::user::User;
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::respond;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const AUDIT: HeaderName = HeaderName::from_static("audit-id");

/// A request that is to be passed on.
pub(crate) struct Asked<'a> {
    pub(crate) core: &'a Core,
    pub(crate) peer: &'a Peer,
    pub(crate) user: &'a User,
    pub(crate) parts: &'a Parts,
    pub(crate) passage: &'a Passage,
}

/// Passes a request on.
///
/// # Errors
/// When the user cannot be named to another server. A server that is away is an answer, as Kubernetes gives it.
pub(crate) async fn forward(
    asked: &Asked<'_>,
    remote: &Remote,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Payload>, Status> {
    if !remote.available {
        return Ok(unavailable("service unavailable"));
    }
    let aggregate = &asked.core.aggregate;
    let endpoints = match aggregate.endpoints(&asked.core.store.snapshot(), &remote.spec, Trust::Asked) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            tracing::debug!(error, service = remote.spec.name, "a further server cannot be reached");
            return Ok(unavailable("service unavailable"));
        }
    };
    let headers = asked.headers()?;
    match upgrade {
        Some(client) => Ok(asked.upgrade(&endpoints, headers, client).await),
        None => Ok(asked.call(&endpoints, headers, body).await),
    }
}

// === impl Asked ===

impl Asked<'_> {
    fn headers(&self) -> Result<HeaderMap, Status> {
        let mut headers = forwarded(&self.parts.headers);
        introduce(&mut headers, self.user)?;
        if let Some(address) = self.peer.address {
            let before = headers.get(FORWARDED_FOR).and_then(|value| value.to_str().ok());
            let all = before.map_or_else(|| address.to_string(), |before| format!("{before}, {address}"));
            headers.insert(FORWARDED_FOR, HeaderValue::from_str(&all).map_err(Status::internal)?);
        }
        // Both servers' audit logs speak of one request.
        headers.insert(AUDIT, HeaderValue::from_str(self.passage.id()).map_err(Status::internal)?);
        Ok(headers)
    }

    fn request(&self, headers: HeaderMap, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        let path = self.parts.uri.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        *request.headers_mut() = headers;
        request
    }

    async fn call(&self, endpoints: &[Endpoint], headers: HeaderMap, body: RequestBody) -> Response<Payload> {
        let bodiless = matches!(self.parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let mut body = (!bodiless).then(|| body.into_body());
        let mut last = String::new();
        for endpoint in endpoints {
            let again = body.is_none();
            let request = self.request(headers.clone(), body.take().unwrap_or_else(empty_body));
            match endpoint.transport.call(request).await {
                Ok(response) => return answer(response),
                Err(error) => {
                    last = chain(&error);
                    // Another one is only asked for what this one never heard, and can be told again.
                    if !again || !matches!(error, TransportError::Connect { .. }) {
                        break;
                    }
                }
            }
        }
        unavailable(&last)
    }

    async fn upgrade(&self, endpoints: &[Endpoint], mut headers: HeaderMap, client: OnUpgrade) -> Response<Payload> {
        if let Some(protocol) = self.parts.headers.get(header::UPGRADE) {
            headers.insert(header::UPGRADE, protocol.clone());
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        let mut last = String::new();
        for endpoint in endpoints {
            match endpoint.transport.upgrade(self.request(headers.clone(), empty_body())).await {
                Ok((head, server)) => {
                    tokio::spawn(join(client, server, self.passage.hold()));
                    let mut response = Response::new(Payload::empty());
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    *response.headers_mut() = head.headers().clone();
                    return response;
                }
                Err(UpgradeError::Refused(response)) => return answer(*response),
                Err(error) => {
                    last = chain(&error);
                    if !matches!(error, UpgradeError::Transport(TransportError::Connect { .. })) {
                        break;
                    }
                }
            }
        }
        unavailable(&last)
    }
}

/// Copies bytes both ways until both sides have ended.
async fn join(client: OnUpgrade, mut server: BoxedIo, held: Held) {
    let _held = held;
    match client.await {
        Ok(client) => {
            let mut client = TokioIo::new(client);
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                tracing::debug!(%error, "an upgraded connection to a further server ended");
            }
        }
        Err(error) => tracing::debug!(%error, "an upgrade did not come about"),
    }
}

fn answer(response: Response<Body>) -> Response<Payload> {
    let (mut parts, body) = response.into_parts();
    // The length stays: it is true for the copied bytes as well.
    for name in NOT_FORWARDED.iter().filter(|name| **name != header::CONTENT_LENGTH) {
        parts.headers.remove(name);
    }
    // The version is that of the connection to the server, not of the client's.
    parts.version = http::Version::default();
    Response::from_parts(parts, Payload::Boxed(body))
}

/// As Kubernetes says it: no `Status`, since no server of the kind was heard.
fn unavailable(why: &str) -> Response<Payload> {
    respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}
