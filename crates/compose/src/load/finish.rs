//! From the merged tree to the project: environments, profiles, implied networks and names, and the last checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Loaded, Loader, made, verify};
use crate::check::check;
use crate::error::{ComposeError, Position};
use crate::merge::unify;
use crate::model::Project;
use crate::spec::FILE;
use crate::yaml::Node;

pub(super) fn finish(
    loader: &mut Loader<'_>,
    mut tree: Node,
    dir: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Loaded, ComposeError> {
    let name = environment.get("COMPOSE_PROJECT_NAME").cloned().unwrap_or_default();
    let at = tree.at.clone();
    tree.set("name", Node::text(&name, &at));
    if tree.get("services").and_then(Node::as_map).is_none_or(<[_]>::is_empty) {
        return Err(ComposeError::invalid(&at, "services", "expected at least one service"));
    }
    let disabled = apply_profiles(loader, &mut tree)?;
    let names: Vec<String> = keys(&tree, "services");
    for service in &names {
        if let Some(node) = tree.get_mut("services").and_then(|s| s.get_mut(service)) {
            if node.is_null() {
                *node = Node::map(Vec::new(), &node.at);
            }
            unify(node);
            loader.service_environment(node, environment)?;
            loader.service_labels(node, environment)?;
            imply_dependencies(node, &names);
        }
    }
    imply_networks(&mut tree);
    imply_names(&mut tree, &name);
    // Merging can join halves that are each fine: the whole is held against the table once more.
    let mut faults = Vec::new();
    check(&tree, &FILE, "", &mut faults);
    verify::verify(&tree, &disabled, loader.files, &mut faults);
    ComposeError::all(faults)?;
    let value = without_nulls(crate::typed::value(&tree, &FILE));
    let mut project: Project =
        serde_json::from_value(value).map_err(|error| ComposeError::Project(format!("{}: {error}", dir.display())))?;
    project.working_dir = dir.display().to_string();
    let mut warnings = std::mem::take(&mut loader.warnings);
    warnings.append(&mut loader.noticed.warnings);
    Ok(Loaded {
        project,
        files: Vec::new(),
        sources: std::mem::take(&mut loader.sources),
        warnings,
        disabled,
        used_variables: std::mem::take(&mut loader.noticed.used),
    })
}

/// Takes out the services that no active profile wants. A service named on the command line activates its profiles,
/// and what it depends on must be there without more.
fn apply_profiles(loader: &Loader<'_>, tree: &mut Node) -> Result<BTreeSet<String>, ComposeError> {
    let request = loader.request;
    let profiles_of = |service: &Node| -> Vec<String> {
        let list = service.get("profiles").and_then(Node::as_list).unwrap_or_default();
        list.iter().filter_map(Node::as_text).map(str::to_owned).collect()
    };
    let mut active: BTreeSet<String> = request.profiles.iter().filter(|p| !p.is_empty()).cloned().collect();
    let services = tree.get("services").and_then(Node::as_map).unwrap_or_default();
    for wanted in &request.services {
        match services.iter().find(|(name, _)| name.text == *wanted) {
            Some((_, service)) => active.extend(profiles_of(service)),
            None => {
                let known: Vec<&str> = services.iter().map(|(name, _)| name.text.as_str()).collect();
                return Err(ComposeError::Project(format!(
                    "no such service: {wanted}; the project has {}",
                    known.join(", ")
                )));
            }
        }
    }
    let disabled: BTreeSet<String> = services
        .iter()
        .filter(|(_, service)| {
            let own = profiles_of(service);
            !own.is_empty() && !active.contains("*") && !own.iter().any(|p| active.contains(p))
        })
        .map(|(name, _)| name.text.clone())
        .collect();
    if let Some(services) = tree.get_mut("services") {
        for name in &disabled {
            services.remove(name);
        }
    }
    Ok(disabled)
}

/// What a service shares or links to is there before it.
fn imply_dependencies(service: &mut Node, known: &[String]) {
    let mut needed: Vec<(String, Position)> = Vec::new();
    for key in ["network_mode", "ipc", "pid"] {
        if let Some(node) = service.get(key)
            && let Some(other) = node.as_text().and_then(|mode| mode.strip_prefix("service:"))
        {
            needed.push((other.to_owned(), node.at.clone()));
        }
    }
    for key in ["links", "volumes_from"] {
        for item in service.get(key).and_then(Node::as_list).unwrap_or_default() {
            let other = item.as_text().unwrap_or_default().split(':').next().unwrap_or_default();
            needed.push((other.to_owned(), item.at.clone()));
        }
    }
    for (other, at) in needed.into_iter().filter(|(other, _)| known.contains(other)) {
        if service.get("depends_on").is_none_or(Node::is_null) {
            service.set("depends_on", Node::map(Vec::new(), &at));
        }
        if let Some(dependencies) = service.get_mut("depends_on").filter(|d| d.get(&other).is_none()) {
            let condition = (made("condition", &at), Node::text("service_started", &at));
            dependencies.set(&other, Node::map(vec![condition], &at));
        }
    }
}

/// A service without networks is on `default`.
fn imply_networks(tree: &mut Node) {
    let mut uses_default = false;
    for name in keys(tree, "services") {
        let Some(service) = tree.get_mut("services").and_then(|s| s.get_mut(&name)) else { continue };
        let own_network = service.get("network_mode").and_then(Node::as_text).is_some_and(|mode| mode != "bridge");
        let at = service.at.clone();
        if !own_network && service.get("networks").and_then(Node::as_map).is_none_or(<[_]>::is_empty) {
            service.set("networks", Node::map(vec![(made("default", &at), Node::null(&at))], &at));
        }
        uses_default |= service.get("networks").is_some_and(|n| n.get("default").is_some());
    }
    if uses_default {
        let at = tree.at.clone();
        if tree.get("networks").is_none_or(Node::is_null) {
            tree.set("networks", Node::map(Vec::new(), &at));
        }
        if let Some(networks) = tree.get_mut("networks").filter(|n| n.get("default").is_none()) {
            networks.set("default", Node::map(Vec::new(), &at));
        }
    }
}

/// What has no name of its own is `<project>_<key>`; what is external keeps its key.
fn imply_names(tree: &mut Node, project: &str) {
    for section in ["networks", "volumes", "configs", "secrets"] {
        for key in keys(tree, section) {
            let Some(entry) = tree.get_mut(section).and_then(|s| s.get_mut(&key)) else { continue };
            let at: Position = entry.at.clone();
            if entry.is_null() {
                *entry = Node::map(Vec::new(), &at);
            }
            let external = entry.get("external").and_then(Node::as_bool).unwrap_or(false);
            if entry.get("name").is_none_or(Node::is_null) {
                let name = if external { key } else { format!("{project}_{key}") };
                entry.set("name", Node::text(name, &at));
            }
        }
    }
}

fn keys(tree: &Node, section: &str) -> Vec<String> {
    let entries = tree.get(section).and_then(Node::as_map).unwrap_or_default();
    entries.iter().map(|(name, _)| name.text.clone()).filter(|name| !name.starts_with("x-")).collect()
}

/// Nulls mean "not set", except as values of networks and of a build's SSH keys, where the key alone has a meaning.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, inner)| match (key.as_str(), inner) {
                    ("networks" | "ssh", Value::Object(networks)) => (
                        key,
                        Value::Object(
                            networks
                                .into_iter()
                                .map(|(name, inner)| (name, if inner.is_null() { inner } else { without_nulls(inner) }))
                                .collect(),
                        ),
                    ),
                    (_, inner) => (key, without_nulls(inner)),
                })
                .filter(|(_, inner)| !inner.is_null())
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
