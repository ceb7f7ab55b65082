//! Whose sets are whose.

use super::*;

#[test]
fn sets_do_not_take_over_what_was_applied() {
    let applied =
        json!({ "naru.io/last-applied": "{}", "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a" });
    let mut world = World::new(1, json!({}), applied);
    world.settle();
    let names: Vec<&String> = world.sets[0]["metadata"]["annotations"].as_object().unwrap().keys().collect();
    let of_deployments =
        ["desired-replicas", "max-replicas", "revision"].map(|n| format!("deployment.kubernetes.io/{n}"));
    assert_eq!(names, of_deployments.iter().chain(&["team".to_owned()]).collect::<Vec<_>>());
}

#[test]
fn another_objects_name_is_not_taken() {
    let mut world = World::new(1, json!({}), json!({}));
    let mut view = world.view();
    let first = plan(&view, noon());
    let Write::Create { object, .. } = &first.writes[0] else { panic!("creates first") };
    view.taken.insert(object["metadata"]["name"].as_str().unwrap().into());
    let second = plan(&view, noon());
    assert!(second.writes.iter().all(|write| !matches!(write, Write::Create { .. })));
    second.writes.iter().for_each(|write| world.apply(write));
    assert_eq!(world.deployment["status"]["collisionCount"], 1);
    let mut third = world.view();
    third.taken = view.taken;
    assert!(
        matches!(&plan(&third, noon()).writes[0], Write::Create { object: other, .. } if other["metadata"]["name"] != object["metadata"]["name"])
    );
}

#[test]
fn a_successor_waits_for_the_sets_of_its_namesake() {
    let world = World::new(1, json!({}), json!({}));
    let mut view = world.view();
    let Write::Create { object, .. } = &plan(&view, noon()).writes[0] else { panic!("creates first") };
    view.leaving.insert(object["metadata"]["name"].as_str().unwrap().into());
    let waiting = plan(&view, noon());
    assert_eq!(waiting.reason, "waiting for a replica set to be released");
    let text = waiting.to_string();
    assert!(!text.contains("create ") && !text.contains(r#""collisionCount":1"#), "{text}");
}

#[test]
fn sets_are_adopted_and_released_by_the_selector() {
    let mut world = World::new(1, json!({}), json!({}));
    world.settle();
    let mut view = world.view();
    view.orphans = view.sets.clone();
    let mut stray: ReplicaSet = (*view.sets[0]).clone();
    stray.metadata.labels.clear();
    stray.metadata.name = "stray".into();
    view.sets = vec![Arc::new(stray)];
    let text = plan(&view, noon()).to_string();
    assert!(text.contains("adopting and releasing") && text.contains("patch replicasets shop/stray"), "{text}");
    assert!(text.contains(r#""uid":"d""#) && !text.contains("create"), "{text}");
}
