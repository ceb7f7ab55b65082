//! Volumes as containers see them.

use serde_json::json;

use super::{
    interface::exec,
    life::{ready, script},
    machine::machine,
};

#[tokio::test(flavor = "multi_thread")]
async fn config_maps_secrets_and_tokens_are_mounted_and_follow_changes() {
    let Some(machine) = machine().await else { return };
    let mut spec = script("trap 'exit 0' TERM; while :; do sleep 0.05; done");
    spec["volumes"] = json!([
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "key", "projected": {"sources": [{"secret": {"name": "key"}},
            {"serviceAccountToken": {"path": "token"}}, {"downwardAPI": {"items": [
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}]);
    spec["containers"][0]["volumeMounts"] = json!([
        {"name": "conf", "mountPath": "/conf"}, {"name": "key", "mountPath": "/key"},
        {"name": "conf", "mountPath": "/one", "subPath": "text"}]);
    spec["containers"][0]["env"] =
        json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "text"}}}]);
    machine.api.run("files", spec, json!({}));
    let waits =
        |pod: &serde_json::Value| !pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].is_null();
    let pod = machine.api.until("files", "waiting for its volume", waits).await;
    assert!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().contains("conf"));
    machine
        .api
        .put("secrets", json!({"metadata": {"name": "key", "namespace": "default"}, "data": {"pass": "c2VjcmV0"}}));
    machine
        .api
        .put("configmaps", json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"text": "one"}}));
    machine.api.until("files", "ready", ready).await;
    let (code, text) =
        exec(&machine, "files", &["sh", "-c", "cat /conf/text /one /key/pass /key/token /key/name; echo $X"]).await;
    assert_eq!((code, text.as_str()), (0, "oneonesecreta-tokenfilesone\n"));
    let (code, _) = exec(&machine, "files", &["touch", "/conf/new"]).await;
    assert_ne!(code, 0, "volumes from objects are read-only");
    machine
        .api
        .put("configmaps", json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"text": "two"}}));
    let deadline = std::time::Instant::now() + super::api::PATIENCE;
    while exec(&machine, "files", &["cat", "/conf/text"]).await.1 != "two" {
        assert!(std::time::Instant::now() < deadline, "the change never reached the container");
    }
    machine.api.delete("files", 5);
    machine.api.until_gone("files").await;
    assert_eq!(machine.leftovers(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claims_folder_is_filled_from_the_image_and_outlives_the_pod() {
    let Some(machine) = machine().await else { return };
    let path = machine.state().join("volumes/pv-1");
    machine.api.put(
        "persistentvolumes",
        json!({"metadata": {"name": "pv-1"},
        "spec": {"local": {"path": path}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]}]}]}}}}),
    );
    let claim = |phase: &str| {
        json!({"metadata": {"name": "data", "namespace": "default"},
        "spec": {"volumeName": "pv-1"}, "status": {"phase": phase}})
    };
    machine.api.put("persistentvolumeclaims", claim("Pending"));
    let mut spec = script("cat /data/seed; echo mine > /data/own; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    machine.api.run("db", spec, json!({"naru.io/copy-up": "[\"data\"]"}));
    let waits =
        |pod: &serde_json::Value| !pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].is_null();
    machine.api.until("db", "waiting for its claim", waits).await;
    machine.api.put("persistentvolumeclaims", claim("Bound"));
    machine.api.until("db", "ready", ready).await;
    let (code, _) = exec(&machine, "db", &["sh", "-c", "while ! test -e /data/own; do sleep 0.01; done"]).await;
    assert_eq!((code, machine.until_log("db", "c", "image\n").await.as_str()), (0, "from the image\n"));
    machine.api.delete("db", 5);
    machine.api.until_gone("db").await;
    assert_eq!(machine.leftovers(), Default::default());
    assert_eq!(std::fs::read_to_string(path.join("own")).unwrap(), "mine\n");
}
