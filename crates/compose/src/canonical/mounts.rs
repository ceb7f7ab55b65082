//! Short forms of volumes and devices.

use super::{Base, name, wrap};
use crate::error::ComposeError;
use crate::units::Size;
use crate::yaml::Node;

/// What a file system in memory is made with.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TmpfsOptions {
    /// Bytes at most.
    pub size: Option<i64>,
    /// Permission bits.
    pub mode: Option<i64>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// The options of `PATH[:OPTION,…]`.
///
/// # Errors
/// Which option is not known, and what there is.
pub(crate) fn tmpfs_options(entry: &str) -> Result<TmpfsOptions, String> {
    let (target, options) = entry.split_once(':').unwrap_or((entry, ""));
    if !target.starts_with('/') {
        return Err(format!("expected an absolute path in the container, found {target:?}"));
    }
    let mut found = TmpfsOptions::default();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong = || format!("{value:?} is no value of {key:?} in {entry:?}");
        match key {
            "size" => found.size = Some(Size::parse(value).ok_or_else(wrong)?.0),
            "mode" => found.mode = Some(i64::from_str_radix(value, 8).map_err(|_| wrong())?),
            "uid" => found.uid = Some(value.parse().map_err(|_| wrong())?),
            "gid" => found.gid = Some(value.parse().map_err(|_| wrong())?),
            // What every such file system is here.
            "rw" | "exec" | "noexec" | "nosuid" | "nodev" => {}
            _ => return Err(format!("unknown option {option:?} in {entry:?}: expected size, mode, uid or gid")),
        }
    }
    Ok(found)
}

/// `[SOURCE:]TARGET[:MODE]` to the long form; paths made absolute in both.
pub(super) fn volume(item: &mut Node, path: &str, base: &Base<'_>) -> Result<(), ComposeError> {
    if let Some(text) = item.as_text() {
        *item = parse(text, item, path)?;
    }
    let bind = item.get("type").and_then(Node::as_text) == Some("bind");
    if let Some(source) = item.get_mut("source").filter(|_| bind) {
        base.resolve_node(source);
    }
    if item.get("target").and_then(Node::as_text).is_none_or(|target| !target.starts_with('/')) {
        let problem = "expected `target`: an absolute path in the container";
        return Err(ComposeError::invalid(&item.at, path, problem));
    }
    Ok(())
}

fn parse(text: &str, item: &Node, path: &str) -> Result<Node, ComposeError> {
    let at = &item.at;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] if target.starts_with('/') => (Some(source), target, ""),
        [target, mode] if target.starts_with('/') => (None, target, mode),
        [source, target, mode] => (Some(source), target, mode),
        _ => {
            let problem = format!("expected [SOURCE:]TARGET[:MODE], found {text:?}");
            return Err(ComposeError::invalid(at, path, problem));
        }
    };
    let is_bind = source.is_some_and(|s| s.starts_with(['.', '/', '~']));
    let value = |text: &str| Node::text(text, at);
    let mut entries = vec![(name("type", at), value(if is_bind { "bind" } else { "volume" }))];
    if let Some(source) = source {
        entries.push((name("source", at), value(source)));
    }
    entries.push((name("target", at), value(target)));
    let mut options = Vec::new();
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => entries.push((name("read_only", at), value("true"))),
            "rw" | "cached" | "delegated" | "consistent" => {}
            "nocopy" if !is_bind => options.push((name("nocopy", at), value("true"))),
            "z" | "Z" if is_bind => options.push((name("selinux", at), value(word))),
            "z" | "Z" => {}
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" if is_bind => {
                options.push((name("propagation", at), value(word)));
            }
            other => {
                let problem =
                    format!("unknown mode {other:?} in {text:?}: expected ro, rw, nocopy, z, Z or a propagation");
                return Err(ComposeError::invalid(at, path, problem));
            }
        }
    }
    if is_bind {
        // The short form makes a missing folder, the long one does not (Compose specification, "volumes").
        options.push((name("create_host_path", at), value("true")));
    }
    if !options.is_empty() {
        entries.push((name(if is_bind { "bind" } else { "volume" }, at), Node::map(options, at)));
    }
    Ok(Node::map(entries, at))
}

/// `SOURCE[:TARGET[:PERMISSIONS]]` to the long form.
pub(super) fn device(item: &mut Node) -> Result<(), ComposeError> {
    if let Some(text) = item.as_text() {
        let at = item.at.clone();
        let mut parts = text.splitn(3, ':');
        let source = parts.next().unwrap_or_default().to_owned();
        let target = parts.next().unwrap_or(&source).to_owned();
        let permissions = parts.next().unwrap_or("rwm").to_owned();
        let value = |text: String| Node::text(text, &at);
        *item = Node::map(
            vec![
                (name("source", &at), value(source)),
                (name("target", &at), value(target)),
                (name("permissions", &at), value(permissions)),
            ],
            &at,
        );
    }
    wrap(item, "source");
    Ok(())
}
