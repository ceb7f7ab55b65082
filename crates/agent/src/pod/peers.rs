//! Images from other nodes, through the API server: it reaches nodes that nobody else can, and judges whether this one
//! runs a pod that needs the image.
//!
//! Who has an image is asked, not looked up: what nodes tell of their images in their status comes late and is cut at
//! fifty, so it only decides who is asked first in a large cluster.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use http::Method;
use http_body_util::BodyExt;
use naru_api::k8s::api::core::v1::Node as NodeObject;
use naru_client::{Client, ListOptions, Resource, empty_body};
use naru_runtime::image::{BlobStream, Digest, Holder, Offer, Peer, Reference};
use serde_json::Value;

use super::Node;

/// Nodes asked at the same time.
const ABREAST: usize = 16;
/// Up to so many nodes all are asked; beyond, those that tell of the image, and then others until one has it.
const FEW: usize = 32;
/// Nodes asked at most where none tells of the image.
const MOST: usize = 256;
/// Holders are enough at this number.
const ENOUGH: usize = 4;
/// How long a node may take to say whether it has an image.
const ANSWER: Duration = Duration::from_secs(5);

/// The nodes that have an image, and how many were asked.
#[derive(Default)]
pub(super) struct Found {
    pub holders: Vec<Holder>,
    pub asked: usize,
}

/// Asks other nodes for an image; `name` is as the pod has it, for that is what its right depends on.
pub(super) async fn find(node: &Node, name: &str, reference: &Reference) -> Found {
    let list = node.config.client.dynamic(Resource::of::<NodeObject>(), None).list(&ListOptions::default()).await;
    let Ok(list) = list else { return Found::default() };
    let (hinted, others) = order(&list.items, &node.config.node_name, reference);
    let mut found = Found::default();
    let everybody = hinted.len() + others.len() <= FEW;
    found.ask(node, name, hinted, usize::MAX).await;
    if everybody || found.holders.is_empty() {
        let enough = if everybody { usize::MAX } else { ENOUGH };
        found.ask(node, name, others.into_iter().take(MOST).collect(), enough).await;
    }
    found
}

impl Found {
    async fn ask(&mut self, node: &Node, name: &str, nodes: Vec<String>, enough: usize) {
        let client = &node.config.client;
        let asks = nodes.into_iter().map(|peer| async move {
            let other = OtherNode { client: client.clone(), node: peer, image: escape(name) };
            let offer = tokio::time::timeout(ANSWER, other.offer()).await.ok().flatten();
            offer.map(|offer| Holder { peer: Arc::new(other), offer })
        });
        let mut answers = stream::iter(asks).buffered(ABREAST);
        while self.holders.len() < enough
            && let Some(answer) = answers.next().await
        {
            self.asked += 1;
            self.holders.extend(answer);
        }
    }
}

/// The other nodes that work: those that tell of the image, and the rest.
fn order(nodes: &[Value], own: &str, reference: &Reference) -> (Vec<String>, Vec<String>) {
    let wanted = [reference.to_string(), reference.to_string().split('@').next().unwrap_or_default().to_owned()];
    let pinned = reference.digest().map(|digest| reference.at(digest).to_string());
    let (mut hinted, mut others) = (Vec::new(), Vec::new());
    for node in nodes {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().any(|known| known["type"] == "Ready" && known["status"] == "True");
        let Some(name) = node["metadata"]["name"].as_str().filter(|name| ready && *name != own) else { continue };
        let images = node["status"]["images"].as_array().into_iter().flatten();
        let mut names =
            images.flat_map(|image| image["names"].as_array().into_iter().flatten()).filter_map(Value::as_str);
        let tells = names.any(|known| wanted.iter().chain(&pinned).any(|name| name == known));
        if tells { hinted.push(name.to_owned()) } else { others.push(name.to_owned()) }
    }
    (hinted, others)
}

/// Another node's store, asked about one image.
struct OtherNode {
    client: Client,
    node: String,
    /// As the pod has it, escaped.
    image: String,
}

impl OtherNode {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/nodes/{}/proxy/images/{rest}?name={}", self.node, self.image)
    }

    async fn offer(&self) -> Option<Offer> {
        match self.client.json(Method::GET, &self.path("offer"), "application/json", None).await {
            Ok(offer) => serde_json::from_value(offer).ok(),
            Err(error) => {
                if !error.is_not_found() {
                    tracing::debug!(node = self.node, error = %crate::chain(&error), "a node was not asked for an image");
                }
                None
            }
        }
    }
}

impl Peer for OtherNode {
    fn name(&self) -> &str {
        &self.node
    }

    fn blob<'a>(&'a self, digest: &'a Digest, from: u64) -> BoxFuture<'a, io::Result<BlobStream>> {
        Box::pin(async move {
            let path = format!("{}&from={from}", self.path(&format!("blobs/{digest}")));
            let answer = self.client.open(Method::GET, &path, None, empty_body()).await;
            let answer = answer.map_err(|error| io::Error::other(crate::chain(&error)))?;
            let frames = stream::unfold(answer.into_body(), async |mut body| Some((body.frame().await?, body)));
            let bytes = frames.map_err(io::Error::other).try_filter_map(async |frame| Ok(frame.into_data().ok()));
            Ok(bytes.boxed())
        })
    }
}

/// Percent-encodes what a query value cannot have.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_that_tell_of_the_image_come_first_and_lost_ones_not_at_all() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let node = |name: &str, ready: &str, names: &[&str]| {
            json!({"metadata": {"name": name}, "status": {
                "conditions": [{"type": "Ready", "status": ready}], "images": [{"names": names}]}})
        };
        let nodes = [
            node("own", "True", &["docker.io/library/app:1"]),
            node("empty", "True", &[]),
            node("lost", "Unknown", &["docker.io/library/app:1"]),
            node("tagged", "True", &["docker.io/library/app:1"]),
            node("pinned", "True", &[&format!("docker.io/library/app@{digest}")]),
        ];
        let ordered = |text: &str| order(&nodes, "own", &Reference::parse(text).unwrap());
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(ordered("app:1"), (names(&["tagged"]), names(&["empty", "pinned"])));
        assert_eq!(ordered(&format!("app:1@{digest}")), (names(&["tagged", "pinned"]), names(&["empty"])));
        assert_eq!(escape("a b&c=d/e:f@g"), "a%20b%26c%3Dd/e:f@g");
    }
}
