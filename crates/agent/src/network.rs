//! The port through which a pod gets its links and addresses, so that tests need no kernel network.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use naru_api::k8s::api::core::v1::Pod;
use naru_client::{BoxError, BoxFuture, BoxStream};
use naru_runtime::pod::PodUid;
use tokio::time::Instant;

/// Tells the pod's user of something: a reason and a text, as a warning event.
pub type Warn = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// One pod to connect.
#[derive(Clone)]
pub struct Attachment {
    /// The pod's identity.
    pub uid: PodUid,
    /// Its network namespace, by path.
    pub netns: PathBuf,
    /// A process that lives in it.
    pub pid: i32,
    /// The object, for what its annotations ask of the network.
    pub pod: Arc<Pod>,
    /// Where to say what the pod has to start without.
    pub warn: Warn,
}

/// A pod could not be connected or disconnected.
#[derive(Debug, thiserror::Error)]
#[error("pod {uid}: the network cannot {what} it")]
pub struct NetworkError {
    /// Which pod.
    pub uid: PodUid,
    /// `attach` or `detach`.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: BoxError,
}

/// Links and addresses of pods. Both calls may be repeated.
pub trait PodNetwork: Send + Sync + 'static {
    /// Tells of a pod whose namespace is being made: what needs none is begun. Undone by [`PodNetwork::detach`].
    fn expect(&self, _uid: &PodUid, _pod: &Pod) {}

    /// Connects the pod and returns its addresses, the preferred one first. A connected pod keeps what it has.
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Vec<IpAddr>, NetworkError>>;

    /// Takes the pod out of every service of this node, while its processes still answer: returns when no new connection
    /// is led to it, and whether one could be until then. Bounded by the caller.
    fn withdraw<'a>(&'a self, _uid: &'a PodUid) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }

    /// Returns when the API's own word leads nothing new to the pod and every other node has followed it, or has had the
    /// time for it; not after `until`.
    fn followed<'a>(&'a self, _uid: &'a PodUid, _until: Instant) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// The revisions of EndpointSlices that come into force here, the present one first, for as long as anybody reads;
    /// none where that is not known.
    fn in_force(&self) -> Option<BoxStream<'static, u64>> {
        None
    }

    /// Undoes [`PodNetwork::withdraw`]: a container of the pod starts again.
    fn rejoin(&self, _uid: &PodUid) {}

    /// Returns when services of this node lead to these ready pods, each given by its Compose service and its address; those
    /// of a service without a virtual address are not waited for. Bounded by the caller.
    fn reach<'a>(&'a self, _namespace: &'a str, _pods: &'a [(String, IpAddr)]) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// What is wrong with the ways to pods of other nodes, worded for people.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }

    /// How the pods of other nodes are reached, worded for people; nothing when there are none.
    fn ways(&self) -> String {
        String::new()
    }

    /// Disconnects the pod and frees its addresses; no error when it never was connected.
    fn detach<'a>(&'a self, uid: &'a PodUid) -> BoxFuture<'a, Result<(), NetworkError>>;
}
