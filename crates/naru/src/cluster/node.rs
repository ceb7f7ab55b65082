//! `naru node`: the machines of the cluster.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use naru_api::k8s::api::core::v1::{Node, Pod};
use naru_api::meta;
use naru_client::{Client, DeleteOptions, DynamicApi, ListOptions, PatchKind, Resource};
use serde_json::{Value, json};

use super::drain;
use crate::cli::{NodeCommand, Place};
use crate::connect;
use crate::output::Table;

/// Runs `naru node …`.
pub(crate) async fn run(place: &Place, command: NodeCommand) -> anyhow::Result<ExitCode> {
    let client = connect::connect(place)?;
    match command {
        NodeCommand::Ls { format, quiet } => list(&client, &format, quiet).await?,
        NodeCommand::Inspect { nodes } => inspect(&client, &nodes).await?,
        NodeCommand::Drain { nodes, grace_period, timeout, force } => {
            let how = drain::How { grace_period, timeout, force };
            for node in nodes {
                cordon(&client, &node, true).await?;
                drain::drain(&client, &node, &how).await?;
                println!("{node} is drained");
            }
        }
        NodeCommand::Cordon { nodes } => {
            for node in nodes {
                cordon(&client, &node, true).await?;
                println!("{node} takes no new pods");
            }
        }
        NodeCommand::Uncordon { nodes } => {
            for node in nodes {
                cordon(&client, &node, false).await?;
                println!("{node} takes pods");
            }
        }
        NodeCommand::Label { node, labels } => label(&client, &node, &labels).await?,
        NodeCommand::Taint { node, taints } => taint(&client, &node, &taints).await?,
        NodeCommand::Rm { nodes, force } => {
            for node in nodes {
                remove(&client, &node, force).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn nodes(client: &Client) -> DynamicApi {
    client.dynamic(Resource::of::<Node>(), None)
}

/// Every pod, or those on one node.
pub(super) async fn pods(client: &Client, node: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let mut options = ListOptions::default();
    if let Some(node) = node {
        options.fields = format!("spec.nodeName={node}");
    }
    let list = client.dynamic(Resource::of::<Pod>(), None).list(&options).await.context("cannot list pods")?;
    Ok(list.items)
}

pub(super) fn is_finished(pod: &Value) -> bool {
    matches!(meta::text(pod, "status.phase"), "Succeeded" | "Failed")
}

/// A condition of an object.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// `Ready`, `NotReady` or `Unknown`.
pub(super) fn readiness(node: &Value) -> &'static str {
    match condition(node, "Ready").and_then(|ready| ready["status"].as_str()) {
        Some("True") => "Ready",
        Some("False") => "NotReady",
        _ => "Unknown",
    }
}

pub(super) fn role(node: &Value) -> String {
    let own = meta::label(node, "naru.io/role").map(str::to_owned);
    own.unwrap_or_else(|| {
        let labels = meta::labels(node).into_iter().flatten();
        let mut roles = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"));
        roles.next().unwrap_or("worker").to_owned()
    })
}

pub(super) fn address(node: &Value) -> String {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal = addresses.into_iter().find(|address| address["type"] == "InternalIP");
    internal.and_then(|address| address["address"].as_str()).unwrap_or_default().to_owned()
}

/// The version of the program that runs there.
pub(super) fn version(node: &Value) -> String {
    let runtime = meta::text(node, "status.nodeInfo.containerRuntimeVersion");
    runtime.strip_prefix("naru://").unwrap_or(runtime).to_owned()
}

async fn list(client: &Client, format: &str, quiet: bool) -> anyhow::Result<()> {
    let list = nodes(client).list(&ListOptions::default()).await.context("cannot list nodes")?;
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods(client, None).await?.iter().filter(|pod| !is_finished(pod)) {
        *running.entry(meta::text(pod, "spec.nodeName").to_owned()).or_default() += 1;
    }
    let mut table = Table::new(&["NAME", "STATUS", "ROLE", "AGE", "ADDRESS", "PODS", "VERSION"]);
    let mut rows = Vec::new();
    for node in &list.items {
        let name = meta::name(node).to_owned();
        if quiet {
            println!("{name}");
            continue;
        }
        let cordoned = node["spec"]["unschedulable"] == true;
        let status = format!("{}{}", readiness(node), if cordoned { ", cordoned" } else { "" });
        let count = running.get(&name).copied().unwrap_or(0);
        let age = meta::creation_timestamp(node)
            .map(|at| crate::output::ago(Timestamp::now().as_second() - at.as_second()))
            .unwrap_or_default();
        rows.push(json!({"Name": name, "Status": readiness(node), "Cordoned": cordoned, "Role": role(node),
            "Address": address(node), "Pods": count, "Version": version(node), "PodSubnet": node["spec"]["podCIDR"],
            "Labels": node["metadata"]["labels"]}));
        table.row(vec![name, status, role(node), age, address(node), count.to_string(), version(node)]);
    }
    match format {
        _ if quiet => {}
        "json" => println!("{}", serde_json::to_string_pretty(&rows)?),
        _ => table.print(),
    }
    Ok(())
}

async fn inspect(client: &Client, names: &[String]) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for name in names {
        let mut node = get(client, name).await?;
        let on: Vec<Value> = pods(client, Some(name))
            .await?
            .iter()
            .map(|pod| json!({"namespace": meta::namespace(pod), "name": meta::name(pod), "phase": pod["status"]["phase"]}))
            .collect();
        meta::unset(&mut node, "managedFields");
        node["pods"] = on.into();
        found.push(node);
    }
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(())
}

/// A node, or an error that names those there are.
pub(super) async fn get(client: &Client, name: &str) -> anyhow::Result<Value> {
    match nodes(client).get(name).await {
        Ok(node) => Ok(node),
        Err(error) if error.is_not_found() => {
            let list = nodes(client).list(&ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
            let names: Vec<&str> = list.iter().map(meta::name).collect();
            bail!("there is no node {name}: there are {}", names.join(", "))
        }
        Err(error) => Err(error).with_context(|| format!("cannot look at node {name}")),
    }
}

async fn patch(client: &Client, name: &str, patch: &Value) -> anyhow::Result<()> {
    let patched = nodes(client).patch(name, PatchKind::Merge, patch).await;
    patched.map(drop).with_context(|| format!("node {name} cannot be changed"))
}

async fn cordon(client: &Client, name: &str, cordoned: bool) -> anyhow::Result<()> {
    get(client, name).await?;
    let value = if cordoned { json!(true) } else { Value::Null };
    patch(client, name, &json!({"spec": {"unschedulable": value}})).await
}

async fn label(client: &Client, name: &str, labels: &[String]) -> anyhow::Result<()> {
    get(client, name).await?;
    let mut changes = serde_json::Map::new();
    for label in labels {
        let (key, value) = match (label.split_once('='), label.strip_suffix('-')) {
            (Some((key, value)), _) => (key, json!(value)),
            (None, Some(key)) => (key, Value::Null),
            _ => bail!("{label}: expected KEY=VALUE, or KEY- to remove it"),
        };
        changes.insert(key.to_owned(), value);
    }
    patch(client, name, &json!({"metadata": {"labels": changes}})).await?;
    println!("{name}");
    Ok(())
}

async fn taint(client: &Client, name: &str, changes: &[String]) -> anyhow::Result<()> {
    let node = get(client, name).await?;
    let mut taints: Vec<Value> = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    for change in changes {
        apply_taint(&mut taints, change).map_err(anyhow::Error::msg)?;
    }
    let guard = meta::resource_version(&node);
    patch(client, name, &json!({"metadata": {"resourceVersion": guard}, "spec": {"taints": taints}})).await?;
    println!("{name}");
    Ok(())
}

/// `KEY[=VALUE]:EFFECT` sets a taint, `KEY[:EFFECT]-` removes it.
fn apply_taint(taints: &mut Vec<Value>, change: &str) -> Result<(), String> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let wrong =
        || format!("{change}: expected KEY[=VALUE]:EFFECT, EFFECT one of {}; or KEY[:EFFECT]-", EFFECTS.join(", "));
    if let Some(gone) = change.strip_suffix('-') {
        let (key, effect) = gone.split_once(':').map_or((gone, None), |(key, effect)| (key, Some(effect)));
        let before = taints.len();
        taints.retain(|taint| taint["key"] != key || effect.is_some_and(|effect| taint["effect"] != effect));
        return if taints.len() < before { Ok(()) } else { Err(format!("{change}: the node has no such taint")) };
    }
    let (word, effect) = change.rsplit_once(':').filter(|(_, e)| EFFECTS.contains(e)).ok_or_else(wrong)?;
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    if key.is_empty() {
        return Err(wrong());
    }
    taints.retain(|taint| taint["key"] != key || taint["effect"] != effect);
    let mut taint = json!({"key": key, "effect": effect});
    if !value.is_empty() {
        taint["value"] = value.into();
    }
    taints.push(taint);
    Ok(())
}

async fn remove(client: &Client, name: &str, force: bool) -> anyhow::Result<()> {
    let node = get(client, name).await?;
    if meta::label(&node, "node-role.kubernetes.io/control-plane").is_some() {
        bail!("{name} is a server: it cannot be removed from its own cluster");
    }
    let on: Vec<String> = pods(client, Some(name))
        .await?
        .iter()
        .filter(|pod| !is_finished(pod) && !drain::stays(pod))
        .map(|pod| format!("{}/{}", meta::namespace(pod), meta::name(pod)))
        .collect();
    if !on.is_empty() && !force {
        let shown = on.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if on.len() > 5 { format!(" and {} more", on.len() - 5) } else { String::new() };
        bail!(
            "node {name} still runs {shown}{more}: move them with `naru node drain {name}` first, or give --force where \
             the machine is gone for good"
        );
    }
    let alive = readiness(&node) == "Ready";
    let removed = nodes(client).delete(name, &DeleteOptions::default()).await;
    removed.with_context(|| format!("node {name} cannot be removed"))?;
    println!("{name} is removed");
    if alive {
        println!("Its machine still runs: `sudo naru leave --force` there ends its containers");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_set_replaced_and_removed() {
        let mut taints = vec![];
        apply_taint(&mut taints, "gpu=yes:NoSchedule").expect("set");
        apply_taint(&mut taints, "gpu=no:NoSchedule").expect("replaced");
        apply_taint(&mut taints, "gpu:NoExecute").expect("another effect");
        assert_eq!(
            taints,
            [
                json!({"key": "gpu", "effect": "NoSchedule", "value": "no"}),
                json!({"key": "gpu", "effect": "NoExecute"})
            ]
        );
        apply_taint(&mut taints, "gpu:NoExecute-").expect("removed");
        assert_eq!(taints.len(), 1);
        apply_taint(&mut taints, "gpu-").expect("removed");
        assert!(taints.is_empty());
        for wrong in ["gpu-", "gpu", "gpu:Never", ":NoSchedule", "=x:NoSchedule"] {
            apply_taint(&mut taints, wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_node_that_was_never_heard_of_is_not_ready() {
        assert_eq!(readiness(&json!({})), "Unknown");
        let node = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(readiness(&node), "Ready");
    }
}
