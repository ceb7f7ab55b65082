//! The image part of a node's interface, reached through the API server.

use anyhow::{Context, bail};
use futures_util::StreamExt;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use naru_api::k8s::api::core::v1::Node;
use naru_client::{Body, Client, ListOptions, Resource, empty_body};
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// One line of progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    /// The layer it is about, or the image.
    pub layer: String,
    /// What happens to it.
    pub status: String,
    /// Bytes done.
    pub current: u64,
    /// Bytes in all; 0 when nobody knows.
    pub total: u64,
}

/// The images of one node.
pub(crate) struct NodeImages {
    client: Client,
    base: String,
    /// The node's name.
    pub node: String,
}

/// What a node of the cluster is called, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub name: String,
    pub ready: bool,
}

/// The nodes of the cluster.
///
/// # Errors
/// When the server does not say.
pub(crate) async fn nodes(client: &Client) -> anyhow::Result<Vec<Known>> {
    let list = client.dynamic(Resource::of::<Node>(), None).list(&ListOptions::default()).await;
    let list = list.context("cannot list nodes")?;
    let known = list.items.iter().filter_map(|node| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        // A worker that answers for itself says nothing of conditions.
        let lost = conditions.any(|c| c["type"] == "Ready" && c["status"] != "True");
        Some(Known { name: node["metadata"]["name"].as_str()?.to_owned(), ready: !lost })
    });
    Ok(known.collect())
}

/// The node that this server is, if it is one.
pub(crate) async fn own(client: &Client) -> Option<String> {
    let about = client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await.ok()?;
    about["node"].as_str().map(str::to_owned)
}

impl NodeImages {
    /// Those of the node of this machine.
    ///
    /// # Errors
    /// When the cluster has no node yet.
    pub async fn find(client: &Client) -> anyhow::Result<Self> {
        let own = own(client).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let mut all = nodes(client).await?.into_iter();
            if let Some(node) = all.find(|node| own.as_ref().is_none_or(|own| *own == node.name)) {
                return Ok(Self::of(client, &node.name));
            }
            if std::time::Instant::now() > deadline {
                bail!("this machine is not a node yet: see the server's log");
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Those of a node by its name.
    pub fn of(client: &Client, node: &str) -> Self {
        Self { client: client.clone(), base: format!("/api/v1/nodes/{node}/proxy/images"), node: node.to_owned() }
    }

    /// Those that `--node` means: of the server's own node, of one by its name, or of all that work.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn meant(client: &Client, node: Option<&str>) -> anyhow::Result<Vec<Self>> {
        let Some(wanted) = node else { return Ok(vec![Self::find(client).await?]) };
        let known = nodes(client).await?;
        if wanted == "all" {
            for lost in known.iter().filter(|node| !node.ready) {
                crate::output::warn(format!("node {} is not ready: its images are left alone", lost.name));
            }
            return Ok(known.iter().filter(|node| node.ready).map(|node| Self::of(client, &node.name)).collect());
        }
        if !known.iter().any(|node| node.name == wanted) {
            let names: Vec<&str> = known.iter().map(|node| node.name.as_str()).collect();
            bail!("no node {wanted}: the nodes are {}", names.join(", "));
        }
        Ok(vec![Self::of(client, wanted)])
    }

    /// The first of the cluster's nodes that has an image, this one before others, and what it says of the image.
    pub async fn anywhere(&self, name: &str) -> anyhow::Result<Option<Value>> {
        if self.has(name).await? {
            return self.inspect(name).await.map(Some);
        }
        let others = nodes(&self.client).await?;
        let others = others.iter().filter(|node| node.ready && node.name != self.node);
        let asks = others.map(|node| async move {
            let other = Self::of(&self.client, &node.name);
            tokio::time::timeout(std::time::Duration::from_secs(5), other.inspect(name)).await.ok()?.ok()
        });
        Ok(futures_util::future::join_all(asks).await.into_iter().flatten().next())
    }

    /// Every image.
    pub async fn list(&self) -> anyhow::Result<Vec<Value>> {
        let mut answer = self.json(Method::GET, &self.base).await?;
        Ok(match answer["images"].take() {
            Value::Array(images) => images,
            _ => Vec::new(),
        })
    }

    /// One image; an error that says so when it is not there.
    pub async fn inspect(&self, name: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, &format!("{}/inspect?name={}", self.base, escape(name))).await
    }

    /// Whether an image is there.
    pub async fn has(&self, name: &str) -> anyhow::Result<bool> {
        let path = format!("{}/inspect?name={}", self.base, escape(name));
        match self.client.json(Method::GET, &path, "application/json", None).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error).context("cannot look for the image"),
        }
    }

    /// Loads an archive; gives the names that were loaded.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + 'static,
        progress: impl FnMut(Line),
    ) -> anyhow::Result<Vec<String>> {
        let stream = ReaderStream::with_capacity(archive, 1 << 20).map(|chunk| chunk.map(http_body::Frame::data));
        let body: Body = StreamBody::new(stream).map_err(Into::into).boxed_unsync();
        let path = format!("{}/load", self.base);
        let last = self.lines(Method::POST, &path, Some("application/x-tar"), body, progress).await?;
        Ok(last["images"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Saves images as an archive.
    pub async fn save(&self, names: &[String], to: &mut impl std::io::Write) -> anyhow::Result<()> {
        let query: Vec<String> = names.iter().map(|name| format!("name={}", escape(name))).collect();
        let path = format!("{}/save?{}", self.base, query.join("&"));
        let mut body =
            self.client.open(Method::GET, &path, None, empty_body()).await.context("cannot save")?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| anyhow::anyhow!("the archive broke off: {error}"))?;
            if let Ok(data) = frame.into_data() {
                to.write_all(&data).context("cannot write the archive")?;
            }
        }
        to.flush().context("cannot write the archive")
    }

    /// Pulls an image; gives its identifier.
    pub async fn pull(&self, name: &str, platform: Option<&str>, progress: impl FnMut(Line)) -> anyhow::Result<String> {
        let platform = platform.map(|p| format!("&platform={}", escape(p))).unwrap_or_default();
        let path = format!("{}/pull?name={}{platform}", self.base, escape(name));
        let last = self.lines(Method::POST, &path, None, empty_body(), progress).await?;
        Ok(last["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Pushes an image; gives its digest.
    pub async fn push(&self, name: &str, progress: impl FnMut(Line)) -> anyhow::Result<String> {
        let path = format!("{}/push?name={}", self.base, escape(name));
        let last = self.lines(Method::POST, &path, None, empty_body(), progress).await?;
        Ok(last["digest"].as_str().unwrap_or_default().to_owned())
    }

    /// Copies an image from the Docker engine; gives its identifier.
    pub async fn import(&self, name: &str, progress: impl FnMut(Line)) -> anyhow::Result<String> {
        let path = format!("{}/import?name={}", self.base, escape(name));
        let last = self.lines(Method::POST, &path, None, empty_body(), progress).await?;
        Ok(last["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Gives an image another name.
    pub async fn tag(&self, source: &str, target: &str) -> anyhow::Result<()> {
        let path = format!("{}/tag?source={}&target={}", self.base, escape(source), escape(target));
        self.json(Method::POST, &path).await.map(drop)
    }

    /// Removes an image; says what went.
    pub async fn remove(&self, name: &str, force: bool) -> anyhow::Result<Vec<String>> {
        let path = format!("{}?name={}&force={force}", self.base, escape(name));
        let answer = self.json(Method::DELETE, &path).await?;
        let texts = |key: &str, word: &str| -> Vec<String> {
            let list = answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
            list.map(|text| format!("{word}: {text}")).collect()
        };
        Ok([texts("untagged", "Untagged"), texts("deleted", "Deleted")].concat())
    }

    /// Removes what no container uses; says what went and how many bytes came free.
    pub async fn prune(&self, all: bool) -> anyhow::Result<(Vec<String>, u64)> {
        let answer = self.json(Method::POST, &format!("{}/prune?all={all}", self.base)).await?;
        let list = answer["deleted"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok((list.map(|text| format!("Deleted: {text}")).collect(), answer["reclaimed"].as_u64().unwrap_or(0)))
    }

    async fn json(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        match self.client.json(method, path, "application/json", None).await {
            Ok(value) => Ok(value),
            // What the node says is the whole story; the request's path is not the user's concern.
            Err(error) => match error.status() {
                Some(status) => bail!("{}", status.message),
                None => Err(error.into()),
            },
        }
    }

    /// A request that answers with lines of JSON: progress, then a result or an error.
    async fn lines(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Body,
        mut progress: impl FnMut(Line),
    ) -> anyhow::Result<Value> {
        let opened = self.client.open(method, path, kind, body).await;
        let mut body = match opened {
            Ok(response) => response.into_body(),
            Err(error) => match error.status() {
                Some(status) => bail!("{}", status.message),
                None => return Err(error.into()),
            },
        };
        let mut buffer: Vec<u8> = Vec::new();
        let mut last = Value::Null;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| anyhow::anyhow!("the connection broke: {error}"))?;
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
                if let Some(error) = value["error"].as_str() {
                    bail!("{error}");
                }
                if value.get("status").is_some() {
                    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
                    progress(Line {
                        layer: text("layer"),
                        status: text("status"),
                        current: value["current"].as_u64().unwrap_or(0),
                        total: value["total"].as_u64().unwrap_or(0),
                    });
                } else {
                    last = value;
                }
            }
        }
        if last.is_null() {
            bail!("the connection ended before the work did");
        }
        Ok(last)
    }
}

/// Percent-encodes what a query value cannot have.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
