//! Namespaces as objects: their own finalizers, labels and state. How they end with what is in them is the controllers'.

use serde_json::json;

use crate::support::World;

const NAMESPACES: &str = "/api/v1/namespaces";
const SHOP: &str = "/api/v1/namespaces/shop";
const FINALIZE: &str = "/api/v1/namespaces/shop/finalize";

#[tokio::test]
async fn a_finalizer_is_added_and_removed_through_finalize() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(NAMESPACES, &json!({"metadata": {"name": "shop"}})).await.expect(201);
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let mut wanted = made.clone();
    wanted["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/fakeFinalizer"]);
    let added = root.put(FINALIZE, &wanted).await.expect(200);
    assert_eq!(added["spec"], wanted["spec"]);
    assert!(added["metadata"].get("generation").is_none(), "namespaces count none: {added}");
    assert_eq!(root.put(FINALIZE, &made).await.code, 409, "it is another one now");
    wanted = added.clone();
    wanted["spec"]["finalizers"] = json!(["kubernetes"]);
    let removed = root.put(FINALIZE, &wanted).await.expect(200);
    assert_eq!(removed["spec"]["finalizers"], json!(["kubernetes"]));
    for (name, why) in [
        ("nobody", "name is neither a standard finalizer name nor is it fully qualified"),
        ("Not/valid", "prefix part a lowercase RFC 1123 subdomain"),
    ] {
        let mut wrong = removed.clone();
        wrong["spec"]["finalizers"] = json!(["kubernetes", name]);
        let status = root.put(FINALIZE, &wrong).await.expect(422);
        assert_eq!(status["details"]["causes"][0]["field"], "spec.finalizers[1]", "{status}");
        assert!(status["message"].as_str().unwrap_or_default().contains(why), "{status}");
    }
}

#[tokio::test]
async fn a_namespace_goes_when_the_last_finalizer_is_taken_away() {
    let world = World::start().await;
    let root = world.root();
    root.post(NAMESPACES, &json!({"metadata": {"name": "shop"}})).await.expect(201);
    let mut marked = root.delete(SHOP).await.expect(200);
    assert!(marked["metadata"].get("generation").is_none(), "{marked}");
    for left in [json!(["example.com/one", "example.com/two"]), json!(["example.com/two"])] {
        marked["spec"]["finalizers"] = left.clone();
        marked = root.put(FINALIZE, &marked).await.expect(200);
        assert_eq!((&marked["spec"]["finalizers"], &marked["status"]["phase"]), (&left, &json!("Terminating")));
        root.delete(SHOP).await.expect(200);
        marked = root.get(SHOP).await.expect(200);
    }
    marked["spec"]["finalizers"] = json!([]);
    root.put(FINALIZE, &marked).await.expect(200);
    root.get(SHOP).await.refused(404);
}

#[tokio::test]
async fn labels_of_a_namespace_are_updated_and_patched() {
    let world = World::start().await;
    let root = world.root();
    let mut shop = root.post(NAMESPACES, &json!({"metadata": {"name": "shop"}})).await.expect(201);
    shop["metadata"]["labels"]["shop"] = "updated".into();
    let updated = root.put(SHOP, &shop).await.expect(200);
    assert_eq!(updated["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "shop", "shop": "updated"}));
    let patch = json!({"metadata": {"labels": {"testLabel": "testValue"}}});
    root.patch(SHOP, "strategic-merge-patch", &patch).await.expect(200);
    let labels = root.get(SHOP).await.expect(200)["metadata"]["labels"].clone();
    assert_eq!((&labels["testLabel"], &labels["shop"]), (&json!("testValue"), &json!("updated")));
}

#[tokio::test]
async fn the_state_of_a_namespace_is_read_patched_and_updated() {
    let world = World::start().await;
    let root = world.root();
    let path = format!("{SHOP}/status");
    root.post(NAMESPACES, &json!({"metadata": {"name": "shop"}})).await.expect(201);
    assert_eq!(root.get(&path).await.expect(200)["status"]["phase"], "Active");
    let condition = |kind: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": null, "reason": "E2E", "message": message});
    let patch = json!({"metadata": {"annotations": {"e2e-patched-ns-status": "shop"}},
        "status": {"conditions": [condition("StatusPatch", "Patched by an e2e test")]}});
    let patched = root.patch(&path, "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["annotations"]["e2e-patched-ns-status"], "shop");
    assert_eq!(patched["status"]["conditions"][0]["message"], "Patched by an e2e test");
    assert_eq!(patched["status"]["phase"], "Active");
    let mut whole = root.get(&path).await.expect(200);
    whole["spec"]["finalizers"] = json!([]);
    whole["status"]["conditions"]
        .as_array_mut()
        .expect("conditions")
        .push(condition("StatusUpdate", "Updated by an e2e test"));
    let updated = root.put(&path, &whole).await.expect(200);
    let types: Vec<_> =
        updated["status"]["conditions"].as_array().expect("conditions").iter().map(|c| c["type"].clone()).collect();
    assert_eq!(types, ["StatusPatch", "StatusUpdate"]);
    assert_eq!(updated["spec"]["finalizers"], json!(["kubernetes"]), "the state is no way to the rest");
}
