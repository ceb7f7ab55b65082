use super::*;
use crate::kind::fixture;

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
    let document: Value = serde_json::from_slice(&v2(&registry, &[])).expect("JSON");
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

fn custom_v3(registry: &Registry) -> Value {
    serde_json::from_slice(&v3(registry, fixture::CUSTOM, "v1").expect("a document")).expect("JSON")
}

#[test]
fn custom_kinds_are_described_like_others() {
    let registry = fixture::registry();
    let document = custom_v3(&registry);
    let schemas = &document["components"]["schemas"];
    let gvk = json!({"group": "example.com", "version": "v1", "kind": "CronTab"});
    let object = &schemas["com.example.v1.CronTab"];
    assert_eq!(object["x-kubernetes-group-version-kind"], json!([gvk]));
    assert_eq!(object["description"], "Work by the clock.");
    let spec = &object["properties"]["spec"]["properties"];
    assert_eq!(spec["ports"]["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    assert_eq!(spec["note"], json!({"type": "string", "nullable": true}));
    let list = &schemas["com.example.v1.CronTabs"];
    assert_eq!(list["x-kubernetes-group-version-kind"][0]["kind"], "CronTabs");
    assert_eq!(list["properties"]["items"]["items"]["allOf"][0]["$ref"], "#/components/schemas/com.example.v1.CronTab");
    let metadata = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"];
    assert!(metadata["properties"]["labels"]["description"].is_string());
    assert!(schemas.get("io.naru.CustomObject").is_none());
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").expect("a reference");
        assert!(schemas.get(name).is_some(), "{name}");
    }
    let everywhere = "/apis/example.com/v1/crontabs";
    let all = "/apis/example.com/v1/namespaces/{namespace}/crontabs";
    let one = "/apis/example.com/v1/namespaces/{namespace}/crontabs/{name}";
    let status = "/apis/example.com/v1/namespaces/{namespace}/crontabs/{name}/status";
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.keys().collect::<Vec<_>>(), [everywhere, all, one, status]);
    let patch = &paths[one]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(patch["operationId"], "patchExampleComV1NamespacedCronTab");
    assert_eq!(patch["tags"], json!(["exampleCom_v1"]));
    let media = patch["requestBody"]["content"].as_object().expect("media types");
    let languages = ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
    assert_eq!(media.keys().collect::<Vec<_>>(), languages);
    assert!(patch["parameters"].as_array().into_iter().flatten().any(|p| p["name"] == "fieldValidation"));
}

#[test]
fn version_two_tells_custom_kinds_as_far_as_it_can() {
    let registry = fixture::registry();
    let document: Value = serde_json::from_slice(&v2(&registry, &[])).expect("JSON");
    let object = &document["definitions"]["com.example.v1.CronTab"];
    assert_eq!(object["properties"]["spec"]["properties"]["note"], json!({}));
    assert_eq!(
        object["properties"]["metadata"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    let create = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/crontabs"]["post"];
    assert_eq!(create["responses"]["200"]["schema"]["$ref"], "#/definitions/com.example.v1.CronTab");
    let bytes = v2_protobuf(&registry, &[]);
    for name in ["com.example.v1.CronTab", "com.example.v1.CronTabs", "Work by the clock."] {
        assert!(memchr::memmem::find(&bytes, name.as_bytes()).is_some(), "{name}");
    }
}

#[test]
fn a_changed_definition_changes_the_name_of_its_document_only() {
    let before = fixture::registry();
    let changed = fixture::changed(|version| version["schema"]["openAPIV3Schema"]["description"] = json!("Other."));
    let after = before.without(fixture::CUSTOM, "crontabs").with(changed).expect("a registry");
    assert_ne!(hash(&before, fixture::CUSTOM, "v1"), hash(&after, fixture::CUSTOM, "v1"));
    assert_eq!(hash(&before, "apps", "v1"), hash(&after, "apps", "v1"));
    assert_eq!(custom_v3(&after)["components"]["schemas"]["com.example.v1.CronTab"]["description"], "Other.");
}

#[test]
fn where_anything_may_stand_version_two_names_nothing() {
    let open = fixture::changed(|version| {
        version["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    });
    let registry = Registry::builtin().with(open).expect("a registry");
    let document: Value = serde_json::from_slice(&v2(&registry, &[])).expect("JSON");
    let object = &document["definitions"]["com.example.v1.CronTab"];
    assert!(object.get("properties").is_none() && object["type"] == "object");
    assert!(
        custom_v3(&registry)["components"]["schemas"]["com.example.v1.CronTab"]["properties"]["metadata"].is_object()
    );
}

#[test]
fn what_others_say_is_told_beside_ours() {
    let registry = Registry::builtin();
    let theirs = json!({
        "paths": {"/apis/far.example.com/v1/flunders": {"get": {"operationId": "listFlunders"}},
            "/api/v1/pods": {"get": {"operationId": "theirs"}}},
        "definitions": {"far.Flunder": {"type": "object"}, "io.k8s.api.core.v1.Pod": {"description": "theirs"}},
    });
    let part = |name: &str| theirs[name].as_object().expect("an object");
    let foreign = Foreign { paths: part("paths"), definitions: part("definitions") };
    let document: Value = serde_json::from_slice(&v2(&registry, &[foreign])).expect("JSON");
    assert_eq!(
        document["paths"]["/apis/far.example.com/v1/flunders"],
        theirs["paths"]["/apis/far.example.com/v1/flunders"]
    );
    assert_eq!(document["definitions"]["far.Flunder"]["type"], "object");
    assert_ne!(document["paths"]["/api/v1/pods"]["get"]["operationId"], "theirs");
    assert_ne!(document["definitions"]["io.k8s.api.core.v1.Pod"]["description"], "theirs");
    let protobuf = v2_protobuf(&registry, &[foreign]);
    let told = |text: &[u8]| protobuf.windows(text.len()).any(|window| window == text);
    assert!(told(b"far.Flunder") && told(b"listFlunders") && !told(b"theirs"));
}
