//! `naru node rebalance`: running pods move to nodes that came later, or came back.
//!
//! The request is written on the nodes that are to be filled, and the server's controller does the rest; this verb only
//! watches. Ctrl-C ends the watching, not the moving; `--stop` does that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use naru_api::k8s::api::apps::v1::ReplicaSet;
use naru_api::k8s::api::core::v1::Event;
use naru_api::meta;
use naru_client::{Client, ListOptions, PatchKind, Resource};
use naru_controllers::{REBALANCE, RebalanceRequest, rehearse};
use serde_json::{Value, json};

use super::node;
use crate::cli::RebalanceNodes;

const LOOK: Duration = Duration::from_millis(300);

/// Runs the verb.
pub(super) async fn rebalance(client: &Client, options: &RebalanceNodes) -> anyhow::Result<()> {
    let all = node::nodes(client).list(&ListOptions::default()).await.context("cannot list nodes")?.items;
    let chosen = chosen(&all, &options.nodes)?;
    if options.stop {
        return ask(client, &chosen, &Value::Null).await;
    }
    if options.dry_run {
        return told(client, &all, &chosen, options).await;
    }
    let request = RebalanceRequest { at_once: options.at_once.max(1), most: options.most, moved: 0 };
    let began = jiff::Timestamp::now();
    ask(client, &chosen, &json!(serde_json::to_string(&request)?)).await?;
    follow(client, &chosen, options, began).await
}

/// The nodes that are to take pods: those that are named, or all that can.
fn chosen(all: &[Value], names: &[String]) -> anyhow::Result<Vec<String>> {
    let takes = |node: &Value| node::readiness(node) == "Ready" && node["spec"]["unschedulable"] != true;
    let mut found = Vec::new();
    for name in names {
        let Some(node) = all.iter().find(|node| meta::name(node) == name) else {
            let there: Vec<&str> = all.iter().map(meta::name).collect();
            bail!("there is no node {name}: there are {}", there.join(", "));
        };
        if !takes(node) {
            let why = if node::readiness(node) == "Ready" { "it is cordoned" } else { "it is not ready" };
            bail!("node {name} takes no pods, for {why}: nothing was moved");
        }
        found.push(name.clone());
    }
    if names.is_empty() {
        found.extend(all.iter().filter(|node| takes(node)).map(|node| meta::name(node).to_owned()));
    }
    Ok(found)
}

async fn ask(client: &Client, nodes: &[String], value: &Value) -> anyhow::Result<()> {
    for name in nodes {
        let change = json!({"metadata": {"annotations": {REBALANCE: value}}});
        let asked = node::nodes(client).patch(name, PatchKind::Merge, &change).await;
        asked.with_context(|| format!("node {name} cannot be changed"))?;
    }
    Ok(())
}

async fn told(client: &Client, all: &[Value], chosen: &[String], options: &RebalanceNodes) -> anyhow::Result<()> {
    let pods = node::pods(client, None).await?;
    let sets = client.dynamic(Resource::of::<ReplicaSet>(), None);
    let sets = sets.list(&ListOptions::default()).await.context("cannot list replica sets")?.items;
    let may = |node: &str| chosen.iter().any(|name| name == node);
    let planned = rehearse(all, &pods, &sets, may, options.most.unwrap_or(usize::MAX));
    if options.format == "json" {
        println!("{}", serde_json::to_string_pretty(&planned)?);
        return Ok(());
    }
    for step in &planned {
        println!("{}/{} would move from {} to {}", step.namespace, step.pod, step.from, step.to);
    }
    match planned.len() {
        0 => println!("Everything is well placed"),
        count => println!("{count} pods would be moved; nothing was"),
    }
    Ok(())
}

/// Tells of moves until no node asks for any more.
async fn follow(
    client: &Client,
    chosen: &[String],
    options: &RebalanceNodes,
    began: jiff::Timestamp,
) -> anyhow::Result<()> {
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    loop {
        let all = node::nodes(client).list(&ListOptions::default()).await.context("cannot list nodes")?.items;
        tell_news(client, began, &mut seen).await;
        let mut waits = false;
        for node in all.iter().filter(|node| chosen.iter().any(|name| name == meta::name(node))) {
            let request = meta::annotation(node, REBALANCE);
            waits |= request.is_some();
            let request = request.and_then(|text| serde_json::from_str::<RebalanceRequest>(text).ok());
            if let Some(request) = request {
                counts.insert(meta::name(node).to_owned(), request.moved);
            }
        }
        if !waits {
            tell_news(client, began, &mut seen).await;
            let count: usize = counts.values().sum();
            println!(
                "{}",
                if count == 0 { "Everything is well placed".to_owned() } else { format!("{count} pods were moved") }
            );
            return Ok(());
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!("pods are still being moved after the given time; it goes on (`naru node rebalance --stop` ends it)");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Prints what the server says of moves since this one began. That it cannot be read hinders nothing.
async fn tell_news(client: &Client, began: jiff::Timestamp, seen: &mut BTreeSet<String>) {
    let events = client.dynamic(Resource::of::<Event>(), None).list(&ListOptions::default()).await;
    for event in events.map(|list| list.items).unwrap_or_default() {
        let ours = ["Moving", "MoveGivenUp"].contains(&event["reason"].as_str().unwrap_or_default());
        let made = meta::creation_timestamp(&event).is_some_and(|made| made.as_second() >= began.as_second());
        if ours && made && seen.insert(meta::uid(&event).to_owned()) {
            println!("{}", event["message"].as_str().unwrap_or_default());
        }
    }
}
