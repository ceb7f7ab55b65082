use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kind::{Registry, fixture};

fn labels(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn text_form() {
    let set = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
    for (text, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app!=web", false),
        ("x!=y", true),
        ("app in (a, web)", true),
        ("app notin (a,web)", false),
        ("x notin (a)", true),
        ("app", true),
        ("!app", false),
        ("!x", true),
        ("app=web,tier=back", false),
        ("app in (web),n>4", true),
        ("n<5", false),
        ("example.com/a!=b", true),
        ("app=", false),
    ] {
        assert_eq!(LabelSelector::parse(text).expect(text).matches(&set), expected, "{text}");
    }
    for wrong in ["a b", "a in b", "a in (b", "a=b,,c", "=x", "a=b c", "a>x", "a)", "-x=1"] {
        assert!(LabelSelector::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn object_form() {
    let set = json!({"app": "web"});
    let set = set.as_object().expect("a map");
    let matches = |v| LabelSelector::from_object(&v).expect("a selector").matches(set);
    assert!(!matches(json!(null)) && matches(json!({})) && matches(json!({"matchLabels": {"app": "web"}})));
    assert!(!matches(json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})));
    assert!(LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "In"}]})).is_err());
    assert!(LabelSelector::from_map(Some(&BTreeMap::new())).is_nothing());
    assert!(LabelSelector::from_typed(None).expect("nothing").is_nothing());
}

#[test]
fn fields() {
    let pod = json!({"metadata": {"name": "a,b"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
    let matches = |text: &str| FieldSelector::parse(text).expect(text).matches(&pod);
    assert!(matches("spec.nodeName=n,status.phase!=Failed") && !matches("spec.nodeName!=n"));
    assert!(matches("metadata.name=a\\,b") && matches("spec.hostNetwork=false") && matches(""));
    assert!(FieldSelector::parse("spec.nodeName").is_err());
    let pods = Registry::builtin().find("pods").expect("pods").clone();
    assert!(FieldSelector::parse("spec.nodeName==n").expect("text").check(&pods).is_ok());
    let error = FieldSelector::parse("spec.color=n").expect("text").check(&pods).expect_err("unsupported");
    assert!(error.to_string().starts_with("field label not supported: spec.color"));
}

#[test]
fn fields_of_custom_kinds_compare_by_their_text() {
    let mut object = fixture::object(&json!({"image": "a", "replicas": 3, "paused": true}));
    let matches = |object: &Value, text: &str| FieldSelector::parse(text).expect(text).matches(object);
    for (text, expected) in [
        ("spec.image=a,spec.replicas=3,spec.paused=true", true),
        ("spec.replicas!=3", false),
        ("spec.replicas=03", false),
        ("spec.paused=false", false),
        ("status.replicas=", true),
        ("status.replicas=0", false),
    ] {
        assert_eq!(matches(&object, text), expected, "{text}");
    }
    object["spec"] = json!({});
    assert!(matches(&object, "spec.paused=,spec.replicas!=0") && !matches(&object, "spec.paused=false"));
    let kind = fixture::kind(&fixture::version());
    let check = |text: &str| FieldSelector::parse(text).expect(text).check(&kind);
    assert!(check("spec.image=a,spec.replicas=1,spec.paused!=true,metadata.name=b").is_ok());
    assert!(check("spec.note=x").is_err());
}

proptest! {
    #[test]
    fn writing_and_reading_a_selector_keeps_its_meaning(
        keys in proptest::collection::vec(("[a-c]", 0usize..6, proptest::collection::vec("[x-z]", 1..3)), 0..4),
        set in proptest::collection::btree_map("[a-c]", "[x-z]", 0..3),
    ) {
        let parts: Vec<String> = keys.iter().map(|(k, op, v)| match op {
            0 => format!("{k}={}", v[0]), 1 => format!("{k}!={}", v[0]), 2 => format!("{k} in ({})", v.join(",")),
            3 => format!("{k} notin ({})", v.join(",")), 4 => k.clone(), _ => format!("!{k}"),
        }).collect();
        let selector = LabelSelector::parse(&parts.join(",")).expect("a selector");
        let again = LabelSelector::parse(&selector.to_string()).expect("own output");
        prop_assert_eq!(selector.matches(&set), again.matches(&set));
        prop_assert_eq!(selector, again);
    }

    #[test]
    fn a_condition_and_its_opposite_never_agree(key in "[a-c]", value in "[x-z]", set in proptest::collection::btree_map("[a-c]", "[x-z]", 0..3)) {
        let yes = LabelSelector::parse(&format!("{key} in ({value})")).expect("a selector");
        let no = LabelSelector::parse(&format!("{key} notin ({value})")).expect("a selector");
        prop_assert_ne!(yes.matches(&set), no.matches(&set));
    }
}
