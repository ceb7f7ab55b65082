//! The collections that the network follows, each reduced to its facts on arrival.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use naru_api::k8s::api::core::v1::{Namespace, Pod, Service};
use naru_api::k8s::api::discovery::v1::EndpointSlice;
use naru_api::k8s::api::networking::v1::NetworkPolicy;
use naru_api::naru::Network;
use naru_api::view::View;
use naru_client::{Client, Informer, Resource};
use naru_network::model::Protocol;
use naru_network::translate::Cluster;
use naru_network::translate::facts::{
    FactsError, NamespaceFacts, NetworkFacts, PodFacts, PolicyFacts, ServiceFacts, SliceFacts,
};
use tokio::sync::watch;

use super::nodes::Nodes;

pub(super) struct Sources {
    services: Informer<ServiceFacts>,
    slices: Informer<SliceFacts>,
    pods: Informer<PodFacts>,
    namespaces: Informer<NamespaceFacts>,
    policies: Informer<PolicyFacts>,
    networks: Informer<NetworkFacts>,
    pub nodes: Arc<Nodes>,
}

impl Sources {
    pub fn start(client: &Client) -> Self {
        fn follow<V: View, F: Send + Sync + 'static>(
            client: &Client,
            parse: fn(&[u8]) -> Result<F, FactsError>,
        ) -> Informer<F> {
            Informer::builder(Resource::of::<V>(), move |json| Ok(parse(json)?)).start(client)
        }
        Self {
            services: follow::<Service, _>(client, ServiceFacts::parse),
            slices: follow::<EndpointSlice, _>(client, SliceFacts::parse),
            pods: follow::<Pod, _>(client, PodFacts::parse),
            namespaces: follow::<Namespace, _>(client, NamespaceFacts::parse),
            policies: follow::<NetworkPolicy, _>(client, PolicyFacts::parse),
            networks: follow::<Network, _>(client, NetworkFacts::parse),
            nodes: Arc::new(Nodes::start(client)),
        }
    }

    /// Waits until every collection has been seen whole: rules made from half a state would cut connections.
    pub async fn synced(&self) {
        tokio::join!(
            self.services.synced(),
            self.slices.synced(),
            self.pods.synced(),
            self.namespaces.synced(),
            self.policies.synced(),
            self.networks.synced(),
            self.nodes.synced(),
        );
    }

    /// One signal for each collection but the nodes, which have their own.
    pub fn changed(&self) -> [watch::Receiver<u64>; 6] {
        [
            self.services.changed(),
            self.slices.changed(),
            self.pods.changed(),
            self.namespaces.changed(),
            self.policies.changed(),
            self.networks.changed(),
        ]
    }

    /// Waits until no slice of either family leads new connections to one of these addresses; tells by which revision
    /// others know it too.
    pub async fn unlisted(&self, addresses: &[IpAddr]) -> u64 {
        let mut changed = self.slices.changed();
        loop {
            changed.mark_unchanged();
            let slices = self.slices.list();
            let endpoints = slices.iter().flat_map(|slice| &slice.view.endpoints);
            let mut led = endpoints.filter(|endpoint| endpoint.ready).flat_map(|endpoint| &endpoint.addresses);
            let listed = led.any(|address| addresses.contains(address));
            if !listed || changed.changed().await.is_err() {
                return self.slices.newest_change();
            }
        }
    }

    /// Where connections are led to on a node.
    pub fn led_to_at(&self, node: &str) -> Vec<SocketAddr> {
        let mut places = BTreeSet::new();
        for slice in self.slices.list() {
            let slice = &slice.view;
            let ports = slice.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.port);
            let there = slice.endpoints.iter().filter(|e| e.ready && e.node.as_deref() == Some(node));
            let addresses: Vec<IpAddr> = there.flat_map(|endpoint| endpoint.addresses.clone()).collect();
            places.extend(ports.flat_map(|port| addresses.iter().map(move |address| SocketAddr::new(*address, port))));
        }
        places.into_iter().collect()
    }

    /// The revision up to which endpoints are known.
    pub fn endpoints_revision(&self) -> u64 {
        self.slices.revision()
    }

    /// Waits until endpoints are known up to `revision`.
    pub async fn endpoints_reached(&self, revision: u64) {
        self.slices.reached(revision).await;
    }

    /// The Compose services of a namespace that have a virtual address.
    pub fn balanced(&self, namespace: &str) -> BTreeSet<String> {
        let services = self.services.list_in(namespace);
        let balanced = services.into_iter().filter(|service| !service.view.addresses.is_empty());
        balanced.filter_map(|service| service.view.compose.clone()).collect()
    }

    /// Everything as it is now.
    pub fn cluster(&self) -> Cluster {
        fn views<F: Send + Sync + 'static>(informer: &Informer<F>) -> Vec<Arc<F>> {
            informer.list().into_iter().map(|cached| cached.view.clone()).collect()
        }
        Cluster {
            services: views(&self.services),
            slices: views(&self.slices),
            pods: views(&self.pods),
            namespaces: views(&self.namespaces),
            policies: views(&self.policies),
            networks: views(&self.networks),
            nodes: self.nodes.known().borrow().to_vec(),
        }
    }
}
