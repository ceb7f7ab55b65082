use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::View;
use super::plan::plan;
use crate::fixtures::{at, noon, view};
use crate::plan::Write;
use crate::views::Pod;

fn pod(name: &str, ready: bool, leaving: bool) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
    });
    if leaving {
        pod["metadata"]["deletionTimestamp"] = at(5).into();
    }
    Arc::new(view(pod))
}

fn look(spec: Value, status: Value, pods: Vec<Arc<Pod>>, scale: i32) -> View {
    let budget = view(json!({
        "metadata": { "name": "b", "namespace": "shop", "uid": "b", "generation": 3, "resourceVersion": "9" },
        "spec": spec, "status": status,
    }));
    View { budget: Arc::new(budget), pods, scales: BTreeMap::from([("w".into(), scale)]) }
}

/// Expected, desired, healthy, allowed.
fn figures(view: &View) -> [i64; 4] {
    let plan = plan(view, noon());
    let [Write::Patch { patch, .. }] = &plan.writes[..] else { panic!("{plan}") };
    assert_eq!(patch["metadata"]["resourceVersion"], "9", "an eviction may write at the same time");
    let status = &patch["status"];
    assert_eq!(status["observedGeneration"], 3);
    ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
        .map(|name| status[name].as_i64().unwrap())
}

fn ready(count: usize) -> Vec<Arc<Pod>> {
    (0..count).map(|index| pod(&format!("p{index}"), true, false)).collect()
}

#[test]
fn budgets_count_as_kubernetes_does() {
    for (name, spec, pods, scale, expected) in [
        ("a number that must stay", json!({ "minAvailable": 2 }), ready(3), 5, [3, 2, 3, 1]),
        ("a share that must stay, rounded up", json!({ "minAvailable": "50%" }), ready(5), 5, [5, 3, 5, 2]),
        ("a number that may go", json!({ "maxUnavailable": 1 }), ready(3), 3, [3, 2, 3, 1]),
        ("a share that may go, rounded up", json!({ "maxUnavailable": "30%" }), ready(5), 5, [5, 3, 5, 2]),
        ("of pods that are still to come", json!({ "maxUnavailable": 1 }), ready(3), 5, [5, 4, 3, 0]),
        ("nothing to protect", json!({ "minAvailable": 0 }), vec![], 0, [0, 0, 0, 0]),
    ] {
        assert_eq!(figures(&look(spec, json!({}), pods, scale)), expected, "{name}");
    }
    let mixed = vec![pod("a", true, false), pod("b", false, false), pod("c", true, true)];
    assert_eq!(figures(&look(json!({ "minAvailable": 1 }), json!({}), mixed, 3)), [3, 1, 1, 0]);
}

#[test]
fn what_an_eviction_took_is_not_given_again() {
    let spent = |pods: Vec<Arc<Pod>>, since: i64| {
        let status = json!({ "disruptedPods": { "p0": at(since), "gone": at(since) } });
        let look = look(json!({ "minAvailable": 1 }), status, pods, 3);
        (figures(&look)[3], plan(&look, noon()))
    };
    let (allowed, waiting) = spent(ready(3), -10);
    assert_eq!((allowed, waiting.again), (1, Some(at(110).parse().unwrap())), "one of the three is as good as gone");
    let [Write::Patch { patch, .. }] = &waiting.writes[..] else { panic!("{waiting}") };
    assert_eq!(patch["status"]["disruptedPods"], json!({ "p0": at(-10), "gone": null }));
    assert_eq!(spent(ready(3), -121).0, 2, "it was never deleted");
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let first = look(json!({ "minAvailable": 2 }), json!({}), ready(3), 3);
    let plan_of = |view: &View| plan(view, noon());
    let first = plan_of(&first);
    let [Write::Patch { patch, .. }] = &first.writes[..] else { panic!("{first}") };
    assert_eq!(patch["status"]["conditions"][0]["reason"], "SufficientPods");
    let again = look(json!({ "minAvailable": 2 }), patch["status"].clone(), ready(3), 3);
    assert!(plan(&again, at(60).parse().unwrap()).writes.is_empty());
}
