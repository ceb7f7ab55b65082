//! What may be said of a deletion, of one object or of a collection, and what is answered.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Caller, MAPS, World, config_map};

const LABELLED: &str = "/api/v1/namespaces/default/configmaps?labelSelector=l%3Dx";

async fn labelled(root: &Caller, names: &[&str]) {
    for name in names {
        let mut map = config_map(name, &[]);
        map["metadata"]["labels"] = json!({"l": "x"});
        root.post(MAPS, &map).await.expect(201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

async fn left(root: &Caller) -> usize {
    names(&root.get(LABELLED).await.expect(200)).len()
}

#[tokio::test]
async fn a_collection_goes_page_by_page() {
    let world = World::start().await;
    let root = world.root();
    labelled(&root, &["a", "b", "c", "d", "e"]).await;
    let tried = root.delete(&format!("{LABELLED}&dryRun=All")).await.expect(200);
    assert_eq!((names(&tried).len(), left(&root).await), (5, 5));
    let first = root.delete(&format!("{LABELLED}&limit=2")).await.expect(200);
    assert_eq!((&first["kind"], names(&first)), (&json!("ConfigMapList"), vec!["a", "b"]));
    assert_eq!(left(&root).await, 3);
    let token = first["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let second = root.delete(&format!("{LABELLED}&limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["c", "d"]);
    let token = second["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let third = root.delete(&format!("{LABELLED}&limit=2&continue={token}")).await.expect(200);
    assert_eq!((names(&third), &third["metadata"]["continue"]), (vec!["e"], &Value::Null));
    assert_eq!(left(&root).await, 0);
}

#[tokio::test]
async fn what_holds_for_one_object_holds_for_all_of_a_collection() {
    let world = World::start().await;
    let root = world.root();
    labelled(&root, &["a", "b"]).await;
    let delete = async |options: Value| root.send(Method::DELETE, LABELLED, options.to_string()).await;
    delete(json!({"preconditions": {"uid": "another"}})).await.refused(409);
    delete(json!({"dryRun": ["All"]})).await.expect(200);
    delete(json!([])).await.refused(400);
    assert_eq!(left(&root).await, 2);
    delete(json!({"propagationPolicy": "Foreground"})).await.expect(200);
    let marked = root.get(LABELLED).await.expect(200);
    for item in marked["items"].as_array().expect("items") {
        assert_eq!(item["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        assert!(item["metadata"]["deletionTimestamp"].is_string());
    }
    // Whoever changes their mind says so.
    root.delete(&format!("{LABELLED}&propagationPolicy=Background")).await.expect(200);
    assert_eq!(left(&root).await, 0);
    labelled(&root, &["c"]).await;
    delete(json!({"orphanDependents": true})).await.expect(200);
    let marked = root.get(&format!("{MAPS}/c")).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["orphan"]));
    delete(json!({"orphanDependents": false})).await.expect(200);
    assert_eq!(left(&root).await, 0);
}

#[tokio::test]
async fn options_that_mean_nothing_delete_nothing() {
    let world = World::start().await;
    let root = world.root();
    labelled(&root, &["a"]).await;
    let one = format!("{MAPS}/a");
    for path in [one.as_str(), LABELLED] {
        for (options, told) in [
            (json!({"dryRun": ["Some"]}), "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value"),
            (json!({"dryRun": ["All", "Some"]}), "dryRun: Unsupported value"),
            (
                json!({"propagationPolicy": "Else"}),
                "supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\"",
            ),
            (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), "cannot be both set"),
        ] {
            let refused = root.send(Method::DELETE, path, options.to_string()).await.refused(422);
            assert!(refused.contains(told), "{refused}");
        }
        let also = if path.contains('?') { '&' } else { '?' };
        root.delete(&format!("{path}{also}propagationPolicy=Else")).await.refused(422);
        root.delete(&format!("{path}{also}dryRun=Some")).await.refused(422);
    }
    assert_eq!(left(&root).await, 1);
    // No object of this store is unreadable: who would have one deleted all the same is understood.
    root.delete(&format!("{one}?ignoreStoreReadErrorWithClusterBreakingPotential=true&dryRun=All")).await.expect(200);
    let options = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true});
    root.send(Method::DELETE, &one, options.to_string()).await.expect(200);
    assert_eq!(left(&root).await, 0);
}

#[tokio::test]
async fn what_is_gone_is_told_as_clients_of_its_kind_expect() {
    let world = World::start().await;
    let root = world.root();
    let lease = json!({"metadata": {"name": "a"}, "spec": {}});
    let map = config_map("a", &[]);
    for (path, object, details) in [
        (MAPS, &map, json!({"name": "a", "kind": "configmaps"})),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            &lease,
            json!({"name": "a", "group": "coordination.k8s.io", "kind": "leases"}),
        ),
    ] {
        let made = root.post(path, object).await.expect(201);
        let mut expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        expected["details"] = details;
        expected["details"]["uid"] = made["metadata"]["uid"].clone();
        assert_eq!(root.delete(&format!("{path}/a")).await.expect(200), expected);
    }
    for (path, object, kind) in [
        ("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "a"}}), "ServiceAccount"),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"metadata": {"name": "a"}, "provisioner": "example.com/p"}),
            "StorageClass",
        ),
    ] {
        let made = root.post(path, &object).await.expect(201);
        let gone = root.delete(&format!("{path}/a")).await.expect(200);
        assert_eq!((&gone["kind"], &gone["metadata"]["uid"]), (&json!(kind), &made["metadata"]["uid"]));
        root.get(&format!("{path}/a")).await.refused(404);
    }
}
