//! Asking a further server something for this server's own sake.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_ok;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use naru_client::{Transport, chain, empty_body};

use super::front::introduce;
use super::pools::{Endpoint, Trust};
use super::remote::Spec;
use crate::state::Core;
use crate::user::{MASTERS, User};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes: descriptions of many kinds are large.
const LONGEST: usize = 32 << 20;
/// As whom the server asks.
const NAME: &str = "system:kube-aggregator";

/// What a server answered.
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) etag: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// Asks whether anybody answers for the group and version.
///
/// # Errors
/// Why nobody does, in the words of Kubernetes.
pub(super) async fn probe(core: &Core, spec: &Spec) -> Result<(), String> {
    let endpoints = core.aggregate.endpoints(&core.store.snapshot(), spec, Trust::Blind)?;
    let path = spec.path();
    let asked = endpoints.into_iter().map(|endpoint| {
        let path = &path;
        Box::pin(async move {
            let url = format!("{}{path}", endpoint.address);
            let answer = ask(&endpoint, path, None, None).await;
            let why = match answer {
                Ok(answer) if answer.code.is_success() => return Ok(()),
                Ok(answer) => format!("bad status from {url}: {}", answer.code.as_u16()),
                Err(why) => format!("Get {url:?}: {why}"),
            };
            Err(format!("failing or missing response from {url}: {why}"))
        })
    });
    // One that answers is enough. (There is always one to ask.)
    select_ok(asked).await.map(drop)
}

/// Reads a document.
///
/// # Errors
/// When nobody answers; whatever is answered is no error.
pub(super) async fn get(
    core: &Core,
    spec: &Spec,
    path: &str,
    accept: &'static str,
    etag: Option<&HeaderValue>,
) -> Result<Answer, String> {
    let endpoints = core.aggregate.endpoints(&core.store.snapshot(), spec, Trust::Asked)?;
    let mut last = String::new();
    for endpoint in &endpoints {
        match ask(endpoint, path, Some(accept), etag).await {
            Ok(answer) => return Ok(answer),
            Err(why) => last = format!("{}{path}: {why}", endpoint.address),
        }
    }
    Err(last)
}

async fn ask(
    endpoint: &Endpoint,
    path: &str,
    accept: Option<&'static str>,
    etag: Option<&HeaderValue>,
) -> Result<Answer, String> {
    let asked = async {
        let mut headers = HeaderMap::new();
        introduce(&mut headers, &User { groups: vec![MASTERS.to_owned()], ..User::new(NAME, &[]) })
            .map_err(|status| status.message)?;
        if let Some(accept) = accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(etag) = etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        let mut request = Request::get(path).body(empty_body()).map_err(|e| e.to_string())?;
        request.headers_mut().extend(headers);
        let response = endpoint.transport.call(request).await.map_err(|e| chain(&e))?;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| e.to_string())?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if bytes.len() > LONGEST {
                return Err(format!("the answer has more than {LONGEST} bytes"));
            }
        }
        Ok(Answer { code: head.status, etag: head.headers.get(ETAG).cloned(), body: bytes.into() })
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}
