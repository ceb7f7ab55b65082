//! The table of kinds against what Kubernetes serves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::discovery;

/// What a default Kubernetes 1.36 serves as stable.
const SERVED: &str = include_str!("served.txt");

const ALL: &str = "create,delete,deletecollection,get,list,patch,update,watch";

/// One line a resource and subresource: all that the table says of it.
fn expected() -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut parent = String::new();
    for line in SERVED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            lines.insert(format!("{parent}/{}", words[0]), words[1].to_owned());
            continue;
        }
        parent = format!("{} {}", words[0], words[1]);
        let verbs = if words[4] == "all" { ALL } else { words[4] };
        let mut said = vec![words[2], words[3], verbs];
        said.extend(&words[5..]);
        lines.insert(parent.clone(), said.join(" "));
    }
    lines
}

fn joined(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The same of what discovery tells.
fn told() -> BTreeMap<String, String> {
    let registry = Registry::builtin();
    let mut lines = BTreeMap::new();
    for (group, version) in registry.group_versions().into_iter().filter(|(group, _)| group != "naru.io") {
        let list = discovery::api_resource_list(&registry, &group, &version).expect("served");
        let of = list["groupVersion"].as_str().expect("text");
        for resource in list["resources"].as_array().expect("resources") {
            let name = resource["name"].as_str().expect("a name");
            let verbs = joined(&resource["verbs"]);
            if name.contains('/') {
                lines.insert(format!("{of} {name}"), verbs);
                continue;
            }
            let scope = if resource["namespaced"] == true { "namespaced" } else { "cluster" };
            let mut said = format!("{} {scope} {verbs}", resource["kind"].as_str().expect("a kind"));
            for (word, field) in [("short", "shortNames"), ("in", "categories")] {
                if resource.get(field).is_some() {
                    said.push_str(&format!(" {word}={}", joined(&resource[field])));
                }
            }
            lines.insert(format!("{of} {name}"), said);
        }
    }
    lines
}

#[test]
fn what_kubernetes_serves_is_served_with_the_same_names_and_verbs() {
    let (expected, told) = (expected(), told());
    for (resource, said) in &expected {
        assert_eq!(told.get(resource), Some(said), "{resource}");
    }
    let more: Vec<&String> = told.keys().filter(|resource| !expected.contains_key(*resource)).collect();
    assert!(more.is_empty(), "not in Kubernetes: {more:?}");
}

#[test]
fn every_short_name_means_one_resource() {
    let registry = Registry::builtin();
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    for kind in registry.iter().filter(|kind| kind.stored_as.is_none()) {
        for name in &kind.short_names {
            let before = taken.insert(name, kind.group_resource());
            assert_eq!(before, None, "{name}");
        }
        assert_eq!(registry.find(&kind.plural).map(|k| k.plural.clone()), Some(kind.plural.clone()));
    }
    let autoscaler = registry.find("hpa").expect("an autoscaler");
    assert_eq!((autoscaler.version.as_ref(), autoscaler.collection()), ("v2", "horizontalpodautoscalers.autoscaling"));
    let older = registry.by_kind("autoscaling", "v1", "HorizontalPodAutoscaler").expect("the older version");
    assert_eq!(older.collection(), autoscaler.collection());
}
