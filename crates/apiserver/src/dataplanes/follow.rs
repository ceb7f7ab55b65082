//! One node's word on how far its rules are, as it grows.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use naru_client::{Body, BoxError, DATAPLANE_PATH, NodeDialer, empty_body};
use serde::Deserialize;

/// The first pause before a node is asked again; each doubles.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// Longer lines are nobody's word.
const LONGEST_LINE: usize = 4 << 10;

/// What a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Its rules are made from endpoints up to this revision.
    Reached(u64),
    /// Nothing is known of it (any more).
    Silent,
    /// It does not know the question.
    CannotSay,
}

#[derive(Deserialize)]
struct Line {
    revision: u64,
}

/// Asks a node and goes on listening, for ever; asks again when the connection breaks.
pub(super) async fn follow(dialer: Arc<dyn NodeDialer>, node: String, say: impl Fn(Word)) {
    let mut pause = FIRST;
    loop {
        let mut heard = false;
        let ended = listen(&*dialer, &node, |revision| {
            heard = true;
            say(Word::Reached(revision));
        });
        match ended.await {
            // It may be of the next version when it is asked again.
            Ok(Ended::CannotSay) => {
                say(Word::CannotSay);
                pause = LONGEST;
            }
            ended => {
                if let Err(error) = ended {
                    tracing::debug!(node, %error, "a node's data plane is not heard of");
                }
                // What it said may be the word of a process that is gone.
                say(Word::Silent);
            }
        }
        if heard {
            pause = FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Why listening ended without an error.
enum Ended {
    Closed,
    CannotSay,
}

async fn listen(dialer: &dyn NodeDialer, node: &str, mut say: impl FnMut(u64)) -> Result<Ended, BoxError> {
    let io = dialer.dial(node).await?;
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(io)).await?;
    // Ends with this future: the node need not go on for nobody.
    let _driven = AbortOnDrop(tokio::spawn(connection).abort_handle());
    let mut request = Request::new(empty_body());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static(DATAPLANE_PATH);
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("node"));
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(Ended::CannotSay),
        other => return Err(format!("the node answered {other}").into()),
    }
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        text.extend_from_slice(&data);
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else {
            if text.len() > LONGEST_LINE {
                return Err("a line without an end".into());
            }
            continue;
        };
        // Only the newest counts.
        let last = text[..end].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        say(serde_json::from_slice::<Line>(last)?.revision);
        text.drain(..=end);
    }
    Ok(Ended::Closed)
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
