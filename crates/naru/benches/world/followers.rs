//! What a node's data plane follows besides: all services, slices, pods and nodes.

use naru_api::View;
use naru_api::k8s::api::core::v1::{Node, Pod, Service};
use naru_api::k8s::api::discovery::v1::EndpointSlice;
use naru_client::{Client, Informer, Resource};

/// The collections, followed and not looked at.
pub struct Followers {
    _held: [Informer<()>; 4],
}

impl Followers {
    pub fn start(client: &Client) -> Self {
        fn follow<V: View>(client: &Client) -> Informer<()> {
            Informer::builder(Resource::of::<V>(), |_| Ok(())).start(client)
        }
        let held =
            [follow::<Service>(client), follow::<EndpointSlice>(client), follow::<Pod>(client), follow::<Node>(client)];
        Self { _held: held }
    }

    /// For as long as this is awaited.
    pub async fn hold(self) {
        std::future::pending().await
    }
}
