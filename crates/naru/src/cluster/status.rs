//! `naru status`: one page about the cluster, or about this worker: who is there, until when, what is wrong and what to do.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use http::Method;
use jiff::Timestamp;
use naru_api::k8s::api::coordination::v1::Lease;
use naru_api::k8s::api::core::v1::PersistentVolume;
use naru_api::meta;
use naru_client::{Client, FailoverTransport, ListOptions, Resource};
use serde_json::{Value, json};

use super::membership::Membership;
use super::{change, clock, node, process, versions};
use crate::cli::{Place, StatusOptions};
use crate::connect;
use crate::output::Table;
use crate::server::schedule;

/// A certificate that ends sooner than this should have been renewed, in days.
const SOON: i64 = 7;

/// Something that is not as it should be.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Trouble {
    what: String,
    mend: String,
}

/// Runs `naru status`; fails when something is wrong.
pub(crate) async fn status(place: &Place, options: &StatusOptions) -> anyhow::Result<ExitCode> {
    let json = options.format == "json";
    match Membership::load(place)? {
        Some(membership) => worker(place, &membership, json).await,
        None => cluster(place, json).await,
    }
}

async fn cluster(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let client = connect::connect(place)?;
    let about = client.json(Method::GET, "/naru/v1/cluster", "application/json", None).await;
    let about = about.context("the server does not say which cluster it is")?;
    let nodes = node::nodes(&client).list(&ListOptions::default()).await.context("cannot list nodes")?.items;
    let pods = node::pods(&client, None).await?;
    let volumes = client.dynamic(Resource::of::<PersistentVolume>(), None);
    let volumes = volumes.list(&ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
    let now = Timestamp::now();
    let authority = std::fs::read_to_string(place.state_dir.join("pki").join("ca.crt")).unwrap_or_default();
    let authority = naru_identity::validity_of_pem(&authority).map(|(_, end)| end);
    let mut troubles = troubles(&nodes, &pods, &volumes, authority, now);
    let leases = client.dynamic(Resource::of::<Lease>(), Some("kube-node-lease"));
    let leases = leases.list(&ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
    troubles.extend(clocks(&nodes, &leases, now));
    troubles.extend(versions::told(&nodes).into_iter().map(|(what, mend)| Trouble { what, mend }));
    troubles.extend(backups(&schedule::noted(&client).await));
    if json {
        let page = json!({"cluster": about, "nodes": nodes.iter().map(|node| row(node, &pods, now)).collect::<Vec<_>>(),
            "authorityUntil": authority.map(|end| end.to_string()), "troubles": troubles});
        println!("{}", serde_json::to_string_pretty(&page)?);
        return Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
    let servers: Vec<&str> = about["servers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let at = if servers.is_empty() { String::new() } else { format!(", at {}", servers.join(" ")) };
    println!("Cluster     {}, naru {}{at}", text("clusterId"), text("version"));
    println!("Addresses   pods {}, services {}", text("podNetwork"), text("serviceNetwork"));
    if let Some(end) = authority {
        println!("Authority   valid until {}", day(end));
    }
    println!();
    let mut table = Table::new(&["NODE", "STATUS", "ROLE", "VERSION", "ADDRESS", "PODS", "CERTIFICATE"]);
    for node in &nodes {
        let row = row(node, &pods, now);
        let cell = |key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
        table.row(["name", "status", "role", "version", "address", "pods", "certificate"].map(cell).to_vec());
    }
    table.print();
    println!();
    for (name, ways) in nodes.iter().filter_map(ways) {
        println!("Ways of {name}: {ways}");
    }
    tell(&troubles);
    Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How a node reaches the pods of others, where there are any and all is well.
fn ways(node: &Value) -> Option<(&str, &str)> {
    let condition = node::condition(node, naru_agent::NODES_UNREACHABLE).filter(|ways| ways["status"] == "False")?;
    let (_, ways) = condition["message"].as_str()?.split_once(": ")?;
    Some((meta::name(node), ways))
}

fn tell(troubles: &[Trouble]) {
    if troubles.is_empty() {
        println!("All is well.");
    }
    for trouble in troubles {
        println!("! {}", trouble.what);
        if !trouble.mend.is_empty() {
            println!("  → {}", trouble.mend);
        }
    }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Until when a node's certificate is valid; none for the server's own node, which needs none.
fn certificate_until(node: &Value) -> Option<Timestamp> {
    meta::annotation(node, "naru.io/certificate-until")?.parse().ok()
}

fn row(node: &Value, pods: &[Value], now: Timestamp) -> Value {
    let name = meta::name(node);
    let count = pods.iter().filter(|pod| meta::text(pod, "spec.nodeName") == name && !node::is_finished(pod)).count();
    let cordoned = if node["spec"]["unschedulable"] == true { ", cordoned" } else { "" };
    let certificate = match certificate_until(node) {
        None => "-".to_owned(),
        Some(end) if end <= now => "ended".to_owned(),
        Some(end) => format!("until {}", day(end)),
    };
    json!({"name": name, "status": format!("{}{cordoned}", node::readiness(node)), "role": node::role(node),
        "version": node::version(node), "address": node::address(node), "pods": count, "certificate": certificate})
}

/// Whose clock is wrong: pure. A node writes its own time into its lease every few seconds; one that is connected and
/// renews no lease at all does not count as ready for long.
fn clocks(nodes: &[Value], leases: &[Value], now: Timestamp) -> Vec<Trouble> {
    let alive = nodes.iter().filter(|node| node::readiness(node) == "Ready").map(meta::name);
    let wrong = alive.filter_map(|name| {
        let lease = leases.iter().find(|lease| meta::name(lease) == name)?;
        let renewed = meta::text(lease, "spec.renewTime").parse().ok()?;
        Some((name, clock::difference(now, renewed, clock::TOLD)?))
    });
    let told = wrong.map(|(name, how)| Trouble {
        what: format!("the clock of node {name} is {how} the server's"),
        mend: "set it right there (`timedatectl set-ntp true`): certificates, tokens and the times in logs go by it"
            .to_owned(),
    });
    told.collect()
}

/// What is wrong with the server's own backups: pure.
fn backups(noted: &BTreeMap<String, String>) -> Option<Trouble> {
    let text = |name: &str| noted.get(name).map(String::as_str).unwrap_or_default();
    let error = Some(text("error")).filter(|error| !error.is_empty())?;
    let last = if text("made").is_empty() {
        "none was made yet".to_owned()
    } else {
        format!("the last is of {}", text("made"))
    };
    let what = format!("the backup to {} failed at {}: {error}; {last}", text("to"), text("failed"));
    Some(Trouble { what, mend: "`naru backup ls` shows those that there are; it is tried again by itself".to_owned() })
}

/// What is wrong, the worst first: pure.
fn troubles(
    nodes: &[Value],
    pods: &[Value],
    volumes: &[Value],
    authority: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Trouble> {
    let mut found = Vec::new();
    let mut add = |what: String, mend: String| found.push(Trouble { what, mend });
    let soon = now.saturating_add(jiff::SignedDuration::from_hours(SOON * 24)).unwrap_or(now);
    for node in nodes {
        let name = meta::name(node);
        if node::readiness(node) != "Ready" {
            let ready = node::condition(node, "Ready");
            let since = ready.and_then(|ready| ready["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok());
            let since = since.map_or_else(
                || "has never been heard of".to_owned(),
                |at| format!("is not ready since {}", crate::output::ago(now.as_second() - at.as_second())),
            );
            add(
                format!("node {name} {since}"),
                format!(
                    "look whether the machine is on and reaches the server; there, `sudo naru status` says more. If it is \
                     gone for good: `naru node rm --force {name}`"
                ),
            );
            let here = volumes.iter().filter(|volume| is_on(volume, name));
            let (removed, kept): (Vec<&Value>, Vec<&Value>) = here.partition(|volume| meta::is_deleting(volume));
            if !removed.is_empty() {
                let list = removed.into_iter().map(claim_of).collect::<Vec<_>>().join(", ");
                add(
                    format!("the data of {list}, which was removed, is on node {name} until that machine erases it"),
                    "it does so when it is back".to_owned(),
                );
            }
            let waiting: Vec<&str> = kept.into_iter().map(claim_of).collect();
            if !waiting.is_empty() {
                let list = waiting.join(", ");
                add(
                    format!("the data of {list} is on node {name}: what uses it waits for that machine"),
                    "bring the machine back, or restore the data elsewhere".to_owned(),
                );
            }
        }
        for (kind, what) in [("DiskPressure", "disk space"), ("MemoryPressure", "memory"), ("PIDPressure", "processes")]
        {
            if node::condition(node, kind).is_some_and(|condition| condition["status"] == "True") {
                add(format!("node {name} is short of {what}"), format!("`naru node inspect {name}` shows its figures"));
            }
        }
        if let Some(network) = node::condition(node, "NetworkUnavailable").filter(|network| network["status"] == "True")
        {
            add(network["message"].as_str().unwrap_or("no network").to_owned(), String::new());
        }
        let ways = node::condition(node, naru_agent::NODES_UNREACHABLE).filter(|ways| ways["status"] == "True");
        if let Some(why) = ways.and_then(|ways| ways["message"].as_str()).filter(|_| node::readiness(node) == "Ready") {
            add(format!("node {name} does not reach pods of other nodes: {why}"), String::new());
        }
        if let Some(end) = certificate_until(node).filter(|end| *end <= soon) {
            let word = if end <= now { "ended" } else { "ends" };
            add(
                format!(
                    "the certificate of node {name} {word} on {}, and should have been renewed by itself",
                    day(end)
                ),
                format!(
                    "see the worker's log there; once ended: `sudo naru leave --force` and join again with --node-name {name}"
                ),
            );
        }
        if meta::annotation(node, change::RETURNED).is_some() {
            add(
                format!(
                    "node {name} came back by a certificate that is newer than the backup from which this cluster was restored"
                ),
                format!(
                    "`naru node update --accept {name}` if it belongs here; `naru node rm --force {name}` if it had been removed"
                ),
            );
        }
        if meta::annotation(node, change::UNCONFIRMED).is_some() {
            add(
                format!(
                    "node {name} came back long after this cluster was restored, and may have been removed after the backup \
                     was made: it gets no pods"
                ),
                format!("`naru node update --accept {name}` if it belongs here; `naru node rm --force {name}` if not"),
            );
        }
        if node["spec"]["unschedulable"] == true {
            add(format!("node {name} takes no new pods"), format!("`naru node uncordon {name}` when that is over"));
        }
    }
    if let Some(end) = authority.filter(|end| *end <= soon) {
        add(
            format!("the cluster's authority ends on {}", day(end)),
            "every certificate ends with it: found a new cluster".to_owned(),
        );
    }
    let pending =
        |pod: &&Value| meta::text(pod, "status.phase") == "Pending" && meta::text(pod, "spec.nodeName").is_empty();
    for pod in pods.iter().filter(pending).take(5) {
        let why = node::condition(pod, "PodScheduled").and_then(|condition| condition["message"].as_str());
        let why = why.unwrap_or("no node has been chosen yet");
        add(format!("{}/{} has no node: {why}", meta::namespace(pod), meta::name(pod)), String::new());
    }
    found
}

/// Whether a volume's data lies on this node.
pub(super) fn is_on(volume: &Value, node: &str) -> bool {
    let terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array().into_iter().flatten();
    let expressions = terms.flat_map(|term| term["matchExpressions"].as_array().into_iter().flatten());
    let values = |expression: &Value| expression["values"].as_array().is_some_and(|v| v.iter().any(|v| v == node));
    expressions.into_iter().any(|e| e["key"] == "kubernetes.io/hostname" && values(e))
}

pub(super) fn claim_of(volume: &Value) -> &str {
    let claim = meta::text(volume, "spec.claimRef.name");
    if claim.is_empty() { meta::name(volume) } else { claim }
}

/// The page of a worker: what it knows itself, and what the cluster says of it.
async fn worker(place: &Place, membership: &Membership, json: bool) -> anyhow::Result<ExitCode> {
    let cluster = &membership.cluster;
    let now = Timestamp::now();
    let end = naru_identity::validity_of_pem(&membership.certificate).map(|(_, end)| end);
    let running = process::running(place);
    let mut troubles = Vec::new();
    if running.is_none() {
        troubles.push(Trouble {
            what: "the worker does not run; its containers do, and are not looked after".to_owned(),
            mend: "`sudo naru agent`, or `sudo naru install` once to have it with the machine".to_owned(),
        });
    }
    if end.is_some_and(|end| end <= now) {
        troubles.push(Trouble {
            what: "this node's certificate has ended: no server takes it any more".to_owned(),
            mend: format!("`sudo naru leave --force`, then join again with --node-name {}", cluster.node_name),
        });
    }
    if let Some(why) = &cluster.removed {
        troubles.push(Trouble {
            what: why.clone(),
            mend: "its containers run on; `sudo naru leave` ends them, then the machine may join again".to_owned(),
        });
    }
    let servers = if cluster.removed.is_some() { Vec::new() } else { membership.transports()? };
    let client = Client::new(std::sync::Arc::new(FailoverTransport::new(servers)));
    let nodes = node::nodes(&client);
    let asked = tokio::time::timeout(std::time::Duration::from_secs(10), nodes.get(&cluster.node_name));
    let ready = match asked.await {
        Ok(Ok(node)) => {
            if let Some(why) = versions::refused(&node) {
                troubles.push(Trouble { what: format!("the server refuses this node: {why}"), mend: String::new() });
            }
            node::readiness(&node).to_owned()
        }
        Ok(Err(_)) if cluster.removed.is_some() => "removed".to_owned(),
        Ok(Err(error)) => {
            let what = match error.status() {
                Some(status) => status.message.clone(),
                None => format!("no server can be reached ({})", cluster.addresses().join(", ")),
            };
            let mend = "containers, names and services go on; see the network between here and the server".to_owned();
            troubles.push(Trouble { what, mend });
            "unknown".to_owned()
        }
        Err(_) => {
            let what = format!("no server answers within 10 s ({})", cluster.addresses().join(", "));
            troubles.push(Trouble { what, mend: "see the network between here and the server".to_owned() });
            "unknown".to_owned()
        }
    };
    let about = client.json(Method::GET, "/naru/v1/cluster", "application/json", None);
    if let Ok(Ok(about)) = tokio::time::timeout(std::time::Duration::from_secs(5), about).await
        && let Some(how) = clock::difference_to(&about, clock::TOLD)
    {
        troubles.push(Trouble {
            what: format!("this machine's clock is {how} the server's"),
            mend: "set it right (`timedatectl set-ntp true`): certificates, tokens and the times in logs go by it"
                .to_owned(),
        });
    }
    let until = end.map(day).unwrap_or_default();
    if json {
        let page = json!({"node": cluster.node_name, "clusterId": cluster.cluster_id, "servers": cluster.addresses(),
            "status": ready, "process": running, "certificateUntil": until, "troubles": troubles});
        println!("{}", serde_json::to_string_pretty(&page)?);
    } else {
        println!("Node          {} ({ready}), naru {}", cluster.node_name, naru_api::version());
        println!("Cluster       {}, at {}", cluster.cluster_id, cluster.addresses().join(" "));
        println!("Certificate   until {until}, renewed by itself after {}", day(membership.renew_at()));
        println!();
        tell(&troubles);
    }
    Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-05-01T12:00:00Z".parse().expect("a time")
    }

    fn node(name: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {}, "status": {"conditions":
            [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-05-01T11:58:00Z"}]}})
    }

    fn texts(nodes: &[Value], pods: &[Value], volumes: &[Value]) -> Vec<String> {
        troubles(nodes, pods, volumes, None, now()).into_iter().map(|trouble| trouble.what).collect()
    }

    #[test]
    fn a_cluster_that_is_well_has_no_troubles() {
        assert!(texts(&[node("a", "True")], &[], &[]).is_empty());
    }

    #[test]
    fn a_lost_node_is_told_with_the_data_that_waits_for_it() {
        let volume = json!({"metadata": {"name": "pv-1"}, "spec": {"claimRef": {"name": "shop-data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}]}}}});
        let said = texts(&[node("a", "True"), node("b", "Unknown")], &[], &[volume]);
        assert!(said[0].contains("node b is not ready since 2 minutes"), "{said:?}");
        assert!(said[1].contains("shop-data") && said[1].contains("waits for that machine"), "{said:?}");
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn a_wrong_clock_is_told_with_its_figure() {
        let lease = |name: &str, at: &str| json!({"metadata": {"name": name}, "spec": {"renewTime": at}});
        let leases = [
            lease("a", "2026-05-01T11:59:57.000000Z"),
            lease("b", "2026-05-01T13:00:02.000000Z"),
            lease("c", "2026-05-01T11:00:00.000000Z"),
        ];
        let said =
            |nodes: &[Value]| clocks(nodes, &leases, now()).into_iter().map(|trouble| trouble.what).collect::<Vec<_>>();
        assert_eq!(
            said(&[node("a", "True"), node("b", "True"), node("c", "True")]),
            [
                "the clock of node b is 60 minutes ahead of the server's",
                "the clock of node c is 60 minutes behind the server's"
            ]
        );
        assert!(said(&[node("c", "Unknown")]).is_empty(), "an old lease of a lost node says nothing of its clock");
    }

    #[test]
    fn a_node_that_the_cluster_had_forgotten_is_asked_about() {
        let mut back = node("w2", "True");
        back["metadata"]["annotations"] = json!({change::RETURNED: "2026-05-01T11:59:00Z"});
        let said = troubles(&[node("w1", "True"), back], &[], &[], None, now());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].what.contains("node w2 came back") && said[0].mend.contains("naru node rm --force w2"),
            "{said:?}"
        );
    }

    #[test]
    fn what_ends_soon_or_has_no_place_is_told() {
        let mut ending = node("a", "True");
        ending["metadata"]["annotations"] = json!({"naru.io/certificate-until": "2026-05-03T00:00:00Z"});
        ending["spec"]["unschedulable"] = true.into();
        let pod = json!({"metadata": {"namespace": "shop", "name": "web-1"}, "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}});
        let said = texts(&[ending], &[pod], &[]);
        assert!(said[0].contains("certificate of node a ends on 2026-05-03"), "{said:?}");
        assert!(said[1].contains("takes no new pods"), "{said:?}");
        assert!(said[2].contains("shop/web-1 has no node: 0/1 nodes are available"), "{said:?}");
        let authority = troubles(&[], &[], &[], Some(now()), now());
        assert!(authority[0].what.contains("authority ends"), "{authority:?}");
    }
}
