//! `naru node`: the machines of the cluster.

use std::process::ExitCode;

use anyhow::{Context, bail};
use naru_api::k8s::api::core::v1::{Node, PersistentVolume, Pod};
use naru_api::meta;
use naru_client::{Client, DeleteOptions, DynamicApi, ListOptions, Resource};
use serde_json::Value;

use super::{change, drain, list, loss, rebalance};
use crate::cli::{NodeCommand, Place};
use crate::connect;

/// Runs `naru node …`.
pub(crate) async fn run(place: &Place, command: NodeCommand) -> anyhow::Result<ExitCode> {
    let client = connect::connect(place)?;
    match command {
        NodeCommand::Ls { format, quiet } => list::nodes(&client, &format, quiet).await?,
        NodeCommand::Inspect { nodes, format } => list::inspect(&client, &nodes, &format).await?,
        NodeCommand::Ps { nodes, format } => list::pods(&client, &nodes, &format).await?,
        NodeCommand::Update(options) => change::update(&client, &options).await?,
        NodeCommand::Promote { nodes } => roles(&client, &nodes, "manager").await?,
        NodeCommand::Demote { nodes } => roles(&client, &nodes, "worker").await?,
        NodeCommand::Rebalance(options) => rebalance::rebalance(&client, &options).await?,
        NodeCommand::Drain { nodes, grace_period, timeout, force } => {
            let how = drain::How { grace_period, timeout, force };
            for node in nodes {
                change::drain(&client, &node, &how).await?;
                println!("{node} is drained");
            }
        }
        NodeCommand::RotateKey { nodes } => {
            for node in nodes {
                change::rotate_key(&client, &node).await?;
                println!("{node}");
            }
        }
        NodeCommand::Cordon { nodes } => {
            for node in nodes {
                change::cordon(&client, &node, true).await?;
                println!("{node} takes no new pods");
            }
        }
        NodeCommand::Uncordon { nodes } => {
            for node in nodes {
                change::cordon(&client, &node, false).await?;
                println!("{node} takes pods");
            }
        }
        NodeCommand::Label { node, labels } => change::label(&client, &node, &labels).await?,
        NodeCommand::Taint { node, taints } => change::taint(&client, &node, &taints).await?,
        NodeCommand::Rm { nodes, force } => {
            for node in nodes {
                remove(&client, &node, force).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn roles(client: &Client, names: &[String], role: &str) -> anyhow::Result<()> {
    for name in names {
        change::role_stays(client, name, role).await?;
        println!("{name} is a {role}");
    }
    Ok(())
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

async fn remove(client: &Client, name: &str, force: bool) -> anyhow::Result<()> {
    let node = get(client, name).await?;
    if meta::label(&node, "node-role.kubernetes.io/control-plane").is_some() {
        bail!("{name} is a server: it cannot be removed from its own cluster");
    }
    if !force {
        let volumes = client.dynamic(Resource::of::<PersistentVolume>(), None);
        let volumes = volumes.list(&ListOptions::default()).await.map(|list| list.items).unwrap_or_default();
        if let Some(what) = loss::of(name, &pods(client, None).await?, &volumes) {
            bail!(
                "node {name} {what}: move what can move with `naru node drain {name}` first, or give --force where the \
                 machine is gone for good"
            );
        }
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_that_was_never_heard_of_is_not_ready() {
        assert_eq!(readiness(&json!({})), "Unknown");
        let node = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(readiness(&node), "Ready");
    }
}
