//! This node's key for encryption, and what its own Node says of it.
//!
//! The key is in use from the moment the Node object says so: the node's peers learn of it by the same object, so all
//! change at once, and a node that cannot tell anybody goes on with the key that others know.

use std::path::Path;
use std::sync::Arc;

use naru_api::k8s::api::core::v1::Node;
use naru_api::naru::names;
use naru_client::{Client, PatchKind, Resource};
use naru_network::peers::ClusterNetwork;
use naru_network::translate::facts::NodeFacts;
use naru_network::wireguard::{KeyError, Keys, PublicKey};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What this node tells of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Own {
    /// It was joined as one whose address others do not reach.
    pub behind_nat: bool,
    /// It is a server's, which says what holds for all nodes.
    pub cluster: Option<ClusterNetwork>,
}

/// The keys of this node; none where they cannot be kept, and then nothing is encrypted.
#[derive(Clone)]
pub(super) struct Secret(Arc<Mutex<Result<Keys, String>>>);

impl Secret {
    pub fn open(dir: &Path) -> Self {
        let keys = Keys::open_or_create(dir).map_err(|error: KeyError| naru_network::chain(&error));
        if let Err(error) = &keys {
            tracing::error!("{error}; no way to nodes that are to be encrypted");
        }
        Self(Arc::new(Mutex::new(keys)))
    }

    /// The file and the key to use now; a new one is made when the Node asks for it. Blocks.
    pub fn in_use(&self, own: Option<&NodeFacts>) -> Result<(std::path::PathBuf, PublicKey), String> {
        let mut keys = self.0.lock();
        let keys = keys.as_mut().map_err(|error| error.clone())?;
        let published = own.and_then(|own| own.encryption.key);
        if let Some(own) = own
            && keys.rotate(&own.rotate).map_err(|error| naru_network::chain(&error))?
        {
            tracing::info!(key = %keys.newest(), "this node has a new key for encryption");
        }
        if let Some(published) = &published {
            keys.settle(published).map_err(|error| naru_network::chain(&error))?;
        }
        Ok((keys.path().to_owned(), keys.in_use(published.as_ref())))
    }

    fn newest(&self) -> Option<PublicKey> {
        self.0.lock().as_ref().ok().map(Keys::newest)
    }

    /// Tells what the Node does not say yet.
    pub async fn tell(&self, client: &Client, node: &NodeFacts, own: &Own) {
        let Some(patch) = owed(node, own, self.newest()) else { return };
        let nodes = client.dynamic(Resource::of::<Node>(), None);
        if let Err(error) = nodes.patch(&node.name, PatchKind::Merge, &patch).await {
            tracing::debug!(error = %naru_network::chain(&error), "the node's key is not told yet");
        }
    }
}

/// What is to be written on the Node: pure.
fn owed(node: &NodeFacts, own: &Own, newest: Option<PublicKey>) -> Option<Value> {
    let mut annotations = serde_json::Map::new();
    if let Some(key) = newest.filter(|key| node.encryption.key != Some(*key)) {
        annotations.insert(names::WIREGUARD_KEY.to_owned(), key.to_string().into());
    }
    if own.behind_nat && !node.encryption.behind_nat {
        annotations.insert(names::BEHIND_NAT.to_owned(), "true".into());
    }
    if let Some(cluster) = own.cluster.filter(|cluster| node.cluster != Some(*cluster)) {
        let text = serde_json::to_string(&cluster).unwrap_or_default();
        annotations.insert(names::CLUSTER_NETWORK.to_owned(), text.into());
    }
    (!annotations.is_empty()).then(|| json!({"metadata": {"annotations": annotations}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_says_already_is_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::open(dir.path());
        let key = secret.newest().unwrap();
        let mut node = NodeFacts { name: "n1".into(), ..NodeFacts::default() };
        let patch = owed(&node, &Own::default(), Some(key)).unwrap();
        assert_eq!(patch["metadata"]["annotations"], json!({"naru.io/wireguard-key": key.to_string()}));
        node.encryption.key = Some(key);
        assert_eq!(owed(&node, &Own::default(), Some(key)), None);
        let cluster = ClusterNetwork { encrypt: true, ..ClusterNetwork::default() };
        let own = Own { behind_nat: true, cluster: Some(cluster) };
        let patch = owed(&node, &own, Some(key)).unwrap()["metadata"]["annotations"].clone();
        assert_eq!((patch["naru.io/behind-nat"].as_str(), patch.as_object().unwrap().len()), (Some("true"), 2));
        let text = patch["naru.io/cluster-network"].as_str().unwrap();
        assert_eq!(ClusterNetwork::parse(text), cluster);
        node.cluster = Some(cluster);
        node.encryption.behind_nat = true;
        assert_eq!(owed(&node, &own, Some(key)), None);
    }

    #[test]
    fn a_new_key_is_used_once_the_node_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::open(dir.path());
        let mut node = NodeFacts { name: "n1".into(), ..NodeFacts::default() };
        let (_, first) = secret.in_use(Some(&node)).unwrap();
        node.encryption.key = Some(first);
        node.rotate = "monday".into();
        assert_eq!(secret.in_use(Some(&node)).unwrap().1, first, "others know the old one");
        let second = secret.newest().unwrap();
        assert_ne!(first, second);
        node.encryption.key = Some(second);
        assert_eq!(secret.in_use(Some(&node)).unwrap().1, second);
        assert_eq!(secret.in_use(Some(&node)).unwrap().1, second, "the same word asks for nothing");
    }
}
