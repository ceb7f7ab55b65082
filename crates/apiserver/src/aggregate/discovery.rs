//! Discovery of everything: this server's kinds with those of further servers among them. Pure but for where it looks.

use naru_api::{Registry, discovery};
use serde_json::{Value, json};

use super::priority;
use super::remote::Remote;
use crate::serving::Serving;
use crate::state::Core;

/// A group with its versions and their priorities.
struct Group {
    name: String,
    /// That of its most important version.
    priority: i64,
    versions: Vec<(String, i64)>,
}

/// The servers whose groups and versions nobody here answers for.
fn others<T>(core: &Core, serving: &Serving, of: impl Fn(&Remote) -> T) -> Vec<T> {
    let remotes = core.aggregate.remotes.load();
    let foreign = |remote: &&std::sync::Arc<Remote>| !serving.routes.serves(&remote.spec.group, &remote.spec.version);
    remotes.iter().filter(foreign).map(|remote| of(remote)).collect()
}

/// `/apis`: all groups.
pub(crate) fn groups(core: &Core, serving: &Serving) -> Value {
    let mut document = discovery::api_group_list(&serving.registry);
    let others = others(core, serving, |remote| remote.spec.clone());
    if others.is_empty() {
        return document;
    }
    let others = others
        .iter()
        .map(|spec| (spec.group.as_str(), spec.version.as_str(), spec.group_priority, spec.version_priority));
    let groups = merge(&serving.registry, others);
    document["groups"] = groups.iter().map(|group| group.entry()).collect();
    document
}

/// `/apis/{group}`: one group; `None` where nobody serves it.
pub(crate) fn group(core: &Core, serving: &Serving, name: &str) -> Option<Value> {
    if others(core, serving, |remote| remote.spec.group == name).contains(&true) {
        let all = groups(core, serving);
        let mut found = all["groups"].as_array()?.iter().find(|group| group["name"] == name)?.clone();
        found["kind"] = "APIGroup".into();
        found["apiVersion"] = "v1".into();
        return Some(found);
    }
    discovery::api_group(&serving.registry, name)
}

/// `/apis` in the aggregated form.
pub(crate) fn list(core: &Core, serving: &Serving) -> Value {
    let mut document = discovery::aggregated(&serving.registry, false);
    let others = others(core, serving, |remote| (remote.spec.clone(), core.aggregate.found(&remote.spec.name)));
    if others.is_empty() {
        return document;
    }
    let versions = others.iter().map(|(spec, found)| {
        let resources = found.as_ref().and_then(|found| found.resources.clone()).unwrap_or_default();
        let fresh = found.as_ref().is_some_and(|found| found.fresh);
        let freshness = if fresh { "Current" } else { "Stale" };
        let mut told = json!({"version": spec.version, "freshness": freshness});
        if !resources.is_empty() {
            told["resources"] = Value::Array(resources.to_vec());
        }
        (spec.group.clone(), told)
    });
    let mut told: Vec<(String, Value)> = versions.collect();
    for item in document["items"].as_array().into_iter().flatten() {
        let group = item["metadata"]["name"].as_str().unwrap_or_default();
        let versions = item["versions"].as_array().into_iter().flatten();
        told.extend(versions.map(|version| (group.to_owned(), version.clone())));
    }
    let others = others
        .iter()
        .map(|(spec, _)| (spec.group.as_str(), spec.version.as_str(), spec.group_priority, spec.version_priority));
    let items = merge(&serving.registry, others).into_iter().map(|group| {
        let of = |version: &str| {
            let found = told.iter().find(|(name, told)| *name == group.name && told["version"] == version);
            found.map_or(Value::Null, |(_, told)| told.clone())
        };
        let versions: Vec<Value> = group.versions.iter().map(|(version, _)| of(version)).collect();
        json!({"metadata": {"name": group.name}, "versions": versions})
    });
    document["items"] = items.collect();
    document
}

/// The groups of a registry and of others, in the order in which they are told.
fn merge<'a>(registry: &Registry, others: impl Iterator<Item = (&'a str, &'a str, i64, i64)>) -> Vec<Group> {
    let own = registry.group_versions().into_iter().map(|(group, version)| {
        let (of_group, of_version) = priority::of(&group, &version);
        (group, version, of_group, of_version)
    });
    let others = others
        .map(|(group, version, of_group, of_version)| (group.to_owned(), version.to_owned(), of_group, of_version));
    let mut groups: Vec<Group> = Vec::new();
    for (name, version, of_group, of_version) in own.chain(others).filter(|(name, ..)| !name.is_empty()) {
        let at = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            groups.push(Group { name: name.clone(), priority: of_group, versions: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.priority = group.priority.max(of_group);
        group.versions.push((version, of_version));
    }
    groups.iter_mut().for_each(|group| priority::sort(&mut group.versions));
    groups.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
    groups
}

// === impl Group ===

impl Group {
    fn entry(&self) -> Value {
        let version = |(version, _): &(String, i64)| json!({"groupVersion": format!("{}/{version}", self.name), "version": version});
        let versions: Vec<Value> = self.versions.iter().map(version).collect();
        json!({"name": self.name, "preferredVersion": versions.first(), "versions": versions})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: &[Group]) -> Vec<&str> {
        groups.iter().map(|group| group.name.as_str()).collect()
    }

    #[test]
    fn without_others_nothing_changes() {
        let registry = Registry::builtin();
        let groups = merge(&registry, std::iter::empty());
        let told: Vec<Value> = groups.iter().map(Group::entry).collect();
        assert_eq!(Value::Array(told), discovery::api_group_list(&registry)["groups"]);
    }

    #[test]
    fn others_come_where_their_priority_puts_them() {
        let others = [
            ("late.example.com", "v1", 10, 1),
            ("soon.example.com", "v1", 17_750, 1),
            ("late.example.com", "v2", 20, 5),
            ("apps", "v2", 1, 100),
        ];
        let groups = merge(&Registry::builtin(), others.into_iter());
        let names = names(&groups);
        assert_eq!(names[..4], ["apiregistration.k8s.io", "apps", "events.k8s.io", "soon.example.com"]);
        assert_eq!(names.last(), Some(&"late.example.com"));
        let of = |name: &str| groups.iter().find(|group| group.name == name).map(Group::entry).expect("there");
        assert_eq!(of("late.example.com")["preferredVersion"]["version"], "v2");
        assert_eq!(of("apps")["preferredVersion"]["groupVersion"], "apps/v2");
        assert_eq!(of("apps")["versions"].as_array().map(Vec::len), Some(2));
    }
}
