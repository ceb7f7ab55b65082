//! The nodes, as far as the network cares: their status changes all the time, where they are hardly ever.

use std::sync::Arc;
use std::time::Duration;

use naru_api::k8s::api::core::v1::Node;
use naru_client::{Client, Informer, Resource};
use naru_network::translate::facts::NodeFacts;
use tokio::sync::watch;

/// Heartbeats of large clusters are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// Every node, the oldest first.
pub(super) type Known = Arc<Vec<Arc<NodeFacts>>>;

/// Follows the nodes and tells only of changes that matter here.
pub(super) struct Nodes {
    informer: Informer<NodeFacts>,
    known: watch::Sender<Known>,
}

impl Nodes {
    pub fn start(client: &Client) -> Self {
        let informer =
            Informer::builder(Resource::of::<Node>(), |json: &[u8]| Ok(NodeFacts::parse(json)?)).start(client);
        Self { informer, known: watch::channel(Known::default()).0 }
    }

    /// Waits until all of them have been seen.
    pub async fn synced(&self) {
        self.informer.synced().await;
        self.look();
    }

    /// All of them, now and as they change.
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Goes on looking, for ever.
    pub async fn follow(self: Arc<Self>) {
        self.synced().await;
        let mut changed = self.informer.changed();
        // The sender lives as long as the informer here.
        while changed.changed().await.is_ok() {
            self.look();
            tokio::time::sleep(GATHER).await;
        }
    }

    fn look(&self) {
        let mut now: Vec<Arc<NodeFacts>> = self.informer.list().into_iter().map(|cached| cached.view.clone()).collect();
        now.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        self.known.send_if_modified(|known| {
            let differs = **known != now;
            if differs {
                *known = Arc::new(now);
            }
            differs
        });
    }
}
