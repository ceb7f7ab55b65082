//! Short forms to long ones, and paths to absolute ones, so that merging and reading meet one form of everything.
//!
//! Done for each file before files are merged: a port written short in one file and long in another must be seen to be
//! the same port.

mod mounts;
mod ports;

pub(crate) use mounts::tmpfs_options;
pub(crate) use ports::range;
use std::path::{Component, Path, PathBuf};

use crate::error::{ComposeError, Position};
use crate::spec::Type;
use crate::yaml::{Name, Node, Tree};

/// Where relative paths of a file start.
pub(crate) struct Base<'a> {
    /// The project's folder for this file.
    pub dir: &'a Path,
    /// For `~`.
    pub home: Option<&'a Path>,
}

impl Base<'_> {
    /// `path` made absolute, without `.` and `..`.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        let path = match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            _ => self.dir.join(path),
        };
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    clean.pop();
                }
                part => clean.push(part),
            }
        }
        clean
    }

    fn resolve_node(&self, node: &mut Node) {
        if let Some(path) = node.as_text() {
            *node = Node { tag: node.tag, ..Node::text(self.resolve(path).to_string_lossy(), &node.at) };
        }
    }
}

/// Makes the whole file canonical.
///
/// # Errors
/// When a short form cannot be understood; says where.
pub(crate) fn file(node: &mut Node, base: &Base<'_>) -> Result<(), ComposeError> {
    generic(node, &crate::spec::FILE)?;
    for (section, path_key) in [("configs", "file"), ("secrets", "file")] {
        for_each(node, section, |_, entry| {
            if let Some(path) = entry.get_mut(path_key) {
                base.resolve_node(path);
            }
            Ok(())
        })?;
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        for_each(node, section, |_, entry| {
            external(entry);
            Ok(())
        })?;
    }
    if let Some(include) = node.get_mut("include") {
        each_item(include, |_, item| {
            if item.as_text().is_some() {
                *item = Node::map(vec![(name("path", &item.at), Node::list(vec![item.clone()], &item.at))], &item.at);
            }
            Ok(())
        })?;
    }
    for_each(node, "services", |path, entry| service(entry, path, base))
}

/// One service, whose generic forms are canonical already.
fn service(node: &mut Node, path: &str, base: &Base<'_>) -> Result<(), ComposeError> {
    if let Some(build) = node.get_mut("build") {
        wrap(build, "context");
        if let Some(context) = build.get_mut("context")
            && !context.as_text().is_some_and(is_remote)
        {
            base.resolve_node(context);
        }
        if build.get("context").is_none_or(Node::is_null) && build.as_map().is_some() {
            let here = Node::text(base.resolve(".").to_string_lossy(), &build.at);
            build.set("context", here);
        }
        if let Some(contexts) = build.get_mut("additional_contexts") {
            each_entry(contexts, |_, context| {
                let elsewhere = |text: &str| is_remote(text) || text.starts_with("service:");
                if !context.as_text().is_none_or(elsewhere) {
                    base.resolve_node(context);
                }
                Ok(())
            })?;
        }
    }
    if let Some(extends) = node.get_mut("extends") {
        wrap(extends, "service");
    }
    if let Some(files) = node.get_mut("env_file") {
        if files.as_text().is_some() {
            *files = Node { tag: files.tag, ..Node::list(vec![files.clone()], &files.at) };
        }
        each_item(files, |_, item| {
            wrap(item, "path");
            if let Some(path) = item.get_mut("path") {
                base.resolve_node(path);
            }
            Ok(())
        })?;
    }
    if let Some(files) = node.get_mut("label_file") {
        each_item(files, |_, item| {
            base.resolve_node(item);
            Ok(())
        })?;
    }
    if let Some(dependencies) = node.get_mut("depends_on") {
        keyed(dependencies);
        if let Tree::Map(entries) = &mut dependencies.tree {
            for (_, entry) in entries {
                if entry.is_null() {
                    *entry = Node::map(Vec::new(), &entry.at);
                }
                default(entry, "condition", "service_started");
            }
        }
    }
    if let Some(networks) = node.get_mut("networks") {
        keyed(networks);
    }
    for key in ["configs", "secrets"] {
        if let Some(list) = node.get_mut(key) {
            each_item(list, |_, item| {
                wrap(item, "source");
                Ok(())
            })?;
        }
    }
    if let Some(hosts) = node.get_mut("extra_hosts") {
        extra_hosts(hosts, path)?;
    }
    if let Some(Tree::Map(limits)) = node.get_mut("ulimits").map(|n| &mut n.tree) {
        for (_, limit) in limits {
            if limit.as_text().is_some() {
                let value = limit.clone();
                *limit = Node::map(
                    vec![(name("soft", &value.at), value.clone()), (name("hard", &value.at), value.clone())],
                    &value.at,
                );
            }
        }
    }
    if let Some(devices) = node.get_mut("devices") {
        each_item(devices, |_, item| mounts::device(item))?;
    }
    if let Some(volumes) = node.get_mut("volumes") {
        each_item(volumes, |at, item| mounts::volume(item, &format!("{path}.volumes[{at}]"), base))?;
    }
    if let Some(list) = node.get_mut("ports") {
        ports::expand(list, &format!("{path}.ports"))?;
    }
    Ok(())
}

/// What follows from the type alone: assignments to maps, a text to a list.
fn generic(node: &mut Node, ty: &Type) -> Result<(), ComposeError> {
    if node.is_null() {
        return Ok(());
    }
    match ty {
        Type::MapOrAssignments => {
            if let Tree::List(items) = &node.tree {
                let entries = items.iter().filter_map(assignment).collect();
                node.tree = Tree::Map(unique(entries));
            }
        }
        Type::TextOrList if node.as_text().is_some() => {
            node.tree = Tree::List(vec![Node { tag: None, ..node.clone() }]);
        }
        Type::Command => {
            if let Some(text) = node.as_text() {
                let words = shell_words::split(text).map_err(|_| {
                    ComposeError::invalid(&node.at, "command", format!("a quote is not closed in {text:?}"))
                })?;
                node.tree = Tree::List(words.into_iter().map(|word| Node::text(word, &node.at)).collect());
            }
        }
        Type::HealthTest => {
            if let Some(text) = node.as_text() {
                node.tree = Tree::List(vec![Node::text("CMD-SHELL", &node.at), Node::text(text, &node.at)]);
            }
        }
        Type::List(inner) => each_item(node, |_, item| generic(item, inner))?,
        Type::Map(inner) => each_entry(node, |_, value| generic(value, inner))?,
        Type::Object(keys) => each_entry(node, |key, value| {
            keys.iter().find(|k| k.name == key).map_or(Ok(()), |k| generic(value, &k.ty))
        })?,
        Type::Either(short, long) => {
            let ty = if crate::check::matches(node, short) { short } else { long };
            generic(node, ty)?;
        }
        _ => {}
    }
    Ok(())
}

/// `KEY=VALUE`, or `KEY` alone for a value from elsewhere.
fn assignment(item: &Node) -> Option<(Name, Node)> {
    let text = item.as_text()?;
    Some(match text.split_once('=') {
        Some((key, value)) => (name(key, &item.at), Node::text(value, &item.at)),
        None => (name(text, &item.at), Node::null(&item.at)),
    })
}

/// The last of equal keys wins, in the place of the first.
fn unique(entries: Vec<(Name, Node)>) -> Vec<(Name, Node)> {
    let mut kept: Vec<(Name, Node)> = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        match kept.iter_mut().find(|(known, _)| known.text == name.text) {
            Some((_, old)) => *old = value,
            None => kept.push((name, value)),
        }
    }
    kept
}

/// `external: {name: x}` to `external: true` and `name: x`.
fn external(entry: &mut Node) {
    if let Some(inner) = entry.get("external").and_then(|e| e.get("name")).cloned() {
        entry.set("name", inner);
        let at = entry.at.clone();
        entry.set("external", Node::text("true", &at));
    }
}

/// `host:address`, `host=address` or a map, to a map of lists.
fn extra_hosts(hosts: &mut Node, path: &str) -> Result<(), ComposeError> {
    let mut entries: Vec<(Name, Node)> = Vec::new();
    let mut add = |host: &str, address: &Node| match entries.iter_mut().find(|(known, _)| known.text == host) {
        Some((_, Node { tree: Tree::List(items), .. })) => items.push(address.clone()),
        _ => entries.push((name(host, &address.at), Node::list(vec![address.clone()], &address.at))),
    };
    match &hosts.tree {
        Tree::List(items) => {
            for item in items {
                let text = item.as_text().unwrap_or_default();
                let Some((host, address)) = text.split_once('=').or_else(|| text.split_once(':')) else {
                    let problem = format!("expected HOST=ADDRESS, found {text:?}");
                    return Err(ComposeError::invalid(&item.at, format!("{path}.extra_hosts"), problem));
                };
                let address = address.trim_start_matches('[').trim_end_matches(']');
                add(host.trim(), &Node::text(address.trim(), &item.at));
            }
        }
        Tree::Map(given) => {
            for (host, value) in given {
                match value.as_list() {
                    Some(items) => items.iter().for_each(|item| add(&host.text, item)),
                    None => add(&host.text, value),
                }
            }
        }
        Tree::Scalar(..) => {}
    }
    hosts.tree = Tree::Map(entries);
    Ok(())
}

/// A list of names to a map of names to nothing.
fn keyed(node: &mut Node) {
    if let Tree::List(items) = &node.tree {
        let entries =
            items.iter().filter_map(|item| Some((name(item.as_text()?, &item.at), Node::null(&item.at)))).collect();
        node.tree = Tree::Map(unique(entries));
    }
}

/// A text to a map with the text under `key`.
fn wrap(node: &mut Node, key: &str) {
    if node.as_text().is_some() {
        let inner = Node { tag: None, ..node.clone() };
        node.tree = Tree::Map(vec![(name(key, &inner.at), inner)]);
    }
}

fn default(node: &mut Node, key: &str, value: &str) {
    if node.get(key).is_none_or(Node::is_null) {
        let value = Node::text(value, &node.at);
        node.set(key, value);
    }
}

fn name(text: &str, at: &Position) -> Name {
    Name { text: text.to_owned(), at: at.clone() }
}

fn is_remote(context: &str) -> bool {
    context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/")
}

fn each_item(
    node: &mut Node,
    mut apply: impl FnMut(usize, &mut Node) -> Result<(), ComposeError>,
) -> Result<(), ComposeError> {
    match &mut node.tree {
        Tree::List(items) => items.iter_mut().enumerate().try_for_each(|(at, item)| apply(at, item)),
        _ => Ok(()),
    }
}

fn each_entry(
    node: &mut Node,
    mut apply: impl FnMut(&str, &mut Node) -> Result<(), ComposeError>,
) -> Result<(), ComposeError> {
    match &mut node.tree {
        Tree::Map(entries) => entries.iter_mut().try_for_each(|(name, value)| apply(&name.text, value)),
        _ => Ok(()),
    }
}

fn for_each(
    node: &mut Node,
    section: &str,
    mut apply: impl FnMut(&str, &mut Node) -> Result<(), ComposeError>,
) -> Result<(), ComposeError> {
    match node.get_mut(section) {
        Some(section_node) => each_entry(section_node, |key, value| apply(&format!("{section}.{key}"), value)),
        None => Ok(()),
    }
}
