//! Looking at nodes and at what runs on them.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use naru_api::meta;
use naru_api::naru::names;
use naru_client::{Client, ListOptions};
use serde_json::{Value, json};

use super::change::availability;
use super::node::{self, address, is_finished, readiness, role, version};
use super::versions;
use crate::output::Table;

/// `naru node ls`.
pub(super) async fn nodes(client: &Client, format: &str, quiet: bool) -> anyhow::Result<()> {
    let list = node::nodes(client).list(&ListOptions::default()).await.context("cannot list nodes")?;
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for pod in node::pods(client, None).await?.iter().filter(|pod| !is_finished(pod)) {
        *running.entry(meta::text(pod, "spec.nodeName").to_owned()).or_default() += 1;
    }
    let mut table = Table::new(&["NAME", "STATUS", "AVAILABILITY", "ROLE", "AGE", "ADDRESS", "PODS", "VERSION"]);
    let mut rows = Vec::new();
    for node in &list.items {
        let name = meta::name(node).to_owned();
        if quiet {
            println!("{name}");
            continue;
        }
        let (status, availability) = (readiness(node), availability(node));
        let count = running.get(&name).copied().unwrap_or(0);
        rows.push(json!({"Name": name, "Status": status, "Availability": availability,
            "Cordoned": node["spec"]["unschedulable"] == true, "Role": role(node), "Created": created(node),
            "Address": address(node), "Pods": count, "Version": version(node), "PodSubnet": node["spec"]["podCIDR"],
            "Labels": node["metadata"]["labels"]}));
        let cells = [name, status.into(), availability.into(), role(node), age(node), address(node), count.to_string()];
        table.row(cells.into_iter().chain([versions::shown(node, &list.items)]).collect());
    }
    match format {
        _ if quiet => {}
        "json" => println!("{}", serde_json::to_string_pretty(&rows)?),
        _ => table.print(),
    }
    Ok(())
}

fn created(object: &Value) -> &Value {
    &object["metadata"]["creationTimestamp"]
}

fn age(object: &Value) -> String {
    let made = meta::creation_timestamp(object);
    made.map(|at| crate::output::ago(Timestamp::now().as_second() - at.as_second())).unwrap_or_default()
}

/// `naru node inspect`.
pub(super) async fn inspect(client: &Client, names: &[String], format: &str) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for name in names {
        let mut node = node::get(client, name).await?;
        let on: Vec<Value> = node::pods(client, Some(name))
            .await?
            .iter()
            .map(|pod| json!({"namespace": meta::namespace(pod), "name": meta::name(pod), "phase": pod["status"]["phase"]}))
            .collect();
        meta::unset(&mut node, "managedFields");
        node["pods"] = on.into();
        found.push(node);
    }
    match format {
        "yaml" => print!("{}", crate::output::yaml(&json!(found))?),
        _ => println!("{}", serde_json::to_string_pretty(&found)?),
    }
    Ok(())
}

/// `naru node ps`: what runs on some nodes, or on all.
pub(super) async fn pods(client: &Client, names: &[String], format: &str) -> anyhow::Result<()> {
    for name in names {
        node::get(client, name).await?;
    }
    let mut rows = Vec::new();
    for pod in node::pods(client, None).await? {
        let at = meta::text(&pod, "spec.nodeName");
        if (names.is_empty() && !at.is_empty()) || names.iter().any(|name| name == at) {
            rows.push(row(&pod));
        }
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.sort_by_key(|row| ["Node", "Namespace", "Name"].map(|key| text(row, key)));
    if format == "json" {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "NAMESPACE", "NODE", "STATE", "READY", "AGE", "ADDRESS", "IMAGE"]);
    for row in &rows {
        table.row(
            ["Name", "Namespace", "Node", "State", "Ready", "Age", "Address", "Image"].map(|key| text(row, key)).into(),
        );
    }
    table.print();
    Ok(())
}

fn row(pod: &Value) -> Value {
    let statuses = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let waiting = statuses.iter().find_map(|status| status["state"]["waiting"]["reason"].as_str());
    let state = match meta::text(pod, "status.phase") {
        _ if meta::is_deleting(pod) => "Terminating",
        phase => waiting.filter(|_| phase != "Succeeded").unwrap_or(phase),
    };
    let images: Vec<&str> = containers.iter().filter_map(|container| container["image"].as_str()).collect();
    let label = |key: &str| meta::label(pod, key);
    // A Compose container has a name of its own.
    let compose =
        label(names::SERVICE).zip(label(names::ORDINAL)).map(|(service, number)| format!("{service}-{number}"));
    json!({
        "Name": meta::name(pod), "Namespace": meta::namespace(pod), "Node": pod["spec"]["nodeName"], "Container": compose,
        "State": state, "Ready": format!("{ready}/{}", containers.len()), "Age": age(pod), "Created": created(pod),
        "Address": pod["status"]["podIP"], "Image": images.iter().map(|image| plain(image)).collect::<Vec<_>>().join(", "),
    })
}

/// An image's name without the digest that it was pinned to.
fn plain(image: &str) -> &str {
    image.split('@').next().unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_in_a_row() {
        let pod = json!({
            "metadata": {"name": "web-x", "namespace": "shop", "labels": {"naru.io/service": "web", "naru.io/ordinal": "2"}},
            "spec": {"nodeName": "w1", "containers": [{"image": "app:1@sha256:abc"}, {"image": "b"}]},
            "status": {"phase": "Pending", "containerStatuses": [{"ready": true}, {"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
        });
        let row = row(&pod);
        assert_eq!((row["State"].as_str(), row["Ready"].as_str()), (Some("ImagePullBackOff"), Some("1/2")));
        assert_eq!((row["Image"].as_str(), row["Container"].as_str()), (Some("app:1, b"), Some("web-2")));
    }
}
