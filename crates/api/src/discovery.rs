//! Discovery: what is served, told to clients.
//!
//! Both forms that clients ask for are made from the registry alone: one list a group and version, and the aggregated
//! documents that newer clients fetch in one request.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use naru_crd::version_order;
use serde_json::{Map, Value, json};

use crate::kind::{Kind, Registry, Subresource, form};

/// `/api`: the versions of the core group. `server` is the address that clients are told (`host:port`).
pub fn api_versions(_registry: &Registry, server: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    })
}

/// `/apis`: the groups.
pub fn api_group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> = groups(registry).iter().map(|(group, versions)| group_entry(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`: one group; `None` when it is not served.
pub fn api_group(registry: &Registry, group: &str) -> Option<Value> {
    let (group, versions) = groups(registry).into_iter().find(|(g, _)| g == group)?;
    let mut entry = group_entry(&group, &versions);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// `/api/v1`, `/apis/{group}/{version}`: the resources of one group and version; `None` when it is not served.
pub fn api_resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in kinds(registry, group, version) {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|s| subresource(kind, s)));
    }
    if resources.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

/// The aggregated form (`apidiscovery.k8s.io/v2`) of `/api` (`core`) or `/apis`.
pub fn aggregated(registry: &Registry, core: bool) -> Value {
    let all = if core { vec![(String::new(), vec!["v1".to_owned()])] } else { groups(registry) };
    let items = all.iter().map(|(group, versions)| {
        let versions = versions.iter().map(|version| {
            let resources: Vec<Value> =
                kinds(registry, group, version).into_iter().map(|k| aggregated_resource(k)).collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        });
        let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
        json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
    });
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// The order in which Kubernetes tells its groups, by their priority. Clients that look for a name take the first group
/// that has it. All other groups follow, by name.
const ORDER: &[&str] = &[
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// The named groups with their versions, the one to be preferred first.
fn groups(registry: &Registry) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (group, version) in registry.group_versions().into_iter().filter(|(g, _)| !g.is_empty()) {
        match groups.last_mut() {
            Some((last, versions)) if *last == group => versions.push(version),
            _ => groups.push((group, vec![version])),
        }
    }
    groups.iter_mut().for_each(|(_, versions)| versions.sort_by(|a, b| version_order(a, b)));
    groups.sort_by_key(|(group, _)| ORDER.iter().position(|known| known == group).unwrap_or(ORDER.len()));
    groups
}

/// The kinds of one group and version by their plurals.
fn kinds<'r>(registry: &'r Registry, group: &str, version: &str) -> Vec<&'r Arc<Kind>> {
    let mut kinds: Vec<&Arc<Kind>> =
        registry.iter().filter(|kind| kind.group == group && kind.version == version).collect();
    kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
    kinds
}

/// A name for the form in which objects are stored: when it changes, clients that migrate objects have work to do.
fn storage_version_hash(kind: &Kind) -> Option<String> {
    if !kind.is_stored() {
        return None;
    }
    let stored = match &kind.stored_as {
        Some(stored) => format!("{}/{}/{}", stored.group, stored.version, stored.kind),
        None => format!("{}/{}/{}", kind.group, kind.version, kind.kind),
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, stored.as_bytes());
    Some(STANDARD.encode(&digest.as_ref()[..8]))
}

fn group_entry(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let list: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "preferredVersion": list.first(), "versions": list})
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced(), "kind": kind.kind,
        "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if let Some(hash) = storage_version_hash(kind) {
        entry["storageVersionHash"] = hash.into();
    }
    entry
}

fn subresource(kind: &Kind, subresource: Subresource) -> Value {
    let shape = shape(kind, subresource);
    let mut entry = json!({
        "name": format!("{}/{}", kind.plural, subresource.path()), "singularName": "",
        "namespaced": kind.is_namespaced(), "kind": shape.kind, "verbs": shape.verbs,
    });
    if let Some(form) = shape.form {
        entry["group"] = json!(form.group);
        entry["version"] = json!(form.version);
    }
    entry
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "resource": kind.plural, "singularResource": kind.singular,
        "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" }, "verbs": kind.verbs(),
        "responseKind": response_kind(kind),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|s| {
            let shape = shape(kind, s);
            let response = match shape.form {
                Some(form) => response_kind(form),
                None => json!({"group": kind.group, "version": kind.version, "kind": shape.kind}),
            };
            json!({"subresource": s.path(), "responseKind": response, "verbs": shape.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = Value::Array(subresources);
    }
    entry
}

fn response_kind(kind: &Kind) -> Value {
    let mut map = Map::new();
    map.insert("group".to_owned(), json!(kind.group));
    map.insert("version".to_owned(), json!(kind.version));
    map.insert("kind".to_owned(), json!(kind.kind));
    Value::Object(map)
}

/// What a subresource answers with, and to which verbs.
struct Shape {
    kind: String,
    verbs: &'static [&'static str],
    form: Option<&'static Kind>,
}

fn shape(kind: &Kind, subresource: Subresource) -> Shape {
    const READ_WRITE: &[&str] = &["get", "patch", "update"];
    let own = |verbs| Shape { kind: kind.kind.to_string(), verbs, form: None };
    let form = |form: &'static Kind, verbs| Shape { kind: form.kind.to_string(), verbs, form: Some(form) };
    let options = |name: &str, verbs| Shape { kind: name.to_owned(), verbs, form: None };
    match subresource {
        Subresource::Status | Subresource::EphemeralContainers | Subresource::Resize | Subresource::Approval => {
            own(READ_WRITE)
        }
        Subresource::Log => own(&["get"]),
        Subresource::Finalize => own(&["update"]),
        Subresource::Scale => form(form::scale(), READ_WRITE),
        Subresource::Binding => form(form::binding(), &["create"]),
        Subresource::Eviction => form(form::eviction(), &["create"]),
        Subresource::Token => form(form::token_request(), &["create"]),
        Subresource::Exec => options("PodExecOptions", &["create", "get"]),
        Subresource::Attach => options("PodAttachOptions", &["create", "get"]),
        Subresource::PortForward => options("PodPortForwardOptions", &["create", "get"]),
        Subresource::Proxy => {
            options(&format!("{}ProxyOptions", kind.kind), &["create", "delete", "get", "patch", "update"])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_same_resources() {
        let registry = Registry::builtin();
        let (core, groups) = (aggregated(&registry, true), aggregated(&registry, false));
        for (group, version) in registry.group_versions() {
            let list = api_resource_list(&registry, &group, &version).expect("a list");
            let plain = list["resources"].as_array().expect("resources");
            let document = if group.is_empty() { &core } else { &groups };
            let mut entry = document["items"].as_array().into_iter().flatten();
            let entry = entry.find(|i| i["metadata"]["name"].as_str().unwrap_or_default() == group).expect("a group");
            let mut versions = entry["versions"].as_array().into_iter().flatten();
            let versioned = versions.find(|v| v["version"] == version.as_str()).expect("a version");
            let mut names = Vec::new();
            for resource in versioned["resources"].as_array().into_iter().flatten() {
                let name = resource["resource"].as_str().unwrap_or_default();
                names.push(name.to_owned());
                for sub in resource["subresources"].as_array().into_iter().flatten() {
                    names.push(format!("{name}/{}", sub["subresource"].as_str().unwrap_or_default()));
                }
            }
            let plain: Vec<&str> = plain.iter().filter_map(|r| r["name"].as_str()).collect();
            assert_eq!(names, plain, "{group}/{version}");
        }
        assert!(api_resource_list(&registry, "nothing.io", "v1").is_none());
    }

    #[test]
    fn what_kubectl_reads() {
        let registry = Registry::builtin();
        let apps = api_resource_list(&registry, "apps", "v1").expect("apps");
        let find =
            |name: &str| apps["resources"].as_array().into_iter().flatten().find(|r| r["name"] == name).expect("there");
        assert_eq!(find("deployments")["shortNames"], json!(["deploy"]));
        assert_eq!(find("deployments")["categories"], json!(["all"]));
        assert_eq!(find("deployments/scale")["group"], "autoscaling");
        let group = api_group(&registry, "apps").expect("apps");
        assert_eq!(group["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!(api_versions(&registry, "x:1")["versions"], json!(["v1"]));
        let names: Vec<Value> =
            api_group_list(&registry)["groups"].as_array().into_iter().flatten().map(|g| g["name"].clone()).collect();
        assert!(names.contains(&json!("naru.io")) && !names.contains(&json!("")));
    }

    #[test]
    fn groups_and_versions_come_in_the_order_of_kubernetes() {
        let registry = Registry::builtin();
        let list = api_group_list(&registry);
        let names: Vec<&str> =
            list["groups"].as_array().into_iter().flatten().filter_map(|g| g["name"].as_str()).collect();
        assert_eq!(names[..ORDER.len()], *ORDER);
        assert_eq!(names[ORDER.len()..], ["naru.io"]);
        let autoscaling = api_group(&registry, "autoscaling").expect("served");
        assert_eq!(autoscaling["preferredVersion"]["groupVersion"], "autoscaling/v2");
        assert_eq!(autoscaling["versions"][1]["version"], "v1");
        let aggregated = aggregated(&registry, false);
        let told: Vec<&str> = aggregated["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|g| g["metadata"]["name"].as_str())
            .collect();
        assert_eq!(told, names);
    }

    #[test]
    fn the_stored_form_has_a_name() {
        let registry = Registry::builtin();
        let hash = |group: &str, version: &str, name: &str| {
            let list = api_resource_list(&registry, group, version).expect("served");
            let mut resources = list["resources"].as_array().into_iter().flatten();
            resources.find(|r| r["name"] == name).expect("there").get("storageVersionHash").cloned()
        };
        // As a real cluster tells them.
        assert_eq!(hash("", "v1", "pods"), Some(json!("xPOwRZ+Yhw8=")));
        assert_eq!(hash("events.k8s.io", "v1", "events"), hash("", "v1", "events"));
        assert_eq!(
            hash("autoscaling", "v1", "horizontalpodautoscalers"),
            hash("autoscaling", "v2", "horizontalpodautoscalers")
        );
        assert_eq!(hash("", "v1", "pods/log"), None);
        assert_eq!(hash("", "v1", "bindings"), None);
    }
}
