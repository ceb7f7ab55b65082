use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kind::{Registry, fixture};

fn pods() -> std::sync::Arc<Kind> {
    Registry::builtin().find("pods").expect("pods").clone()
}

fn patched(object: Value, patch: Value) -> Value {
    let mut object = object;
    strategic(&pods(), &mut object, &patch).expect("a patch");
    object
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

#[test]
fn custom_objects_know_no_strategic_patches() {
    let kind = fixture::kind(&fixture::version());
    let mut object = fixture::object(&json!({"image": "a"}));
    let error = strategic(&kind, &mut object, &json!({"spec": {"image": "b"}})).expect_err("refused");
    assert_eq!(error.code(), 415);
    assert!(
        error
            .message
            .ends_with("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"),
        "{error}"
    );
    merge(&mut object, &json!({"spec": {"image": "b"}})).expect("a merge patch");
    assert_eq!(object["spec"]["image"], "b");
}

#[test]
fn json_patches() {
    let mut object = json!({"a": [1, 2]});
    json(&mut object, br#"[{"op":"test","path":"/a/0","value":1},{"op":"add","path":"/a/-","value":3}]"#)
        .expect("fine");
    assert_eq!(object, json!({"a": [1, 2, 3]}));
    let error = json(&mut object, br#"[{"op":"remove","path":"/a/0"},{"op":"test","path":"/a/0","value":9}]"#);
    assert_eq!(error.expect_err("refused").code(), 422);
    assert_eq!(object, json!({"a": [1, 2, 3]}));
    assert_eq!(json(&mut object, b"{}").expect_err("refused").code(), 400);
}

#[test]
fn lists_of_objects_merge_by_key() {
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 1}]}, {"name": "b", "image": "2"}]}});
    let result = patched(
        pod.clone(),
        json!({"spec": {"containers": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}], "nodeName": "n"}}),
    );
    assert_eq!(names(&result["spec"]["containers"]), ["a", "b", "c"]);
    assert_eq!(result["spec"]["containers"][1], json!({"name": "b", "image": "3"}));
    assert_eq!(result["spec"]["nodeName"], json!("n"));
    // A new item alone comes first, as Kubernetes orders it.
    let result = patched(pod.clone(), json!({"spec": {"containers": [{"name": "c"}]}}));
    assert_eq!(names(&result["spec"]["containers"]), ["c", "a", "b"]);
    // Nested lists merge as well; null removes.
    let nested = json!({"spec": {"containers": [{"name": "a", "image": null, "ports": [{"containerPort": 2}]}]}});
    let result = patched(pod.clone(), nested);
    assert_eq!(result["spec"]["containers"][0]["ports"].as_array().map(Vec::len), Some(2));
    assert!(result["spec"]["containers"][0].get("image").is_none());
    // Lists that do not merge are replaced.
    let result = patched(
        json!({"spec": {"containers": [{"name": "a", "args": ["1", "2"]}]}}),
        json!({"spec": {"containers": [{"name": "a", "args": ["3"]}]}}),
    );
    assert_eq!(result["spec"]["containers"][0]["args"], json!(["3"]));
    let mut object = pod;
    let error =
        strategic(&pods(), &mut object, &json!({"spec": {"containers": [{"image": "x"}]}})).expect_err("refused");
    assert!(error.message.contains("does not contain declared merge key: name"), "{error}");
}

#[test]
fn directives() {
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}, {"name": "c"}]}});
    let result = patched(pod.clone(), json!({"spec": {"containers": [{"name": "b", "$patch": "delete"}]}}));
    assert_eq!(names(&result["spec"]["containers"]), ["a", "c"]);
    let result = patched(pod.clone(), json!({"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}]}}));
    assert_eq!(result["spec"]["containers"], json!([{"name": "z"}]));
    let result = patched(pod.clone(), json!({"spec": {"$patch": "replace", "nodeName": "n"}}));
    assert_eq!(result["spec"], json!({"nodeName": "n"}));
    let result = patched(pod.clone(), json!({"spec": {"$patch": "delete"}}));
    assert_eq!(result["spec"], json!({}));
    let order = json!([{"name": "c"}, {"name": "a"}, {"name": "d"}, {"name": "b"}]);
    let result =
        patched(pod.clone(), json!({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "d"}]}}));
    assert_eq!(names(&result["spec"]["containers"]), ["c", "a", "d", "b"]);
    let result = patched(pod.clone(), json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}));
    assert_eq!(names(&result["spec"]["containers"]), ["b", "c", "a"]);
    assert!(strategic(&pods(), &mut pod.clone(), &json!({"spec": {"$patch": "other"}})).is_err());
}

#[test]
fn sets_of_plain_values_and_retained_keys() {
    let pod = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let result = patched(
        pod.clone(),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}}),
    );
    assert_eq!(result["metadata"], json!({"finalizers": ["c", "b"]}));
    let swap =
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}]}});
    let result = patched(pod.clone(), swap);
    assert_eq!(result["spec"]["volumes"], json!([{"name": "v", "configMap": {"name": "m"}}]));
    let wrong = json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "configMap": {}}]}});
    assert!(strategic(&pods(), &mut pod.clone(), &wrong).is_err());
    // Directives never end up in the object.
    let result = patched(json!({}), json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"]}], "x": null}}));
    assert_eq!(result, json!({"spec": {"volumes": [{"name": "v"}]}}));
}

#[test]
fn a_patch_as_kubectl_apply_sends_it() {
    let live = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "old", "image": "x"}],
        "volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "$setElementOrder/volumes": [{"name": "v"}],
        "containers": [{"image": "y", "name": "a"}, {"image": "z", "name": "b"}, {"$patch": "delete", "name": "old"}],
        "volumes": [{"$retainKeys": ["hostPath", "name"], "hostPath": {"path": "/x"}, "name": "v"}]}});
    assert_eq!(
        patched(live, patch),
        json!({"spec": {"containers": [{"name": "a", "image": "y"}, {"name": "b", "image": "z"}],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}})
    );
}

#[test]
fn maps_merge_and_null_removes() {
    let pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let result = patched(pod, json!({"metadata": {"labels": {"a": null, "c": "3", "d": null}}}));
    assert_eq!(result["metadata"]["labels"], json!({"b": "2", "c": "3"}));
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..9i64).prop_map(Value::from),
        "[a-c]".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-d]", tree(), 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    let entry = |name: String| {
        (proptest::option::of("[1-3]"), proptest::collection::btree_map(1..4u16, "[a-b]", 0..3)).prop_map(
            move |(image, ports)| {
                let ports: Vec<Value> =
                    ports.into_iter().map(|(p, n)| json!({"containerPort": p, "name": n})).collect();
                let mut container = json!({"name": name.clone(), "ports": ports});
                if let Some(image) = image {
                    container["image"] = image.into();
                }
                container
            },
        )
    };
    proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4)
        .prop_shuffle()
        .prop_flat_map(move |names| names.into_iter().map(|n| entry(n.to_owned())).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn a_merge_diff_turns_one_into_the_other(a in object(), b in object()) {
        let mut result = a.clone();
        if let Some(diff) = merge_diff(&a, &b) {
            merge(&mut result, &diff).expect("a patch");
        }
        prop_assert_eq!(result, b);
    }

    #[test]
    fn a_strategic_patch_twice_is_the_patch_once(a in containers(), p in containers()) {
        let once = patched(json!({"spec": {"containers": a}}), json!({"spec": {"containers": p}}));
        let twice = patched(once.clone(), json!({"spec": {"containers": p}}));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn an_object_patched_with_itself_stays(a in containers()) {
        let pod = json!({"spec": {"containers": a}});
        prop_assert_eq!(patched(pod.clone(), pod.clone()), pod);
    }

    #[test]
    fn a_patch_adds_its_items_and_loses_none(a in containers(), p in containers()) {
        let result = patched(json!({"spec": {"containers": a}}), json!({"spec": {"containers": p}}));
        let mut found = names(&result["spec"]["containers"]);
        let order: Vec<&str> = found.iter().copied().filter(|n| p.iter().any(|c| c["name"] == **n)).collect();
        let (a, p) = (json!(a), json!(p));
        prop_assert_eq!(order, names(&p));
        let mut expected: Vec<&str> = names(&a);
        expected.extend(names(&p));
        expected.sort_unstable();
        expected.dedup();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_order_is_kept(a in containers(), seed in any::<u64>()) {
        let mut order: Vec<Value> = a.iter().map(|c| json!({"name": c["name"]})).collect();
        let n = order.len();
        for i in (1..n).rev() {
            order.swap(i, usize::try_from(seed >> (i * 8) & 0xff).unwrap_or(0) % (i + 1));
        }
        let result = patched(json!({"spec": {"containers": a}}), json!({"spec": {"$setElementOrder/containers": order}}));
        let order = json!(order);
        prop_assert_eq!(names(&result["spec"]["containers"]), names(&order));
    }
}

#[test]
fn operations_of_policies_add_what_they_replace_and_stop_at_tests() {
    let object = json!({"spec": {"replicas": 1, "list": [1]}, "labels": {"x": "1"}});
    for (steps, expected) in [
        (json!([{"op": "replace", "path": "/labels/y", "value": "2"}]), Ok(Some(json!({"x": "1", "y": "2"})))),
        (json!([{"op": "copy", "from": "/labels/x", "path": "/labels/a~1b"}]), Ok(Some(json!({"x": "1", "a/b": "1"})))),
        (
            json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "remove", "path": "/labels/x"}]),
            Ok(Some(json!({}))),
        ),
        (json!([{"op": "test", "path": "/spec/none"}, {"op": "remove", "path": "/labels/x"}]), Ok(Some(json!({})))),
        (
            json!([{"op": "remove", "path": "/labels/x"}, {"op": "test", "path": "/spec/replicas", "value": 2}]),
            Ok(None),
        ),
        (json!([{"op": "test", "path": "/spec/none", "value": 2}]), Ok(None)),
        (json!([{"op": "remove", "path": "/labels/y"}]), Err(())),
        (json!([{"op": "add", "path": "/none/y", "value": 1}]), Err(())),
        (json!([{"op": "replace", "path": "/spec/list/1", "value": 1}]), Err(())),
        (json!([{"op": "grow", "path": "/labels/y"}]), Err(())),
    ] {
        let mut changed = object.clone();
        let done = operations(&mut changed, steps.as_array().expect("a list"));
        let found = done.map(|done| done.then(|| changed["labels"].clone())).map_err(drop);
        assert_eq!(found, expected, "{steps}");
        if !matches!(found, Ok(Some(_))) {
            assert_eq!(changed, object, "{steps}");
        }
    }
}

#[test]
fn a_test_for_nothing_holds_where_nothing_is() {
    let first = json!([{"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["x/y"]}]);
    let mut object = json!({"metadata": {"name": "a"}});
    super::json(&mut object, first.to_string().as_bytes()).expect("added");
    assert_eq!(object["metadata"]["finalizers"], json!(["x/y"]));
    let refused = super::json(&mut object, first.to_string().as_bytes()).expect_err("there is one");
    assert_eq!((refused.code, &object["metadata"]["finalizers"]), (422, &json!(["x/y"])));
    let nowhere = json!([{"op": "test", "path": "/spec/finalizers", "value": null}]);
    super::json(&mut object, nowhere.to_string().as_bytes()).expect_err("no place for it");
}
