//! kubectl and servers behind this one.

use serde_json::json;

use super::Kubectl;
use crate::aggregation::becomes;
use crate::aggregation::sample::{OBJECTS, Sample};

#[tokio::test]
async fn kinds_of_further_servers_are_used_like_others() {
    let Some(k) = Kubectl::find().await else { return };
    k.ok("get apiservices", &["v1.apps", "v1.naru.io", "Local", "True"]).await;
    let root = k.world.root();
    root.post("/api/v1/namespaces", &json!({"metadata": {"name": "wardle"}})).await.expect(201);
    let sample = Sample::start(&k.world).await;
    root.post(OBJECTS, &sample.object()).await.expect(201);
    becomes(&root, "ServiceNotFound").await;
    k.ok("get apiservice v1alpha1.wardle.example.com", &["wardle/api", "False (ServiceNotFound)"]).await;
    sample.is_reached(&root).await;
    becomes(&root, "Passed").await;
    k.ok("wait --for=condition=Available apiservice/v1alpha1.wardle.example.com", &["condition met"]).await;
    k.ok("api-versions", &["wardle.example.com/v1alpha1"]).await;
    let flunder =
        json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "dogger"}});
    std::fs::write(k.world.dir.path().join("flunder.json"), flunder.to_string()).expect("a file");
    k.ok("create --validate=false -f flunder.json", &["flunder.wardle.example.com/dogger created"]).await;
    k.ok("get flunders", &["NAME", "dogger"]).await;
    k.ok("get flunder dogger -o name", &["flunder.wardle.example.com/dogger"]).await;
    k.fails("get flunder fisher", "not find the requested resource").await;
    k.ok("delete apiservice v1alpha1.wardle.example.com", &["deleted"]).await;
    drop(sample);
    k.ok("delete ns wardle --wait=false", &["deleted"]).await;
}
