//! What clients are warned about: each once, in headers that kubectl prints.

use serde_json::json;

use crate::support::{Answer, MAPS, World, config_map};
use crate::webhooks::Hook;

const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const DEPRECATED: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// The texts of an answer's warnings, each of which says by whom (nobody) and of what kind (299) it is.
fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    let text = |value: &http::HeaderValue| {
        let value = value.to_str().expect("text");
        let quoted = value.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"'));
        quoted.unwrap_or_else(|| panic!("no warning: {value}")).replace("\\\"", "\"")
    };
    all.map(text).collect()
}

#[tokio::test]
async fn every_warning_has_a_header_of_its_own_and_is_told_once() {
    let world = World::start().await;
    let root = world.root();
    let hook =
        Hook::start(&world, |_| json!({"allowed": true, "warnings": ["mind the gap", "mind the gap", "and \"this\""]}))
            .await;
    hook.changes(&world, "one", &json!({})).await;
    hook.changes(&world, "two", &json!({})).await;
    let mut map = config_map("a", &[]);
    map["bogus"] = json!(1);
    let made = root.post(MAPS, &map).await;
    made.expect(201);
    assert_eq!(hook.asked().len(), 2, "both were asked");
    let mut told = warnings(&made);
    told.sort();
    assert_eq!(told, ["and \"this\"", "mind the gap", "unknown field \"bogus\""]);
    assert_eq!(warnings(&root.get(&format!("{MAPS}/a")).await), [""; 0]);
}

#[tokio::test]
async fn whoever_uses_what_is_on_its_way_out_is_told_whatever_comes_of_it() {
    let world = World::start().await;
    let root = world.root();
    let made = root.post(ENDPOINTS, &json!({"metadata": {"name": "e"}, "bogus": 1})).await;
    made.expect(201);
    let mut told = warnings(&made);
    told.sort();
    assert_eq!(told, ["unknown field \"bogus\"", DEPRECATED]);
    assert_eq!(warnings(&root.get(ENDPOINTS).await), [DEPRECATED]);
    let none = root.get(&format!("{ENDPOINTS}/none")).await;
    none.refused(404);
    assert_eq!(warnings(&none), [DEPRECATED]);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    assert_eq!(warnings(&root.get(slices).await), [""; 0]);
}
