//! Services of type LoadBalancer: their status names the addresses of the nodes, whose rules answer on their ports.
//!
//! There is no balancer outside the cluster to ask for one, so the nodes themselves are it. A Service that names another
//! implementation (`loadBalancerClass`) is that one's.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use naru_client::ObjectRef;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::driver::{Controller, Keys};
use crate::ownership::key;
use crate::plan::{Plan, Write};
use crate::resources::SERVICES;
use crate::views::{Node, Service};

/// Tells where Services of type LoadBalancer are reached.
pub(crate) struct LoadBalancers(pub(crate) Arc<Cluster>);

/// One Service and where the nodes are reached.
#[derive(Debug)]
pub(crate) struct View {
    service: Arc<Service>,
    addresses: Vec<IpAddr>,
}

impl Controller for LoadBalancers {
    type View = View;

    fn name(&self) -> &'static str {
        "loadbalancer"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.0
    }

    fn watch(&self, keys: &Keys) {
        let own = keys.clone();
        self.0.services.listen(move |change| own.add(change.key()));
        let (keys, services) = (keys.clone(), self.0.services.clone());
        self.0.nodes.listen(move |change| {
            let of = |node: &Arc<naru_client::Cached<Node>>| addresses([&*node.view]);
            // Nodes tell of themselves every few seconds.
            if change.before.as_ref().map(of) != change.after.as_ref().map(of) {
                let balanced = services.list().into_iter().filter(|service| service.view.spec.kind == "LoadBalancer");
                balanced.for_each(|service| keys.add(&service.key));
            }
        });
    }

    fn scan(&self) -> Vec<ObjectRef> {
        self.0.services.list().iter().map(|service| service.key.clone()).collect()
    }

    fn view(&self, key: &ObjectRef) -> Option<View> {
        let service = self.0.services.get_ref(key)?.view.clone();
        // Thousands of nodes are looked at only for those that say where they all are.
        let nodes = if service.spec.kind == "LoadBalancer" { self.0.nodes.list() } else { Vec::new() };
        Some(View { service, addresses: addresses(nodes.iter().map(|node| &*node.view)) })
    }

    fn plan(&self, view: &View, _: Timestamp) -> Plan {
        plan(view)
    }
}

/// Where nodes are reached from outside: what they have for that, or else among themselves. IPv4, which is what the rules
/// of a node answer on.
fn addresses<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    for node in nodes.into_iter().filter(|node| !node.metadata.is_deleting()) {
        let of = |kind: &str| {
            let all = node.status.addresses.iter().filter(|address| address.kind == kind);
            all.filter_map(|address| address.address.parse().ok()).filter(IpAddr::is_ipv4).collect::<Vec<IpAddr>>()
        };
        let outside = of("ExternalIP");
        found.extend(if outside.is_empty() { of("InternalIP").into_iter().take(1).collect() } else { outside });
    }
    found.into_iter().collect()
}

fn plan(view: &View) -> Plan {
    let (meta, spec) = (&view.service.metadata, &view.service.spec);
    if meta.is_deleting() || spec.load_balancer_class.is_some() {
        return Plan::nothing("not ours");
    }
    let balanced = spec.kind == "LoadBalancer";
    let wanted: Vec<Value> =
        view.addresses.iter().filter(|_| balanced).map(|ip| json!({ "ip": ip, "ipMode": "VIP" })).collect();
    let told: Vec<&str> = view.service.status.load_balancer.ingress.iter().map(|ingress| &*ingress.ip).collect();
    if wanted.iter().map(|ingress| &ingress["ip"]).eq(told.iter()) {
        return Plan::nothing("up to date");
    }
    let mut plan = Plan::nothing(format!("reached at {} addresses", wanted.len()));
    let ingress = if wanted.is_empty() { Value::Null } else { wanted.into() };
    let status = json!({ "loadBalancer": { "ingress": ingress } });
    plan.push(Write::status(SERVICES, key(meta), json!({ "metadata": { "uid": meta.uid }, "status": status })));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::view;

    #[test]
    fn a_balanced_service_is_reached_at_the_nodes() {
        let node = |addresses: Value| -> Node {
            view(json!({ "metadata": { "name": "n" }, "status": { "addresses": addresses } }))
        };
        let inside = node(json!([
            { "type": "InternalIP", "address": "192.0.2.7" }, { "type": "InternalIP", "address": "172.17.0.1" },
            { "type": "Hostname", "address": "n" },
        ]));
        let outside = node(json!([
            { "type": "InternalIP", "address": "192.0.2.8" }, { "type": "ExternalIP", "address": "198.51.100.8" },
        ]));
        let addresses = addresses([&inside, &outside]);
        assert_eq!(addresses, ["192.0.2.7", "198.51.100.8"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        let look = |kind: &str, class: Option<&str>, told: Value| {
            let service = view(json!({
                "metadata": { "name": "web", "namespace": "shop", "uid": "u" },
                "spec": { "type": kind, "loadBalancerClass": class },
                "status": { "loadBalancer": { "ingress": told } },
            }));
            plan(&View { service: Arc::new(service), addresses: addresses.clone() }).to_string()
        };
        let both = json!([{ "ip": "192.0.2.7" }, { "ip": "198.51.100.8" }]);
        let told = look("LoadBalancer", None, json!([]));
        assert!(told.contains(r#""ingress":[{"ip":"192.0.2.7","#) && told.contains("patch services/status"), "{told}");
        assert!(look("LoadBalancer", None, both.clone()).contains("up to date"));
        assert!(look("ClusterIP", None, both.clone()).contains(r#"{"ingress":null}"#), "it is balanced no more");
        assert!(look("ClusterIP", None, json!([])).contains("up to date"));
        assert!(look("LoadBalancer", Some("example.com/lb"), json!([])).contains("not ours"));
    }
}
