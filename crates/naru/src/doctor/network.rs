//! What is between this machine and the pods of others: who encrypts, what other nodes answered, and firewalls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use naru_agent::NODES_UNREACHABLE;
use naru_api::{Ranges, meta};
use naru_client::{Client, FailoverTransport};
use naru_network::firewall::obstacles;
use naru_network::peers::{ClusterNetwork, Wish};
use naru_network::translate::facts::{NodeFacts, cluster_network};
use naru_network::wireguard::INTERFACE;
use serde_json::Value;

use super::Finding;
use super::checks::module;
use crate::cli::Place;
use crate::cluster::Membership;
use crate::server::settings;

/// How long the cluster may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every finding about the network between machines.
pub(super) async fn findings(place: &Place) -> Vec<Finding> {
    let around = Surroundings::look(place).await;
    let mut found = vec![encryption(around.encrypts, &Means::here())];
    found.extend(around.own.as_ref().and_then(other_nodes));
    found.extend(firewalls(around).await);
    found
}

/// The cluster around this machine, as far as somebody says so.
#[derive(Debug, Default)]
struct Surroundings {
    /// The addresses of all pods, where other nodes have some.
    elsewhere: Option<Ipv4Net>,
    /// The IPv6 addresses of all pods, where they have such.
    second: Option<Ipv6Net>,
    network: ClusterNetwork,
    /// Whether ways of this node are encrypted.
    encrypts: bool,
    /// This machine's own Node.
    own: Option<Value>,
}

impl Surroundings {
    async fn look(place: &Place) -> Self {
        let membership = Membership::load(place).ok().flatten();
        let (client, name, known) = match &membership {
            Some(membership) => {
                let transports = membership.transports().ok();
                let client = transports.map(|some| Client::new(Arc::new(FailoverTransport::new(some))));
                let cluster = &membership.cluster;
                (client, cluster.node_name.clone(), Some(cluster.pod_network))
            }
            None => {
                let noted = settings::read(place);
                let pods = noted.as_ref().and_then(|noted| noted.pod_network.parse().ok());
                (crate::connect::connect(place).ok(), noted.map(|noted| noted.node_name).unwrap_or_default(), pods)
            }
        };
        let nodes = match client {
            Some(client) => tokio::time::timeout(PATIENCE, nodes(&client)).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let joined = membership.is_some();
        Self::of(&nodes, &name, known, joined)
    }

    /// From what was told: pure.
    fn of(nodes: &[Value], name: &str, pods: Option<Ranges>, joined: bool) -> Self {
        let facts = nodes.iter().filter_map(|node| NodeFacts::parse(node.to_string().as_bytes()).ok().map(Arc::new));
        let mut facts: Vec<Arc<NodeFacts>> = facts.collect();
        facts.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        let network = cluster_network(&facts);
        let asks = |node: &NodeFacts| node.wish == Wish::Wireguard || node.encryption.behind_nat;
        Self {
            elsewhere: pods.map(|pods| pods.v4).filter(|_| joined || nodes.len() > 1),
            second: pods.and_then(|pods| pods.v6),
            encrypts: network.encrypt || facts.iter().any(|node| asks(node)),
            network,
            own: nodes.iter().find(|node| meta::name(node) == name).cloned(),
        }
    }
}

async fn nodes(client: &Client) -> Vec<Value> {
    let list = client.json(http::Method::GET, "/api/v1/nodes", "application/json", None).await;
    list.ok().and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
}

/// By what this machine can encrypt.
#[derive(Debug)]
struct Means {
    /// The kernel's WireGuard is at work, or would be when it is asked for.
    kernel: bool,
    tun: bool,
    release: String,
    /// The device is there.
    device: bool,
}

impl Means {
    /// Looks, and loads nothing.
    fn here() -> Self {
        Self {
            kernel: Path::new("/sys/module/wireguard").exists() || module("wireguard"),
            tun: Path::new("/dev/net/tun").exists(),
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            // Not below /sys: that may show another network namespace than this process is in.
            device: Path::new("/proc/sys/net/ipv4/conf").join(INTERFACE).exists(),
        }
    }
}

/// Who encrypts here and why: pure.
fn encryption(wanted: bool, means: &Means) -> Finding {
    const CHECK: &str = "encryption";
    let Means { kernel, tun, release, device } = means;
    let lacks = format!("the kernel {release} has no WireGuard (module wireguard)");
    let word = match device {
        true => "in use",
        false if wanted => "asked for",
        false => "not asked for",
    };
    match (kernel, tun) {
        (true, _) => Finding::ok(CHECK, format!("by the kernel; {word}")),
        (false, true) if wanted => Finding::warning(
            CHECK,
            format!("by a process of Naru's, slower than the kernel: {lacks}; {word}"),
            "a kernel with the module wireguard (`modprobe wireguard`) takes over by itself",
        ),
        (false, true) => Finding::ok(CHECK, format!("would be by a process of Naru's: {lacks}; {word}")),
        (false, false) if wanted => Finding::error(
            CHECK,
            format!("cannot be done here: {lacks}, and there is no /dev/net/tun; {word}"),
            "load one of them: `modprobe wireguard`, or `modprobe tun`. Until then this machine has no way to nodes that \
             are to be encrypted",
        ),
        (false, false) => {
            Finding::ok(CHECK, format!("could not be done here: {lacks}, and there is no /dev/net/tun; {word}"))
        }
    }
}

/// What this node heard when it asked the others through the ways to their pods.
fn other_nodes(own: &Value) -> Option<Finding> {
    const CHECK: &str = "other nodes";
    let conditions = own["status"]["conditions"].as_array().into_iter().flatten();
    let condition = conditions.into_iter().find(|condition| condition["type"] == NODES_UNREACHABLE)?;
    let message = condition["message"].as_str().unwrap_or_default();
    match condition["status"] == "True" {
        true => Some(Finding::error(CHECK, "pods of other nodes are not reached", message)),
        false => Some(Finding::ok(CHECK, message)),
    }
}

/// What of this machine's firewall is in the way.
async fn firewalls(around: Surroundings) -> Vec<Finding> {
    const CHECK: &str = "other firewalls";
    let looked = tokio::task::spawn_blocking(move || obstacles(around.elsewhere, around.second, &around.network));
    match looked.await {
        Ok(Ok(found)) if found.is_empty() => vec![Finding::ok(CHECK, "none is in the way")],
        Ok(Ok(found)) => found
            .into_iter()
            .map(|o| Finding::warning(CHECK, format!("{} {}: {}", o.table, o.chain, o.why), o.advice))
            .collect(),
        Ok(Err(error)) => vec![Finding::warning(
            CHECK,
            naru_network::chain(&error),
            "run `sudo naru doctor`; `sudo nft list ruleset` shows what this could not read",
        )],
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Level;

    #[test]
    fn who_encrypts_is_told_with_the_reason() {
        let means = |kernel, tun, device| Means { kernel, tun, release: "6.1".into(), device };
        for (wanted, here, level, words) in [
            (true, means(true, true, true), Level::Ok, "by the kernel; in use"),
            (true, means(false, true, true), Level::Warning, "6.1 has no WireGuard (module wireguard); in use"),
            (false, means(false, true, false), Level::Ok, "would be by a process of Naru's"),
            (true, means(false, false, false), Level::Error, "no /dev/net/tun; asked for"),
            (false, means(false, false, false), Level::Ok, "not asked for"),
        ] {
            let found = encryption(wanted, &here);
            assert!(found.level == level && found.found.contains(words), "{found:?}");
            assert!(level == Level::Ok || !found.mend.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn the_clusters_word_is_read_from_its_nodes() {
        let node = |name: &str, annotations: Value, labels: Value| {
            json!({"metadata": {"name": name, "annotations": annotations, "labels": labels}, "status": {"conditions": [
                {"type": NODES_UNREACHABLE, "status": "True", "message": format!("{name} hears nobody")}]}})
        };
        let says = json!({"naru.io/cluster-network": "{\"encrypt\": true, \"wireguardPort\": 51999}"});
        let server = node("s", says.clone(), json!({"node-role.kubernetes.io/control-plane": ""}));
        let worker = node("w", json!({}), json!({}));
        let pods: Ranges = "10.42.0.0/16,fd00:42::/48".parse().unwrap();
        let seen = Surroundings::of(&[server, worker.clone()], "w", Some(pods), true);
        assert!(seen.encrypts && seen.network.wireguard_port == 51999 && seen.elsewhere == Some(pods.v4));
        assert_eq!(seen.second, pods.v6);
        let told = other_nodes(&seen.own.unwrap()).unwrap();
        assert_eq!((told.level, told.mend.as_str()), (Level::Error, "w hears nobody"));
        let alone = Surroundings::of(&[worker], "w", Some(pods), false);
        assert!(!alone.encrypts && alone.elsewhere.is_none());
    }
}
