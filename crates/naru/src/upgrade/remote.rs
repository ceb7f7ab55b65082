//! A node's program, from afar: through the API server, over the connection that the node keeps.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use naru_api::k8s::api::core::v1::Node;
use naru_api::meta;
use naru_client::{Body, Client, ClientError, DynamicApi, Resource, empty_body};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::file::Program;
use super::node::NodeState;

/// How long a node may take to say how it is.
const ANSWER: Duration = Duration::from_secs(20);

/// Why a node did not say how it is.
#[derive(Debug)]
pub(super) enum Away {
    /// It does not know the question: its program is older than that.
    TooOld,
    /// It is not there, or not yet again.
    Absent(String),
}

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooOld => f.write_str("its program cannot be replaced from here: replace it there by hand, once"),
            Self::Absent(why) => f.write_str(why),
        }
    }
}

/// The cluster's nodes.
pub(super) fn nodes(client: &Client) -> DynamicApi {
    client.dynamic(Resource::of::<Node>(), None)
}

/// The version of Naru that a node tells.
pub(super) fn version(node: &Value) -> String {
    let runtime = meta::text(node, "status.nodeInfo.containerRuntimeVersion");
    runtime.strip_prefix("naru://").unwrap_or(runtime).to_owned()
}

/// Whether the cluster calls a node ready.
pub(super) fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// One node's program.
#[derive(Clone)]
pub(super) struct Remote {
    client: Client,
    base: String,
}

impl Remote {
    pub(super) fn of(client: &Client, node: &str) -> Self {
        Self { client: client.clone(), base: format!("/api/v1/nodes/{node}/proxy/program") }
    }

    pub(super) async fn state(&self) -> Result<NodeState, Away> {
        let asked = self.client.json(Method::GET, &self.base, "application/json", None);
        let Ok(answer) = tokio::time::timeout(ANSWER, asked).await else {
            return Err(Away::Absent(format!("it does not answer within {} s", ANSWER.as_secs())));
        };
        match answer {
            Ok(value) => {
                serde_json::from_value(value).map_err(|error| Away::Absent(format!("it is not understood: {error}")))
            }
            Err(error) if error.is_not_found() => Err(Away::TooOld),
            Err(error) => Err(Away::Absent(words(error))),
        }
    }

    /// Sends the program; tells how many bytes went.
    pub(super) async fn send(
        &self,
        file: &Path,
        program: &Program,
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> anyhow::Result<()> {
        let opened = tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
        let mut sent = 0;
        let stream = ReaderStream::with_capacity(opened, 256 << 10).map(move |chunk| {
            chunk.map(|bytes| {
                sent += bytes.len() as u64;
                progress(sent);
                http_body::Frame::data(bytes)
            })
        });
        let body: Body = StreamBody::new(stream).map_err(Into::into).boxed_unsync();
        self.ask(Method::PUT, &format!("{}?sha256={}", self.base, program.sha256), body).await
    }

    /// Begins the change to what was sent.
    pub(super) async fn begin(&self, program: &Program, seconds: u64) -> anyhow::Result<()> {
        let path = format!("{}?sha256={}&seconds={seconds}", self.base, program.sha256);
        self.ask(Method::POST, &path, empty_body()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> anyhow::Result<()> {
        match self.client.send(method, path, Some("application/octet-stream"), body).await {
            Ok(_) => Ok(()),
            Err(error) => bail!("{}", words(error)),
        }
    }
}

/// What the node says is the whole story; the request's path is not the user's concern.
fn words(error: ClientError) -> String {
    match error.status() {
        Some(status) => status.message.clone(),
        None => format!("{:#}", anyhow::Error::new(error)),
    }
}
