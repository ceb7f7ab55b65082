//! Updates of services that fail, and what becomes of them.

use std::collections::BTreeSet;

use naru_client::PatchKind;
use serde_json::{Value, json};

use crate::support::{World, deployments, is_leaving, is_ready};
use crate::workloads::web;

fn rolled_back(deployment: &Value) -> bool {
    let conditions = deployment["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "naru.io/RolledBack" && condition["status"] == "True")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_update_is_taken_back() {
    let world = World::start().await;
    let mut web = web(2);
    let rule = r#"{"order":"start-first","failureAction":"rollback"}"#;
    web["metadata"]["annotations"] = json!({ "naru.io/update": rule });
    world.create(deployments(), web).await;
    let good = world.until(&deployments(), "default", "web", |web| web["status"]["availableReplicas"] == 2).await;
    let before = world.until_pods(|pods| pods.iter().filter(|pod| is_ready(pod)).count() == 2).await;
    let api = world.client.dynamic(deployments(), Some("default"));
    let bad = json!({ "spec": { "template": { "metadata": { "annotations": { "test/outcome": "Failed" } } } } });
    api.patch("web", PatchKind::Merge, &bad).await.unwrap();
    let back = world.until(&deployments(), "default", "web", rolled_back).await;
    assert_eq!(back["spec"]["template"], good["spec"]["template"]);
    let serving = |pods: &[Value]| -> BTreeSet<String> {
        let ready = pods.iter().filter(|pod| is_ready(pod) && !is_leaving(pod));
        ready.map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let now = world.until_pods(|pods| serving(pods).len() == 2).await;
    assert_eq!(serving(&now), serving(&before), "what served went on serving");
}
