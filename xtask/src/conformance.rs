//! The table of conformance behaviours.
//!
//! `docs/conformance.txt` names every `[Conformance]` behaviour of the API's special interest groups once, and below each
//! the tests of ours that prove it, or why there is none yet. `docs/conformance.md` is made from it, and a check refuses a
//! name that is no test of this tree: a table that is kept by hand alone would go on claiming what was renamed or removed.
//!
//! ```text
//! [sig-cli] Kubectl client Kubectl label should update the label on a resource
//!   crates/apiserver/tests/it/kubectl/conformance.rs: labels_come_and_go
//! [sig-auth] Something that is still missing
//!   not yet: nobody signs these certificates
//! [sig-cli] Something of which a part is missing
//!   crates/naru/tests/kubectl/main.rs: jobs_run_to_their_end
//!   but: only on one node
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// How many behaviours Kubernetes 1.36 names for these groups.
const BEHAVIOURS: usize = 131;
const TABLE: &str = "docs/conformance.txt";
const PAGE: &str = "docs/conformance.md";

/// One behaviour, as Kubernetes names it.
#[derive(Debug, PartialEq, Eq)]
struct Behaviour<'t> {
    /// Without `[sig-` and `]`.
    group: &'t str,
    name: &'t str,
    proof: Vec<Line<'t>>,
}

/// What stands below a behaviour.
#[derive(Debug, PartialEq, Eq)]
enum Line<'t> {
    Test { file: &'t str, function: &'t str },
    But(&'t str),
    NotYet(&'t str),
}

/// Writes the page.
///
/// # Errors
/// When the table is none, or a file cannot be read or written.
pub fn generate(root: &Path) -> Result<()> {
    let table = read(root, TABLE)?;
    let path = root.join(PAGE);
    std::fs::write(&path, page(&parse(&table)?)).with_context(|| format!("cannot write {}", path.display()))
}

/// What is wrong with the table or its page, a line each.
///
/// # Errors
/// When the table is none, or cannot be read.
pub fn problems(root: &Path) -> Result<Vec<String>> {
    let table = read(root, TABLE)?;
    let behaviours = parse(&table)?;
    let mut problems = untrue(&behaviours, |file| std::fs::read_to_string(root.join(file)).ok());
    if behaviours.len() != BEHAVIOURS {
        problems.push(format!("{TABLE}: {} behaviours, where Kubernetes names {BEHAVIOURS}", behaviours.len()));
    }
    if read(root, PAGE).ok() != Some(page(&behaviours)) {
        problems.push(format!("{PAGE} is not what {TABLE} makes: run `cargo run -p xtask -- conformance`"));
    }
    Ok(problems)
}

fn read(root: &Path, name: &str) -> Result<String> {
    std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
}

fn parse(table: &str) -> Result<Vec<Behaviour<'_>>> {
    let mut behaviours: Vec<Behaviour<'_>> = Vec::new();
    for (number, line) in table.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((group, name)) = line.strip_prefix("[sig-").and_then(|rest| rest.split_once("] ")) {
            behaviours.push(Behaviour { group, name, proof: Vec::new() });
            continue;
        }
        let Some(behaviour) = behaviours.last_mut().filter(|_| line.starts_with("  ")) else {
            bail!("{TABLE}:{number}: neither `[sig-…] name` nor an indented line below one: {line}");
        };
        let proof = match line.trim().split_once(": ") {
            Some(("not yet", why)) => Line::NotYet(why),
            Some(("but", why)) => Line::But(why),
            Some((file, function)) if file.ends_with(".rs") => Line::Test { file, function },
            _ => bail!("{TABLE}:{number}: expected `file.rs: function`, `but: why` or `not yet: why`: {line}"),
        };
        behaviour.proof.push(proof);
    }
    Ok(behaviours)
}

/// What the table claims and is not so; `source` reads a file of the tree.
fn untrue(behaviours: &[Behaviour<'_>], source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut sources: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut names = std::collections::BTreeSet::new();
    for Behaviour { group, name, proof } in behaviours {
        if !names.insert((group, name)) {
            problems.push(format!("{TABLE}: twice: {name}"));
        }
        let tests = proof.iter().filter(|line| matches!(line, Line::Test { .. })).count();
        let missing = proof.iter().filter(|line| matches!(line, Line::NotYet(_))).count();
        if (tests > 0) == (missing > 0) {
            problems.push(format!("{TABLE}: needs either tests or one `not yet`: {name}"));
        }
        for line in proof {
            let Line::Test { file, function } = line else { continue };
            let text = sources.entry(file).or_insert_with(|| source(file));
            if !text.as_deref().is_some_and(|text| tests_in(text).any(|test| test == *function)) {
                problems.push(format!("{TABLE}: no test {function} in {file}, which is to prove: {name}"));
            }
        }
    }
    problems
}

/// The names of the tests in a source: functions right below a test attribute, other attributes between them.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    source.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            marked = true;
            return None;
        }
        if line.starts_with("#[") || line.starts_with("//") {
            return None;
        }
        let was = std::mem::take(&mut marked);
        let line = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        line.split_once('(').map(|(name, _)| name).filter(|_| was)
    })
}

fn page(behaviours: &[Behaviour<'_>]) -> String {
    let mut out = String::from(
        "# Conformance\n\nWhat Kubernetes 1.36 names `[Conformance]` for its API, and the tests of ours that prove it \
         (`cargo run -p xtask -- conformance` makes this page from `conformance.txt`).\n\n",
    );
    let mut groups: Vec<&str> = Vec::new();
    behaviours.iter().for_each(|b| {
        if !groups.contains(&b.group) {
            groups.push(b.group)
        }
    });
    out.push_str("| group | behaviours | proven | in part | not yet |\n|---|---|---|---|---|\n");
    for group in &groups {
        let of = |is: fn(&Line<'_>) -> bool| {
            behaviours.iter().filter(|b| b.group == *group && b.proof.iter().any(is)).count()
        };
        let all = behaviours.iter().filter(|b| b.group == *group).count();
        let (part, none) = (of(|l| matches!(l, Line::But(_))), of(|l| matches!(l, Line::NotYet(_))));
        let _ = writeln!(out, "| {group} | {all} | {} | {part} | {none} |", all - part - none);
    }
    for group in &groups {
        let _ = writeln!(out, "\n## {group}\n\n| behaviour | proof |\n|---|---|");
        for Behaviour { name, proof, .. } in behaviours.iter().filter(|b| b.group == *group) {
            let told: Vec<String> = proof.iter().map(told).collect();
            let _ = writeln!(out, "| {} | {} |", name.replace('|', "\\|"), told.join("; "));
        }
    }
    out
}

fn told(line: &Line<'_>) -> String {
    match line {
        Line::Test { file, function } => {
            let short = file.trim_start_matches("crates/").replace("/tests/", " ");
            format!("[`{function}`](../{file}) ({})", short.trim_end_matches(".rs"))
        }
        Line::But(why) => format!("but: {why}"),
        Line::NotYet(why) => format!("**not yet**: {why}"),
    }
}
