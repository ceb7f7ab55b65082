//! Holds the dependencies against `deps.toml`: licences, banned crates, and crates present in several versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::metadata::{self, Metadata, Package};

/// The reviewed lists.
#[derive(Debug, Deserialize)]
struct Reviewed {
    licences: Licences,
    /// Crate → why it is banned.
    banned: BTreeMap<String, String>,
    /// Crate → why several versions are borne.
    duplicates: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Licences {
    /// Licences that are fine.
    allowed: Vec<String>,
    /// Crate → why its licence was judged by hand.
    #[serde(default)]
    exceptions: BTreeMap<String, String>,
}

/// One sentence for every broken rule.
pub fn problems(root: &Path) -> Result<Vec<String>> {
    let path = root.join("deps.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let reviewed: Reviewed = toml::from_str(&text).with_context(|| format!("{} is not well formed", path.display()))?;
    let metadata = metadata::read(root)?;
    Ok(judge(&reviewed, &used(&metadata)))
}

/// The packages that are really in the graph of this platform.
fn used(metadata: &Metadata) -> Vec<&Package> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let nodes: BTreeMap<&str, &Vec<String>> =
        metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), &n.dependencies)).collect();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(nodes.get(id).into_iter().flat_map(|d| d.iter().map(String::as_str)));
        }
    }
    metadata.packages.iter().filter(|p| reached.contains(p.id.as_str())).collect()
}

fn judge(reviewed: &Reviewed, packages: &[&Package]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
        if let Some(why) = reviewed.banned.get(&package.name) {
            problems.push(format!("{} {} is banned: {why}", package.name, package.version));
        }
        let licence = package.license.as_deref().unwrap_or("none");
        if !fits(licence, &reviewed.licences.allowed) && !reviewed.licences.exceptions.contains_key(&package.name) {
            problems.push(format!(
                "{} {} has licence {licence}, which deps.toml does not allow",
                package.name, package.version
            ));
        }
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !reviewed.duplicates.contains_key(*name) {
            let list: Vec<&str> = versions.iter().copied().collect();
            problems.push(format!(
                "{name} is there in versions {}; align them or give the reason in deps.toml",
                list.join(", ")
            ));
        }
    }
    for name in reviewed.duplicates.keys() {
        if versions.get(name.as_str()).is_none_or(|v| v.len() < 2) {
            problems.push(format!("deps.toml bears several versions of {name}, but there is one; remove the entry"));
        }
    }
    problems
}

/// Whether a licence expression can be fulfilled with allowed licences: `AND` binds tighter than `OR`, `/` is an old
/// way to write `OR`, parentheses group.
fn fits(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let fine = any(&words, &mut at, allowed);
    fine && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut fine = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        fine |= all(words, at, allowed);
    }
    fine
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut fine = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        fine &= one(words, at, allowed);
    }
    fine
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let fine = any(words, at, allowed);
        *at += 1;
        return fine;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str) -> Package {
        Package {
            id: format!("{name}@{version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(license.to_owned()),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn the_workspace_keeps_its_rules() {
        let root = crate::root().expect("the workspace");
        assert_eq!(problems(&root).expect("dependencies"), Vec::<String>::new());
    }

    #[test]
    fn licence_expressions() {
        let allowed = ["MIT".to_owned(), "Zlib".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
        for fine in
            ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND (GPL-2.0 OR Zlib)", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(fits(fine, &allowed), "{fine}");
        }
        for wrong in ["GPL-3.0", "MIT AND GPL-3.0", "none", "", "Apache-2.0", "(MIT OR Zlib) AND GPL-3.0"] {
            assert!(!fits(wrong, &allowed), "{wrong}");
        }
    }

    #[test]
    fn every_broken_rule_is_told() {
        let reviewed: Reviewed = toml::from_str(
            "[licences]\nallowed = [\"MIT\"]\n[banned]\nbad = \"why\"\n[duplicates]\nborne = \"why\"\ngone = \"why\"\n",
        )
        .expect("lists");
        let packages = [
            package("bad", "1.0.0", "MIT"),
            package("copyleft", "1.0.0", "GPL-3.0"),
            package("twice", "1.0.0", "MIT"),
            package("twice", "2.0.0", "MIT"),
            package("borne", "1.0.0", "MIT"),
            package("borne", "2.0.0", "MIT"),
        ];
        let packages: Vec<&Package> = packages.iter().collect();
        let problems = judge(&reviewed, &packages);
        for word in ["bad 1.0.0 is banned", "copyleft 1.0.0 has licence", "twice is there", "versions of gone"] {
            assert!(problems.iter().any(|p| p.contains(word)), "{word}: {problems:?}");
        }
        assert_eq!(problems.len(), 4);
    }
}
