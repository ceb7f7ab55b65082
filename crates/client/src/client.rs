//! Requests in general: sending one over the transport and turning a refusal into an error.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use naru_api::status::Status;
use naru_api::view::View;
use serde_json::Value;

use crate::{Api, Body, BoxError, ClientError, DynamicApi, Resource, Transport, full_body};

/// Speaks to one API server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<dyn Transport>,
    agent: HeaderValue,
}

/// JSON, without the owners of fields: they are for people and for other programs.
const ACCEPTED: &str = "application/json;owners=none";

/// What this program calls itself.
fn agent_name() -> HeaderValue {
    HeaderValue::from_str(&format!("naru/{}", naru_api::version())).unwrap_or(HeaderValue::from_static("naru"))
}

impl Client {
    /// A client over a transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Client { transport, agent: agent_name() }
    }

    /// The transport beneath.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Typed objects: of one namespace, or (`None`) of all of them or of a cluster-scoped kind.
    pub fn api<V: View>(&self, namespace: Option<&str>) -> Api<V> {
        Api::new(self.dynamic(Resource::of::<V>(), namespace))
    }

    /// Objects as JSON values, for kinds that are known only at run time.
    pub fn dynamic(&self, resource: Resource, namespace: Option<&str>) -> DynamicApi {
        DynamicApi::new(self.clone(), resource, namespace)
    }

    /// Sends any request and returns the response, whatever its status, with its body still streaming.
    ///
    /// # Errors
    /// Only when the request was not delivered or no response came.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<Response<Body>, ClientError> {
        let request = self.request(&method, path, content_type, body)?;
        let sent = self.transport.call(request).await;
        sent.map_err(|source| ClientError::Transport { request: format!("{method} {path}"), source })
    }

    /// Sends any request; a refusal is an error. The body still streams.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<Response<Body>, ClientError> {
        let response = self.raw(method.clone(), path, content_type, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = collect(response.into_body()).await;
        let body = body.map_err(|source| ClientError::Answer { request: format!("{method} {path}"), source })?;
        Err(self.refusal(method.as_str(), path, code, &body))
    }

    /// Sends any request and returns the whole body of its answer.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<Bytes, ClientError> {
        let response = self.open(method.clone(), path, content_type, body).await?;
        let body = collect(response.into_body()).await;
        body.map_err(|source| ClientError::Answer { request: format!("{method} {path}"), source })
    }

    /// Sends an optional JSON value and reads the answer as one.
    ///
    /// # Errors
    /// Any of [`ClientError`].
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let body = match body {
            Some(value) => full_body(encode(value)),
            None => crate::empty_body(),
        };
        let answer = self.send(method.clone(), path, Some(content_type), body).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::Answer { request: format!("{method} {path}"), source: error.into() })
    }

    /// A request as this client sends it, for callers that need the transport itself.
    ///
    /// # Errors
    /// [`ClientError::Request`] if the path is not a URL path.
    pub fn request(
        &self,
        method: &Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> Result<Request<Body>, ClientError> {
        let mut request =
            Request::builder().method(method).uri(path).header(USER_AGENT, self.agent.clone()).header(ACCEPT, ACCEPTED);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request
            .body(body)
            .map_err(|error| ClientError::Request { request: format!("{method} {path}"), source: error.into() })
    }

    /// The error for a refusal with this body.
    pub(crate) fn refusal(&self, method: &str, path: &str, code: u16, body: &[u8]) -> ClientError {
        let status = Box::new(Status::from_response(code, body));
        ClientError::Refused { request: format!("{method} {path}"), status }
    }
}

async fn collect(body: Body) -> Result<Bytes, BoxError> {
    Ok(body.collect().await?.to_bytes())
}

fn encode(value: &Value) -> Bytes {
    // Writing a Value cannot fail: its keys are strings and memory does not refuse.
    serde_json::to_vec(value).unwrap_or_default().into()
}
