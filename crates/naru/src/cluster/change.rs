//! Changing nodes: who takes pods, labels, taints.

use anyhow::bail;
use naru_api::meta;
use naru_client::{Client, PatchKind};
use serde_json::{Value, json};

use super::{drain, labels, node};
use crate::cli::UpdateNode;

/// Annotation of a node that was drained, and not only cordoned: it is shown so.
const DRAINED: &str = "naru.io/drained";

/// Annotation of a node that a restored cluster knew nothing of, since when it is back.
pub(super) const RETURNED: &str = "naru.io/returned";
/// Annotation, and taint, of a node that the backup knew and that came back long after the restoration.
pub(super) const UNCONFIRMED: &str = "naru.io/unconfirmed";

/// Whether a node takes pods, in Swarm's words.
pub(super) fn availability(node: &Value) -> &'static str {
    match (node["spec"]["unschedulable"] == true, meta::annotation(node, DRAINED).is_some()) {
        (false, _) => "Active",
        (true, false) => "Pause",
        (true, true) => "Drain",
    }
}

async fn patch(client: &Client, name: &str, patch: &Value) -> anyhow::Result<()> {
    use anyhow::Context;
    let patched = node::nodes(client).patch(name, PatchKind::Merge, patch).await;
    patched.map(drop).with_context(|| format!("node {name} cannot be changed"))
}

/// Makes a node take no new pods, or take them again.
pub(super) async fn cordon(client: &Client, name: &str, cordoned: bool) -> anyhow::Result<()> {
    node::get(client, name).await?;
    let mut change = json!({"spec": {"unschedulable": if cordoned { json!(true) } else { Value::Null }}});
    if !cordoned {
        change["metadata"] = json!({"annotations": {DRAINED: null}});
    }
    patch(client, name, &change).await
}

/// Asks a node for a new key for encryption: it makes one, and others use it from the moment the node tells it.
pub(super) async fn rotate_key(client: &Client, name: &str) -> anyhow::Result<()> {
    node::get(client, name).await?;
    let word = jiff::Timestamp::now().to_string();
    patch(client, name, &json!({"metadata": {"annotations": {(naru_api::naru::names::WIREGUARD_ROTATE): word}}})).await
}

/// Moves everything off a node.
pub(super) async fn drain(client: &Client, name: &str, how: &drain::How) -> anyhow::Result<()> {
    cordon(client, name, true).await?;
    patch(client, name, &json!({"metadata": {"annotations": {DRAINED: "true"}}})).await?;
    drain::drain(client, name, how).await
}

/// `naru node update`.
pub(super) async fn update(client: &Client, options: &UpdateNode) -> anyhow::Result<()> {
    let name = &options.node;
    node::get(client, name).await?;
    if let Some(role) = &options.role {
        role_stays(client, name, role).await?;
    }
    let added = options.label_add.iter().cloned();
    let removed = options.label_rm.iter().map(|key| format!("{key}-"));
    let labels: Vec<String> = added.chain(removed).collect();
    if !labels.is_empty() {
        set_labels(client, name, &labels).await?;
    }
    if options.accept {
        let there = node::get(client, name).await?;
        let mut taints = there["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.retain(|taint| taint["key"] != UNCONFIRMED);
        let annotations = json!({RETURNED: null, UNCONFIRMED: null});
        let change = json!({"metadata": {"annotations": annotations}, "spec": {"taints": taints}});
        patch(client, name, &change).await?;
    }
    match options.availability.as_deref() {
        Some("active") => cordon(client, name, false).await?,
        Some("pause") => {
            cordon(client, name, true).await?;
            patch(client, name, &json!({"metadata": {"annotations": {DRAINED: null}}})).await?;
        }
        Some("drain") => drain(client, name, &drain::How { grace_period: None, timeout: None, force: false }).await?,
        _ if labels.is_empty() && options.role.is_none() && !options.accept => {
            bail!("nothing is to be changed: give --availability, --label-add or --label-rm")
        }
        _ => {}
    }
    println!("{name}");
    Ok(())
}

/// Refuses to make a worker a server, or a server a worker; a role that a node has already is no change.
pub(super) async fn role_stays(client: &Client, name: &str, wanted: &str) -> anyhow::Result<()> {
    let role = node::role(&node::get(client, name).await?);
    match (wanted, role.as_str()) {
        (wanted, role) if wanted == role => Ok(()),
        ("manager", _) => bail!(
            "{name} cannot be made a server: a cluster has one server so far. `naru server --backup-to` keeps what a new \
             one is made from (`naru backup restore`)"
        ),
        _ => bail!(
            "{name} is the cluster's only server and cannot be made a worker. To move the server to another machine: \
             `naru backup create` here, `naru backup restore` there"
        ),
    }
}

/// Sets and removes labels.
pub(super) async fn label(client: &Client, name: &str, labels: &[String]) -> anyhow::Result<()> {
    node::get(client, name).await?;
    set_labels(client, name, labels).await?;
    println!("{name}");
    Ok(())
}

async fn set_labels(client: &Client, name: &str, labels: &[String]) -> anyhow::Result<()> {
    let mut changes = serde_json::Map::new();
    for label in labels {
        let (key, value) = match (label.split_once('='), label.strip_suffix('-')) {
            (Some((key, value)), _) => (key, json!(value)),
            (None, Some(key)) => (key, Value::Null),
            _ => bail!("{label}: expected KEY=VALUE, or KEY- to remove it"),
        };
        labels::check(key, value.as_str().unwrap_or_default()).map_err(|why| anyhow::anyhow!("{label}: {why}"))?;
        changes.insert(key.to_owned(), value);
    }
    patch(client, name, &json!({"metadata": {"labels": changes}})).await
}

/// Sets and removes taints.
pub(super) async fn taint(client: &Client, name: &str, changes: &[String]) -> anyhow::Result<()> {
    let node = node::get(client, name).await?;
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
    fn a_node_says_whether_it_takes_pods() {
        let node = |cordoned: bool, drained: bool| {
            let mut node = json!({"metadata": {}, "spec": {"unschedulable": cordoned}});
            if drained {
                node["metadata"]["annotations"] = json!({DRAINED: "true"});
            }
            availability(&node)
        };
        assert_eq!([node(false, false), node(true, false), node(true, true)], ["Active", "Pause", "Drain"]);
    }
}
