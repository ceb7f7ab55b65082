use super::*;

fn document(group: &str, version: &str) -> Value {
    let bytes = v3(&Registry::builtin(), group, version).expect("a document");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Every `$ref` below a value.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let registry = Registry::builtin();
    for (group, version) in registry.group_versions() {
        let document = document(&group, &version);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty(), "{group}");
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a reference");
            assert!(document["components"]["schemas"].get(name).is_some(), "{group}: {name}");
        }
    }
    let document: Value = serde_json::from_slice(&v2(&registry)).expect("JSON");
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let name = reference.strip_prefix("#/definitions/").expect("a reference");
        assert!(document["definitions"].get(name).is_some(), "{name}");
    }
}

#[test]
fn what_clients_look_for() {
    let core = document("", "v1");
    let pods = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
    for verb in ["put", "patch"] {
        let parameters = pods[verb]["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"), "{verb}");
        assert_eq!(pods[verb]["x-kubernetes-group-version-kind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
    }
    assert!(pods["patch"]["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    let create = &core["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"]["parameters"];
    assert!(create.as_array().into_iter().flatten().any(|p| p["name"] == "fieldValidation"));
    let schemas = &core["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    for (what, text) in [("a type", &pod["description"]), ("a field", &containers["description"])] {
        assert!(text.as_str().is_some_and(|t| t.len() > 20), "{what} has prose");
    }
    let scale =
        document("apps", "v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"].clone();
    assert_eq!(scale["put"]["x-kubernetes-group-version-kind"]["kind"], "Scale");
    let own = document("naru.io", "v1");
    assert!(
        own["components"]["schemas"]["io.naru.v1.NetworkSpec"]["properties"]["internal"]["description"].is_string()
    );
    assert!(v3(&Registry::builtin(), "nothing.io", "v1").is_none());
}

#[test]
fn the_index_names_every_document() {
    let registry = Registry::builtin();
    let index = v3_index(&registry);
    for (group, version) in registry.group_versions() {
        let of = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = index["paths"][&of]["serverRelativeURL"].as_str().expect("a link");
        assert_eq!(url, format!("/openapi/v3/{of}?hash={}", hash(&registry, &group, &version)));
    }
    let more =
        Kind::new("naru.io", "v1", "Extra", "extras", crate::kind::SchemaRef::Builtin("io.naru.v1.Network".into()));
    let more = registry.with(more).expect("a registry");
    assert_ne!(hash(&registry, "naru.io", "v1"), hash(&more, "naru.io", "v1"));
    assert_eq!(hash(&registry, "apps", "v1"), hash(&more, "apps", "v1"));
}

#[test]
fn operations_have_names_of_their_own() {
    let mut seen = BTreeSet::new();
    let registry = Registry::builtin();
    for (group, version) in registry.group_versions() {
        let document = document(&group, &version);
        for item in document["paths"].as_object().into_iter().flat_map(|m| m.values()) {
            for operation in item.as_object().into_iter().flat_map(|m| m.values()) {
                if let Some(id) = operation.get("operationId").and_then(Value::as_str) {
                    assert!(seen.insert(id.to_owned()), "{id}");
                }
            }
        }
    }
}
