use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kind::{Registry, fixture};

mod kept;
mod life;

fn kind(name: &str) -> std::sync::Arc<Kind> {
    Registry::builtin().find(name).unwrap_or_else(|| panic!("{name}")).clone()
}

/// Objects of one version.
fn only(_: &Value, _: &str) -> Option<(Arc<Kind>, Value)> {
    None
}

fn apply(kind: &Kind, live: Option<&Value>, config: &Value, writer: Writer<'_>, force: bool) -> Result<Value, Status> {
    super::apply(kind, live, config, writer, force, &only)
}

fn track(kind: &Kind, old: &Value, new: &mut Value, writer: Writer<'_>) {
    let Some(mut owners) = Owners::from_json(&old["metadata"]["managedFields"]) else { return };
    owners.track(kind, old, new, writer, &only);
    meta::set(new, "managedFields", owners.to_json());
}

fn by(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: Timestamp::UNIX_EPOCH }
}

fn deployment(replicas: Option<i64>, containers: Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"template": {"spec": {"containers": containers}}}});
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

fn owned<'o>(object: &'o Value, manager: &str) -> &'o Value {
    let list = object["metadata"]["managedFields"].as_array().expect("entries");
    &list.iter().find(|e| e["manager"] == manager).unwrap_or_else(|| panic!("{manager} owns nothing"))["fieldsV1"]
}

#[test]
fn the_first_apply_makes_the_object_and_owns_it() {
    let config = deployment(Some(2), json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]));
    let made = apply(&kind("deployments"), None, &config, by("me"), false).expect("applied");
    assert_eq!(without_managers(&made), config);
    assert_eq!(
        owned(&made, "me"),
        &json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}, "f:ports": {
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}})
    );
    // The same again changes nothing, not even the time.
    let later = Writer { now: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(9), ..by("me") };
    assert_eq!(apply(&kind("deployments"), Some(&made), &config, later, false).expect("applied"), made);
}

#[test]
fn what_a_writer_no_longer_names_goes() {
    let deployments = kind("deployments");
    let first = deployment(Some(2), json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]));
    let made = apply(&deployments, None, &first, by("me"), false).expect("applied");
    let mut second = deployment(None, json!([{"name": "a", "image": "z"}]));
    second["metadata"] = json!({"name": "web"});
    let result = apply(&deployments, Some(&made), &second, by("me"), false).expect("applied");
    assert_eq!(without_managers(&result), second);
}

#[test]
fn what_others_own_stays_and_conflicts() {
    let deployments = kind("deployments");
    let mine = deployment(Some(2), json!([{"name": "a", "image": "x"}]));
    let made = apply(&deployments, None, &mine, by("me"), false).expect("applied");
    // Another writer adds a container and agrees on the number.
    let theirs = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "b", "image": "y"}]}}}});
    let both = apply(&deployments, Some(&made), &theirs, by("them"), false).expect("applied");
    assert_eq!(both["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(2));
    // A field that both want otherwise is refused, with its owner.
    let wish = deployment(Some(5), json!([{"name": "a", "image": "x"}]));
    let error = apply(&deployments, Some(&both), &wish, by("me"), false).expect_err("refused");
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"them\": .spec.replicas");
    assert_eq!(error.code(), 409);
    assert_eq!(error.details.as_ref().map(|d| d.causes[0].reason.as_str()), Some("FieldManagerConflict"));
    // Force takes it over.
    let forced = apply(&deployments, Some(&both), &wish, by("me"), true).expect("applied");
    assert_eq!(forced["spec"]["replicas"], 5);
    assert!(owned(&forced, "them")["f:spec"].get("f:replicas").is_none());
    // Giving a shared field up leaves it to the other.
    let given_up = deployment(None, json!([{"name": "a", "image": "x"}]));
    let result = apply(&deployments, Some(&both), &given_up, by("me"), false).expect("applied");
    assert_eq!(result["spec"]["replicas"], 2);
}

#[test]
fn what_was_there_before_is_owned() {
    let deployments = kind("deployments");
    let live = deployment(Some(2), json!([{"name": "a", "image": "x"}]));
    let same = deployment(Some(2), json!([{"name": "a", "image": "x"}]));
    assert!(apply(&deployments, Some(&live), &same, by("me"), false).is_ok());
    let other = deployment(Some(3), json!([{"name": "a", "image": "x"}]));
    let error = apply(&deployments, Some(&live), &other, by("me"), false).expect_err("refused");
    assert!(error.message.contains("conflict with \"before-first-apply\""), "{error}");
}

#[test]
fn conflicts_name_every_writer_and_the_way_it_wrote() {
    let deployments = kind("deployments");
    let config = deployment(Some(2), json!([{"name": "a", "image": "x"}]));
    let made = apply(&deployments, None, &config, by("me"), false).expect("applied");
    let mut scaled = made.clone();
    scaled["spec"]["replicas"] = json!(3);
    let scaler = Writer { subresource: "scale", ..by("scaler") };
    track(&deployments, &made, &mut scaled, scaler);
    let mut changed = scaled.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("y");
    track(&deployments, &scaled, &mut changed, by("editor"));
    let error = apply(&deployments, Some(&changed), &config, by("me"), false).expect_err("refused");
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"editor\" using apps/v1:\n\
         - .spec.template.spec.containers[name=\"a\"].image\n\
         conflicts with \"scaler\" with subresource \"scale\" using apps/v1:\n- .spec.replicas"
    );
    let causes = &error.details.as_ref().expect("details").causes;
    let of = |field: &str| causes.iter().find(|c| c.field == field).map(|c| c.message.as_str());
    assert_eq!(of(".spec.replicas"), Some("conflict with \"scaler\" with subresource \"scale\" using apps/v1"));
}

#[test]
fn ordinary_writes_are_tracked_where_owners_are_known() {
    let deployments = kind("deployments");
    let config = deployment(Some(2), json!([{"name": "a", "image": "x"}]));
    let mut never = config.clone();
    track(&deployments, &config, &mut never, by("scaler"));
    assert_eq!(never, config);
    let made = apply(&deployments, None, &config, by("me"), false).expect("applied");
    let mut scaled = made.clone();
    scaled["spec"]["replicas"] = json!(7);
    track(&deployments, &made, &mut scaled, by("scaler"));
    assert_eq!(owned(&scaled, "scaler"), &json!({"f:spec": {"f:replicas": {}}}));
    assert!(owned(&scaled, "me")["f:spec"].get("f:replicas").is_none());
    assert!(apply(&deployments, Some(&scaled), &config, by("me"), false).is_err());
    let without = deployment(None, json!([{"name": "a", "image": "x"}]));
    let result = apply(&deployments, Some(&scaled), &without, by("me"), false).expect("applied");
    assert_eq!(result["spec"]["replicas"], 7);
}

#[test]
fn wholes_sets_and_status() {
    let services = kind("services");
    let a = json!({"metadata": {"name": "s", "finalizers": ["x/a"]}, "spec": {"selector": {"a": "1", "b": "2"}}, "status": {"loadBalancer": {}}});
    let made = apply(&services, None, &a, by("me"), false).expect("applied");
    assert!(made.get("status").is_none());
    assert_eq!(owned(&made, "me")["f:spec"], json!({"f:selector": {}}));
    assert_eq!(owned(&made, "me")["f:metadata"], json!({"f:finalizers": {"v:\"x/a\"": {}}}));
    let b = json!({"metadata": {"name": "s", "finalizers": ["x/b"]}, "spec": {"selector": {"c": "3"}}});
    let result = apply(&services, Some(&made), &b, by("me"), false).expect("applied");
    assert_eq!((&result["spec"]["selector"], &result["metadata"]["finalizers"]), (&json!({"c": "3"}), &json!(["x/b"])));
    let through = Writer { subresource: "status", ..by("me") };
    let status = json!({"metadata": {"name": "s", "labels": {"x": "y"}}, "spec": {"selector": {}}, "status": {"conditions": []}});
    let result = apply(&services, Some(&result), &status, through, false).expect("applied");
    assert_eq!(result["spec"]["selector"], json!({"c": "3"}));
    assert!(result["metadata"].get("labels").is_none());
    let managed = json!({"metadata": {"name": "s", "managedFields": []}});
    assert_eq!(apply(&services, None, &managed, by("me"), false).expect_err("refused").code(), 400);
}

#[test]
fn custom_objects_are_shared_as_their_own_schema_says() {
    let kind = fixture::kind(&fixture::version());
    let config = fixture::object(
        &json!({"image": "a", "ports": [{"port": 80, "name": "web"}], "tags": ["x"], "steps": ["1", "2"],
        "whole": {"k": "v"}, "free": {"deep": {"a": 1, "list": [1]}},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"l": "1"}, "finalizers": ["x/y"]}}}),
    );
    let made = apply(&kind, None, &config, by("me"), false).expect("applied");
    assert_eq!(without_managers(&made), config);
    let template = json!({"f:apiVersion": {}, "f:kind": {},
        "f:metadata": {"f:labels": {"f:l": {}}, "f:finalizers": {"v:\"x/y\"": {}}}});
    let port = json!({".": {}, "f:port": {}, "f:name": {}});
    assert_eq!(
        owned(&made, "me")["f:spec"],
        json!({"f:image": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": port}, "f:tags": {"v:\"x\"": {}},
            "f:steps": {}, "f:whole": {}, "f:free": {"f:deep": {"f:a": {}, "f:list": {}}}, "f:template": template})
    );
    assert!(owned(&made, "me").get("f:metadata").is_none());
    // Others add to what is shared, and take over what is not.
    let theirs = fixture::object(
        &json!({"ports": [{"port": 80, "protocol": "UDP"}], "tags": ["y"], "free": {"deep": {"b": 2}}}),
    );
    let both = apply(&kind, Some(&made), &theirs, by("them"), false).expect("applied");
    assert_eq!(both["spec"]["ports"].as_array().map(Vec::len), Some(2));
    assert_eq!(both["spec"]["tags"], json!(["x", "y"]));
    assert_eq!(both["spec"]["free"], json!({"deep": {"a": 1, "b": 2, "list": [1]}}));
    for (theirs, path) in [
        (json!({"steps": ["3"]}), ".spec.steps"),
        (json!({"whole": {"k": "v", "m": "n"}}), ".spec.whole"),
        (json!({"free": {"deep": {"list": [1, 2]}}}), ".spec.free.deep.list"),
    ] {
        let error = apply(&kind, Some(&both), &fixture::object(&theirs), by("others"), false).expect_err("refused");
        assert_eq!(error.message, format!("Apply failed with 1 conflict: conflict with \"me\": {path}"));
    }
    // What is no longer named goes, and only that.
    let less = fixture::object(&json!({"image": "a", "tags": ["x"]}));
    let result = apply(&kind, Some(&both), &less, by("me"), false).expect("applied");
    let ports = json!([{"port": 80, "protocol": "UDP"}]);
    assert_eq!(result["spec"], json!({"image": "a", "tags": ["x", "y"], "ports": ports, "free": {"deep": {"b": 2}}}));
}

#[test]
fn a_custom_status_is_applied_apart_where_it_is() {
    let status = |object: &mut Value| object["status"] = json!({"replicas": 1});
    let mut config = fixture::object(&json!({"image": "a"}));
    status(&mut config);
    let apart = fixture::kind(&fixture::version());
    let made = apply(&apart, None, &config, by("me"), false).expect("applied");
    assert!(made.get("status").is_none() && owned(&made, "me").get("f:status").is_none());
    let through = Writer { subresource: "status", ..by("me") };
    let seen = apply(&apart, Some(&made), &config, through, false).expect("applied");
    assert_eq!(seen["status"], json!({"replicas": 1}));
    let together = fixture::changed(|version| version["subresources"] = json!({}));
    let made = apply(&together, None, &config, by("me"), false).expect("applied");
    assert_eq!(owned(&made, "me")["f:status"], json!({"f:replicas": {}}));
}

#[test]
fn ordinary_writes_of_custom_objects_are_tracked() {
    let kind = fixture::kind(&fixture::version());
    let config = fixture::object(&json!({"image": "a", "free": {"x": {"y": 1}}}));
    let made = apply(&kind, None, &config, by("me"), false).expect("applied");
    let mut changed = made.clone();
    changed["spec"]["free"]["x"]["y"] = json!(2);
    changed["spec"]["ports"] = json!([{"port": 1, "protocol": "TCP"}]);
    track(&kind, &made, &mut changed, by("editor"));
    let ports = json!({".": {}, "f:port": {}, "f:protocol": {}});
    assert_eq!(
        owned(&changed, "editor")["f:spec"],
        json!({"f:free": {"f:x": {"f:y": {}}},
            "f:ports": {".": {}, "k:{\"port\":1,\"protocol\":\"TCP\"}": ports}})
    );
    assert_eq!(owned(&changed, "me")["f:spec"], json!({"f:image": {}}));
}

fn config() -> impl Strategy<Value = Value> {
    let labels = proptest::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let containers = proptest::collection::btree_map("[a-c]", proptest::option::of("[x-z]"), 0..3);
    (labels, containers, proptest::option::of(0..3i64)).prop_map(|(labels, containers, replicas)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, image)| match image {
                Some(image) => json!({"name": name, "image": image}),
                None => json!({"name": name}),
            })
            .collect();
        let mut object = deployment(replicas, json!(containers));
        object["metadata"]["labels"] = json!(labels);
        object
    })
}

fn custom_config() -> impl Strategy<Value = Value> {
    let tags = proptest::collection::btree_set("[a-c]", 0..3);
    let ports = proptest::collection::btree_map(1..4i64, proptest::option::of("[x-z]"), 0..3);
    let free = proptest::collection::btree_map("[a-c]", proptest::collection::btree_map("[a-b]", 0..2i64, 0..2), 0..3);
    (proptest::option::of("[x-z]"), tags, ports, free).prop_map(|(image, tags, ports, free)| {
        let ports = ports.into_iter().map(|(port, name)| match name {
            Some(name) => json!({"port": port, "protocol": "TCP", "name": name}),
            None => json!({"port": port, "protocol": "TCP"}),
        });
        let mut spec = json!({"tags": tags, "ports": ports.collect::<Vec<_>>(), "free": free});
        if let Some(image) = image {
            spec["image"] = image.into();
        }
        fixture::object(&spec)
    })
}

/// An object without what is empty: taking the last item away also takes the list.
fn lean(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(k, v)| (k.clone(), lean(v)));
            Value::Object(kept.filter(|(_, v)| *v != json!({}) && *v != json!([])).collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn one_writer_gets_what_it_last_said(first in config(), second in config()) {
        let deployments = kind("deployments");
        let made = apply(&deployments, None, &first, by("me"), false).expect("applied");
        let result = apply(&deployments, Some(&made), &second, by("me"), false).expect("applied");
        let sorted = |v: &Value| {
            let mut v = lean(&without_managers(v));
            if let Some(list) = v.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut) {
                list.sort_by_key(|c| c["name"].to_string());
            }
            v
        };
        prop_assert_eq!(sorted(&result), sorted(&second));
    }

    #[test]
    fn applying_twice_is_applying_once(first in config(), second in config()) {
        let deployments = kind("deployments");
        let made = apply(&deployments, None, &first, by("a"), false).expect("applied");
        let once = apply(&deployments, Some(&made), &second, by("b"), true).expect("applied");
        let twice = apply(&deployments, Some(&once), &second, by("b"), false).expect("applied");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn one_writer_of_a_custom_object_gets_what_it_last_said(first in custom_config(), second in custom_config()) {
        let kind = fixture::kind(&fixture::version());
        let made = apply(&kind, None, &first, by("me"), false).expect("applied");
        let result = apply(&kind, Some(&made), &second, by("me"), false).expect("applied");
        let sorted = |v: &Value| {
            let mut v = lean(&without_managers(v));
            for list in ["/spec/ports", "/spec/tags"] {
                if let Some(list) = v.pointer_mut(list).and_then(Value::as_array_mut) {
                    list.sort_by_key(ToString::to_string);
                }
            }
            v
        };
        prop_assert_eq!(sorted(&result), sorted(&second));
        let again = apply(&kind, Some(&result), &second, by("me"), false).expect("applied");
        prop_assert_eq!(again, result);
    }

    #[test]
    fn sets_are_read_as_they_are_written(object in config()) {
        let deployments = kind("deployments");
        let schema = deployments.schema();
        let set = tree::fields(&schema, &Node::root(&deployments, &schema), &object);
        prop_assert_eq!(FieldSet::read(&set.write()), set);
    }
}
