//! What a machine must know to be a node of this cluster.

use jiff::Timestamp;
use naru_api::meta;
use naru_store::Key;
use serde_json::{Value, json};

use crate::authentication::Peer;
use crate::object;
use crate::state::Core;

/// The answer to `GET /naru/v1/cluster`, for nodes and machines that join: the cluster's name for itself, where its
/// servers answer, its addresses, what time it is, and where the question came from: a machine that has no such address is
/// behind something that translates.
pub(crate) fn describe(core: &Core, peer: &Peer) -> Value {
    let snapshot = core.store.snapshot();
    let id = snapshot.get(&Key::new("namespaces", "", "kube-system"));
    let id = id.and_then(|entry| object::uid(&entry.served)).unwrap_or_default();
    let endpoints = snapshot.get(&Key::new("endpoints", "default", "kubernetes"));
    let endpoints = endpoints.map(|entry| object::parse(&entry.served)).unwrap_or_default();
    let settings = &core.settings;
    json!({
        "clusterId": id,
        "servers": servers(&endpoints),
        // The node of the machine that answers.
        "node": core.tunnels.own(),
        "podNetwork": settings.pod_network.to_string(),
        "serviceNetwork": settings.service_network.to_string(),
        "domain": "cluster.local",
        "authority": naru_identity::key_hash_of_pem(core.authority.certificate()),
        "version": naru_api::version(),
        "time": meta::time(Timestamp::now()),
        "client": peer.address,
    })
}

/// `address:port` of every API server.
fn servers(endpoints: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let port = subset["ports"][0]["port"].as_u64().unwrap_or(6443);
        for address in subset["addresses"].as_array().into_iter().flatten() {
            let Some(ip) = address["ip"].as_str() else { continue };
            found.push(if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") });
        }
    }
    found
}
