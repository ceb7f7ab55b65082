//! Which nodes run another version than the servers, and which run one that is too far from theirs: pure.

use naru_api::{Skew, Version, meta};
use serde_json::Value;

use super::node;

/// The condition by which a server says that it refuses a node's connection.
const CONDITION: &str = "naru.io/VersionSkew";

/// The newest version among servers.
fn servers(nodes: &[Value]) -> Option<Version> {
    let servers = nodes.iter().filter(|node| meta::label(node, "node-role.kubernetes.io/control-plane").is_some());
    servers.filter_map(|node| Version::parse(&node::version(node))).max()
}

/// A node's version as lists show it.
pub(super) fn shown(node: &Value, nodes: &[Value]) -> String {
    let text = node::version(node);
    let (Some(own), Some(server)) = (Version::parse(&text), servers(nodes)) else { return text };
    match own.skew(&server) {
        Skew::Same if own < server => format!("{text} (behind)"),
        Skew::Same => text,
        Skew::Behind => format!("{text} (behind)"),
        Skew::Ahead => format!("{text} (ahead)"),
        Skew::TooFar => format!("{text} (too far)"),
    }
}

/// What a server says against a node's version.
pub(super) fn refused(node: &Value) -> Option<&str> {
    let condition = node::condition(node, CONDITION).filter(|condition| condition["status"] == "True")?;
    condition["message"].as_str()
}

/// Nodes that are to be upgraded, with what to do.
pub(super) fn told(nodes: &[Value]) -> Vec<(String, String)> {
    let mut told = Vec::new();
    for node in nodes {
        if let Some(why) = refused(node) {
            told.push((format!("node {} is refused: {why}", meta::name(node)), String::new()));
        }
    }
    let behind: Vec<&str> = nodes
        .iter()
        .filter(|node| refused(node).is_none() && shown(node, nodes).ends_with("(behind)"))
        .map(meta::name)
        .collect();
    if !behind.is_empty() {
        let word = if behind.len() == 1 {
            "runs an older version than the server"
        } else {
            "run older versions than the server"
        };
        told.push((format!("{} {word}", behind.join(", ")), "`sudo naru upgrade` on the server".to_owned()));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, version: &str, server: bool) -> Value {
        let labels = if server { json!({"node-role.kubernetes.io/control-plane": ""}) } else { json!({}) };
        json!({"metadata": {"name": name, "labels": labels},
            "status": {"nodeInfo": {"containerRuntimeVersion": format!("naru://{version}")}, "conditions": []}})
    }

    #[test]
    fn who_is_behind_is_shown_and_told() {
        let mut nodes = vec![
            node("s", "0.2.0", true),
            node("a", "0.1.9", false),
            node("b", "0.2.0", false),
            node("c", "0.3.0", false),
        ];
        let shown: Vec<String> = nodes.iter().map(|node| super::shown(node, &nodes)).collect();
        assert_eq!(shown, ["0.2.0", "0.1.9 (behind)", "0.2.0", "0.3.0 (ahead)"]);
        assert_eq!(told(&nodes).len(), 1);
        assert_eq!(told(&nodes)[0].0, "a runs an older version than the server");
        nodes[1]["status"]["conditions"] = json!([{"type": CONDITION, "status": "True", "message": "too old"}]);
        assert_eq!(told(&nodes)[0].0, "node a is refused: too old");
        assert_eq!(told(&nodes).len(), 1);
        assert!(told(&nodes[2..3]).is_empty());
    }
}
