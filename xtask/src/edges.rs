//! Holds the edges between the workspace's crates against `xtask/edges.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::metadata;

/// The reviewed list: for each crate, the crates it may use. Every allowed crate stands on a lower layer.
#[derive(Debug, Deserialize)]
struct Reviewed {
    /// Ordinary and build dependencies.
    edges: BTreeMap<String, Vec<String>>,
    /// Additional ones for tests.
    tests: BTreeMap<String, Vec<String>>,
}

/// One sentence for every edge that is not reviewed.
pub fn problems(root: &Path) -> Result<Vec<String>> {
    let path = root.join("xtask/edges.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let reviewed: Reviewed = toml::from_str(&text).with_context(|| format!("{} is not well formed", path.display()))?;
    let metadata = metadata::read(root)?;
    let mut found = Vec::new();
    for package in metadata.packages.iter().filter(|p| metadata.workspace_members.contains(&p.id)) {
        let inside = package.dependencies.iter().filter(|d| d.path.is_some());
        for dependency in inside {
            found.push((package.name.clone(), dependency.name.clone(), dependency.kind.as_deref() == Some("dev")));
        }
    }
    let names: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|p| metadata.workspace_members.contains(&p.id))
        .map(|p| p.name.as_str())
        .collect();
    Ok(compare(&reviewed, &names, &found))
}

fn compare(reviewed: &Reviewed, crates: &BTreeSet<&str>, found: &[(String, String, bool)]) -> Vec<String> {
    let mut problems = Vec::new();
    for name in crates {
        if !reviewed.edges.contains_key(*name) {
            problems.push(format!("crate {name} is not in xtask/edges.toml; add it with the crates it may use"));
        }
    }
    for (from, to, dev) in found {
        let allowed = reviewed.edges.get(from).is_some_and(|l| l.contains(to));
        let in_tests = *dev && reviewed.tests.get(from).is_some_and(|l| l.contains(to));
        if !allowed && !in_tests {
            let kind = if *dev { "tests of " } else { "" };
            problems.push(format!("{kind}{from} may not use {to}; the reviewed edges stand in xtask/edges.toml"));
        }
    }
    problems.extend(cycle(&reviewed.edges).map(|c| format!("xtask/edges.toml allows a circle: {c}")));
    problems
}

fn cycle(edges: &BTreeMap<String, Vec<String>>) -> Option<String> {
    fn walk<'a>(
        at: &'a str,
        edges: &'a BTreeMap<String, Vec<String>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        if path.contains(&at) {
            return Some(format!("{} → {at}", path.join(" → ")));
        }
        if done.contains(at) {
            return None;
        }
        path.push(at);
        let circle = edges.get(at).into_iter().flatten().find_map(|to| walk(to, edges, path, done));
        path.pop();
        done.insert(at);
        circle
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|at| walk(at, edges, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewed(edges: &[(&str, &[&str])]) -> Reviewed {
        let list = |l: &[&str]| l.iter().map(ToString::to_string).collect();
        Reviewed { edges: edges.iter().map(|(k, v)| (k.to_string(), list(v))).collect(), tests: BTreeMap::new() }
    }

    #[test]
    fn the_workspace_keeps_its_edges() {
        let root = crate::root().expect("the workspace");
        assert_eq!(problems(&root).expect("edges"), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_edge_crate_or_circle_is_told() {
        let found = [("b".to_owned(), "a".to_owned(), false)];
        let crates = ["a", "b"].into();
        assert_eq!(compare(&reviewed(&[("a", &[]), ("b", &["a"])]), &crates, &found), Vec::<String>::new());
        assert_eq!(compare(&reviewed(&[("a", &[]), ("b", &[])]), &crates, &found).len(), 1);
        assert_eq!(compare(&reviewed(&[("b", &["a"])]), &crates, &found).len(), 1);
        assert_eq!(compare(&reviewed(&[("a", &["b"]), ("b", &["a"])]), &crates, &found).len(), 1);
    }
}
