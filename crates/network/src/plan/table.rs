//! The table as data, and the two texts made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::TABLE;

/// What the kernel's table holds: sets, maps and chains by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    sets: BTreeMap<String, Set>,
    maps: BTreeMap<String, Map>,
    chains: BTreeMap<String, Chain>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Set {
    kind: &'static str,
    elements: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Map {
    kind: &'static str,
    elements: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    hook: Option<&'static str>,
    rules: Vec<String>,
}

/// The commands that turn one table into another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDelta {
    commands: Vec<String>,
}

impl TableDelta {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands as a script, one a line.
    pub fn script(&self) -> String {
        self.commands.iter().fold(String::new(), |mut script, command| {
            script.push_str(command);
            script.push('\n');
            script
        })
    }

    /// The commands on one line, which an interactive `nft` takes as one transaction.
    pub fn line(&self) -> String {
        self.commands.join("; ")
    }

    fn push(&mut self, command: String) {
        self.commands.push(command);
    }
}

impl Table {
    /// Declares a set of elements of `kind`.
    pub(super) fn set(&mut self, name: &str, kind: &'static str) {
        self.sets.entry(name.to_owned()).or_default().kind = kind;
    }

    /// Declares a verdict map with keys of `kind`.
    pub(super) fn map(&mut self, name: &str, kind: &'static str) {
        self.maps.entry(name.to_owned()).or_default().kind = kind;
    }

    /// Adds an element to a declared set.
    pub(super) fn element(&mut self, set: &str, element: impl Into<String>) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.insert(element.into());
        }
    }

    /// Adds a verdict to a declared map; the first one for a key wins, and `false` says that it was taken.
    pub(super) fn verdict(&mut self, map: &str, key: impl Into<String>, verdict: impl Into<String>) -> bool {
        let Some(map) = self.maps.get_mut(map) else { return false };
        let key = key.into();
        if map.elements.contains_key(&key) {
            return false;
        }
        map.elements.insert(key, verdict.into());
        true
    }

    /// Adds a base chain.
    pub(super) fn hook(&mut self, name: &str, hook: &'static str, rules: Vec<String>) {
        self.chains.insert(name.to_owned(), Chain { hook: Some(hook), rules });
    }

    /// Adds a chain that others jump to.
    pub(super) fn chain(&mut self, name: &str, rules: Vec<String>) {
        self.chains.insert(name.to_owned(), Chain { hook: None, rules });
    }

    /// Whether a chain of this name exists already.
    pub(super) fn has_chain(&self, name: &str) -> bool {
        self.chains.contains_key(name)
    }

    /// The script that replaces whatever the kernel has with this table, in one transaction.
    pub fn replace(&self) -> String {
        // Adding first makes the deletion succeed whether or not the table exists.
        let mut text = format!("add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n");
        for (name, set) in &self.sets {
            write_container(&mut text, "set", name, set.kind, set.elements.iter().cloned());
        }
        for (name, map) in &self.maps {
            let elements = map.elements.iter().map(|(key, verdict)| format!("{key} : {verdict}"));
            write_container(&mut text, "map", name, map.kind, elements);
        }
        for (name, chain) in &self.chains {
            let _ = writeln!(text, "  chain {name} {{");
            if let Some(hook) = chain.hook {
                let _ = writeln!(text, "    {hook}");
            }
            for rule in &chain.rules {
                let _ = writeln!(text, "    {rule}");
            }
            text.push_str("  }\n");
        }
        text.push_str("}\n");
        text
    }

    /// The commands that turn `self` into `next`, in an order in which every step is valid.
    pub fn delta(&self, next: &Table) -> TableDelta {
        let mut delta = TableDelta::default();
        for (name, chain) in &next.chains {
            if self.chains.get(name).is_none_or(|old| old.hook != chain.hook) {
                let hook = chain.hook.map(|hook| format!(" {{ {hook} }}")).unwrap_or_default();
                delta.push(format!("add chain {TABLE} {name}{hook}"));
            }
        }
        for (name, set) in next.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name)) {
            delta.push(format!("add set {TABLE} {name} {{ {} }}", set.kind));
        }
        for (name, map) in next.maps.iter().filter(|(name, _)| !self.maps.contains_key(*name)) {
            delta.push(format!("add map {TABLE} {name} {{ {} }}", map.kind));
        }
        self.delta_elements(next, &mut delta);
        for (name, chain) in &next.chains {
            let old = self.chains.get(name);
            if old.is_some_and(|old| old.rules == chain.rules) {
                continue;
            }
            if old.is_some_and(|old| !old.rules.is_empty()) {
                delta.push(format!("flush chain {TABLE} {name}"));
            }
            for rule in &chain.rules {
                delta.push(format!("add rule {TABLE} {name} {rule}"));
            }
        }
        // What is gone is emptied first, so that the gone may refer to one another.
        let gone: Vec<&String> = self.chains.keys().filter(|name| !next.chains.contains_key(*name)).collect();
        for name in &gone {
            delta.push(format!("flush chain {TABLE} {name}"));
        }
        for name in &gone {
            delta.push(format!("delete chain {TABLE} {name}"));
        }
        for name in self.sets.keys().filter(|name| !next.sets.contains_key(*name)) {
            delta.push(format!("delete set {TABLE} {name}"));
        }
        for name in self.maps.keys().filter(|name| !next.maps.contains_key(*name)) {
            delta.push(format!("delete map {TABLE} {name}"));
        }
        delta
    }

    fn delta_elements(&self, next: &Table, delta: &mut TableDelta) {
        let none = BTreeSet::new();
        for (name, set) in &next.sets {
            let old = self.sets.get(name).map_or(&none, |old| &old.elements);
            push_elements(delta, "delete", name, old.difference(&set.elements).cloned());
            push_elements(delta, "add", name, set.elements.difference(old).cloned());
        }
        let none = BTreeMap::new();
        for (name, map) in &next.maps {
            let old = self.maps.get(name).map_or(&none, |old| &old.elements);
            let gone = old.iter().filter(|(key, verdict)| map.elements.get(*key) != Some(verdict));
            push_elements(delta, "delete", name, gone.map(|(key, verdict)| format!("{key} : {verdict}")));
            let new = map.elements.iter().filter(|(key, verdict)| old.get(*key) != Some(verdict));
            push_elements(delta, "add", name, new.map(|(key, verdict)| format!("{key} : {verdict}")));
        }
    }

    /// The names of the kernel objects and how many elements or rules each holds; for `naru doctor` and tests.
    pub fn sizes(&self) -> BTreeMap<&str, usize> {
        let sets = self.sets.iter().map(|(name, set)| (name.as_str(), set.elements.len()));
        let maps = self.maps.iter().map(|(name, map)| (name.as_str(), map.elements.len()));
        let chains = self.chains.iter().map(|(name, chain)| (name.as_str(), chain.rules.len()));
        sets.chain(maps).chain(chains).collect()
    }
}

fn write_container(text: &mut String, what: &str, name: &str, kind: &str, elements: impl Iterator<Item = String>) {
    let _ = write!(text, "  {what} {name} {{ {kind}");
    let elements: Vec<String> = elements.collect();
    if !elements.is_empty() {
        let _ = write!(text, " elements = {{ {} }};", elements.join(", "));
    }
    text.push_str(" }\n");
}

fn push_elements(delta: &mut TableDelta, verb: &str, name: &str, elements: impl Iterator<Item = String>) {
    let elements: Vec<String> = elements.collect();
    if !elements.is_empty() {
        delta.push(format!("{verb} element {TABLE} {name} {{ {} }}", elements.join(", ")));
    }
}
