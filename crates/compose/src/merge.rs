//! Laying one file over another.
//!
//! Source of behaviour: the Compose specification, "Merge": maps merge, lists append, `command`, `entrypoint` and
//! `healthcheck.test` replace, ports and mounts are known by their target (a later one stands for an earlier one, whole
//! and in its place), `logging` of another driver replaces, `!reset` clears and `!override` replaces.
//! Both sides are canonical, so equal things look equal.

use crate::yaml::{MergeTag, Name, Node, Tree};

/// Lays `over` onto `base`, both the value of `key` (its last part, as `ports`).
pub(crate) fn merge(base: &mut Node, over: Node, key: &str) {
    match over.tag {
        Some(MergeTag::Override) => {
            *base = Node { tag: None, ..over };
            return;
        }
        Some(MergeTag::Reset) => {
            base.tree = Node::null(&over.at).tree;
            return;
        }
        None => {}
    }
    if over.is_null() {
        return;
    }
    let driver = |node: &Node| node.get("driver").and_then(Node::as_text).map(str::to_owned);
    if key == "logging" && driver(base).zip(driver(&over)).is_some_and(|(old, new)| old != new) {
        *base = over;
        return;
    }
    match (&mut base.tree, over.tree) {
        (Tree::Map(entries), Tree::Map(new)) => {
            // A map of `depends_on`, `networks` and the like is known by its keys, so it merges like any other.
            for (name, value) in new {
                merge_entry(entries, name, value);
            }
        }
        (Tree::List(items), Tree::List(new)) if !matches!(key, "command" | "entrypoint" | "test") => {
            for item in new {
                append(items, item, key);
            }
        }
        (_, tree) => {
            base.tree = tree;
            base.at = over.at;
        }
    }
}

fn merge_entry(entries: &mut Vec<(Name, Node)>, name: Name, value: Node) {
    let at = entries.iter().position(|(known, _)| known.text == name.text);
    match at {
        Some(at) if value.tag == Some(MergeTag::Reset) => {
            entries.remove(at);
        }
        Some(at) => merge(&mut entries[at].1, value, &name.text),
        None if value.tag == Some(MergeTag::Reset) => {}
        None => entries.push((name, Node { tag: None, ..value })),
    }
}

fn append(items: &mut Vec<Node>, item: Node, key: &str) {
    let twin = items.iter_mut().find(|old| match identity(old, key) {
        Some(identity_of_old) => Some(identity_of_old) == identity(&item, key),
        None => old.as_text().is_some() && old.as_text() == item.as_text(),
    });
    match twin {
        Some(old) if key == "config" => merge(old, item, ""),
        Some(old) => *old = item,
        None => items.push(item),
    }
}

/// What makes two items of a list the same thing; `None` where only equal texts are.
fn identity(item: &Node, key: &str) -> Option<Vec<String>> {
    let read = |field: &str| item.get(field).and_then(Node::as_text).unwrap_or_default().to_owned();
    match key {
        "ports" => Some(["host_ip", "target", "published", "protocol"].map(read).to_vec()),
        // The address ranges of a network.
        "config" => Some(vec![read("subnet")]),
        "volumes" | "devices" => Some(vec![read("target")]),
        "configs" | "secrets" => {
            let (target, folder) = (read("target"), if key == "secrets" { "/run/secrets/" } else { "/" });
            let target = if target.is_empty() { read("source") } else { target };
            Some(vec![if target.starts_with('/') { target } else { format!("{folder}{target}") }])
        }
        "env_file" => Some(vec![read("path")]),
        _ => None,
    }
}

/// Joins what stands twice in one list of a service: the last stands, in the place of the first.
pub(crate) fn unify(service: &mut Node) {
    let Tree::Map(entries) = &mut service.tree else { return };
    for (name, value) in entries {
        if let Tree::List(items) = &mut value.tree
            && matches!(
                name.text.as_str(),
                "ports"
                    | "volumes"
                    | "devices"
                    | "configs"
                    | "secrets"
                    | "env_file"
                    | "expose"
                    | "dns"
                    | "dns_search"
                    | "dns_opt"
                    | "cap_add"
                    | "cap_drop"
                    | "tmpfs"
                    | "links"
                    | "profiles"
            )
        {
            let mut kept = Vec::with_capacity(items.len());
            items.drain(..).for_each(|item| append(&mut kept, item, &name.text));
            *items = kept;
        }
    }
}

/// Takes the merge tags out of a tree onto which nothing was laid, and what `!reset` cleared.
pub(crate) fn settle(node: &mut Node) {
    node.tag = None;
    match &mut node.tree {
        Tree::Map(entries) => {
            entries.retain(|(_, value)| value.tag != Some(MergeTag::Reset));
            entries.iter_mut().for_each(|(_, value)| settle(value));
        }
        Tree::List(items) => {
            items.retain(|item| item.tag != Some(MergeTag::Reset));
            items.iter_mut().for_each(settle);
        }
        Tree::Scalar(..) => {}
    }
}
