//! `naru volumes`, and the end of a project's volumes: where their data lies, and which node has still to erase it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use naru_api::k8s::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use naru_api::meta;
use naru_api::naru::names as n;
use naru_client::{Client, ListOptions, Resource};
use serde_json::{Value, json};

use super::project::Target;
use crate::output::Table;

/// How long `down -v` waits for nodes that are there to erase.
const PATIENCE: Duration = Duration::from_secs(30);
/// Label of a volume whose data has to go: the node that erases it.
const ERASE_ON: &str = "naru.io/erase-on";

/// A volume that is to go, and whose data is still on its node.
#[derive(Debug, PartialEq)]
struct Left {
    title: String,
    node: String,
    ready: bool,
}

impl Left {
    fn words(&self) -> String {
        let Left { node, ready, .. } = self;
        if *ready {
            format!("its data is being erased on node {node}")
        } else {
            format!("node {node} is away and erases its data when it is back")
        }
    }
}

/// `naru volumes`.
pub(crate) async fn list(client: &Client, target: &Target, quiet: bool, format: &str) -> anyhow::Result<()> {
    let claims = client.dynamic(Resource::of::<PersistentVolumeClaim>(), Some(&target.namespace));
    let claims = claims.list(&ListOptions::default()).await.context("cannot list the project's volumes")?.items;
    if quiet {
        claims.iter().for_each(|claim| println!("{}", title(claim)));
        return Ok(());
    }
    let volumes = volumes(client, &target.namespace).await?;
    let nodes: BTreeMap<&str, &str> = volumes.iter().map(|volume| (meta::name(volume), host(volume))).collect();
    let mut rows: Vec<[String; 3]> = Vec::new();
    for claim in &claims {
        let node = nodes.get(meta::text(claim, "spec.volumeName")).copied().unwrap_or_default();
        rows.push([title(claim), node.to_owned(), String::new()]);
    }
    for left in left(&volumes, &ready(client).await?) {
        rows.push([left.title.clone(), left.node.clone(), format!("removed: {}", left.words())]);
    }
    if format == "json" {
        for [name, node, status] in &rows {
            println!(
                "{}",
                json!({"Name": name, "Driver": "local", "Project": target.name, "Node": node, "Status": status})
            );
        }
        return Ok(());
    }
    let mut table = Table::new(&["DRIVER", "VOLUME NAME", "NODE", "STATUS"]);
    rows.into_iter().for_each(|[name, node, status]| table.row(vec!["local".to_owned(), name, node, status]));
    table.print();
    Ok(())
}

/// Local volumes of a project whose data goes with them.
pub(super) async fn to_erase(client: &Client, target: &Target) -> anyhow::Result<BTreeSet<String>> {
    let all = volumes(client, &target.namespace).await?;
    let goes =
        |volume: &&Value| volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete" && !host(volume).is_empty();
    Ok(all.iter().filter(goes).map(|volume| meta::name(volume).to_owned()).collect())
}

/// Waits until these are erased, except on nodes that are away; says what is left, by title.
pub(super) async fn erased(
    client: &Client,
    target: &Target,
    names: &BTreeSet<String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut volumes = volumes(client, &target.namespace).await?;
        volumes.retain(|volume| names.contains(meta::name(volume)));
        if volumes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let left = left(&volumes, &ready(client).await?);
        let all_away = left.len() == volumes.len() && left.iter().all(|left| !left.ready);
        if all_away || Instant::now() > deadline {
            return Ok(left.into_iter().map(|left| (left.title.clone(), left.words())).collect());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The volumes that a project's claims have, or had.
async fn volumes(client: &Client, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let volumes = client.dynamic(Resource::of::<PersistentVolume>(), None);
    let mut list = volumes.list(&ListOptions::default()).await.context("cannot list volumes")?.items;
    list.retain(|volume| meta::text(volume, "spec.claimRef.namespace") == namespace);
    Ok(list)
}

async fn ready(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let nodes = client.dynamic(Resource::of::<Node>(), None).list(&ListOptions::default()).await;
    let nodes = nodes.context("cannot list nodes")?.items;
    let is_ready = |node: &&Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    Ok(nodes.iter().filter(is_ready).map(|node| meta::name(node).to_owned()).collect())
}

/// What of these is still to be erased: pure.
fn left(volumes: &[Value], ready: &BTreeSet<String>) -> Vec<Left> {
    let asked = volumes.iter().filter(|volume| meta::is_deleting(volume));
    let left = asked.filter_map(|volume| {
        let node = meta::label(volume, ERASE_ON)?.to_owned();
        Some(Left { title: title(volume), ready: ready.contains(&node), node })
    });
    left.collect()
}

/// What people call a claim, or the volume that it had.
fn title(object: &Value) -> String {
    let held = meta::text(object, "spec.claimRef.name");
    let name = if held.is_empty() { meta::name(object) } else { held };
    meta::annotation(object, n::TITLE).unwrap_or(name).to_owned()
}

/// The node on which a volume lies; empty where it may be on any.
fn host(volume: &Value) -> &str {
    let terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array().into_iter().flatten();
    let mut expressions = terms.flat_map(|term| term["matchExpressions"].as_array().into_iter().flatten());
    let own = expressions.find(|expression| expression["key"] == n::HOSTNAME);
    own.and_then(|expression| expression["values"][0].as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_which_node_is_said() {
        let volume = |going: bool| {
            let mut volume = json!({"metadata": {"name": "pvc-1", "annotations": {n::TITLE: "shop_data"},
                "labels": {ERASE_ON: "w1"}}, "spec": {"claimRef": {"namespace": "shop", "name": "shop-data"}}});
            if going {
                volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            volume
        };
        let nodes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert!(left(&[volume(false)], &nodes(&[])).is_empty(), "it is not asked for yet");
        let away = left(&[volume(true)], &nodes(&["node-1"]));
        assert_eq!(away, [Left { title: "shop_data".into(), node: "w1".into(), ready: false }]);
        assert_eq!(away[0].words(), "node w1 is away and erases its data when it is back");
        let there = left(&[volume(true)], &nodes(&["w1"]));
        assert_eq!(there[0].words(), "its data is being erased on node w1");
    }
}
