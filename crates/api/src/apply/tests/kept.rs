//! The short form of owners.

use super::*;

fn owners(list: &Value) -> Owners {
    Owners::from_json(list).expect("entries")
}

fn shown(code: &str) -> Vec<u8> {
    let mut out = Vec::new();
    show(code, &mut |piece: &[u8]| out.extend_from_slice(piece));
    out
}

fn entry(fields: &Value) -> Value {
    json!([{"manager": "m", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields}])
}

#[test]
fn what_is_kept_is_shown_as_it_was() {
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:odd|%'\"\\/\n": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:env": {".": {}, "k:{\"name\":\"É\"}": {".": {}, "f:name": {}}}}},
            "f:finalizers": {"v:\"kubernetes\"": {}}, "f:replicas": {}}});
    let mut list = entry(&fields);
    let mut second = list[0].clone();
    second["manager"] = "a \"quoted\" | one's 100%".into();
    second["operation"] = "Apply".into();
    second["subresource"] = "status".into();
    second["fieldsV1"] = json!({"f:status": {"f:phase": {}}});
    list.as_array_mut().expect("a list").push(second);
    let code = owners(&list).to_code();
    let bytes = shown(&code);
    assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), list);
    assert_eq!(shown_len(&code), bytes.len());
    assert_eq!(Owners::from_code(&code), owners(&list));
    assert_eq!(serde_json::to_string(&code).expect("JSON"), format!("\"{code}\""), "nothing to escape");
}

#[test]
fn it_is_a_fraction_of_what_is_shown() {
    let pods = kind("pods");
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-5d4f", "generateName": "web-",
        "labels": {"app": "web", "pod-template-hash": "5d4f"},
        "ownerReferences": [{"uid": "6f7c", "kind": "ReplicaSet", "name": "web", "apiVersion": "apps/v1"}]},
        "spec": {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}]}});
    crate::admit::default(&pods, &mut pod);
    let owners = Owners::of_new(&pods, &pod, by("kube-controller-manager"));
    let (short, long) = (owners.to_code().len(), owners.to_json().to_string().len());
    assert!(long > 1000 && short * 4 < long, "{short} of {long}");
}

#[test]
fn words_never_move() {
    // Kept owners say words by their place: a line may be added at the end, and nothing else.
    let words: Vec<&str> = include_str!("../words.txt").lines().collect();
    assert!(words.len() <= 64 * 64);
    let sum = words[..976]
        .iter()
        .flat_map(|w| w.bytes().chain([b'\n']))
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(sum, WORDS_SUM, "{sum:#x}");
    let mut sorted = words.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), words.len(), "each once");
}

const WORDS_SUM: u64 = 0xd6fe_2d9d_2052_8135;

#[test]
fn what_is_no_short_form_is_nobody() {
    for text in ["", "12", "12;U", "12;Um|v1||t|~", "9;Um|v1||t|zz!", "1;Um|v1||t|{"] {
        assert!(Owners::from_code(text).is_empty(), "{text}");
        // It is shown as JSON all the same.
        let bytes = shown(text);
        assert!(bytes.starts_with(b"[") && bytes.ends_with(b"]"), "{text}");
    }
    for list in [json!([]), json!([{}]), json!(null), entry(&json!(3))] {
        assert_eq!(Owners::from_json(&list), None, "{list}");
    }
}

fn set() -> impl Strategy<Value = FieldSet> {
    let step = prop_oneof!["f:(spec|status|x[a-z]{0,3})", "k:\\{\"name\":\"[a-z|%'\\\\]{1,3}\"\\}", "v:\"\\PC{0,4}\""];
    let leaf = Just(FieldSet::leaf()).boxed();
    leaf.prop_recursive(3, 24, 4, move |below| {
        (any::<bool>(), proptest::collection::btree_map(step.clone(), below, 1..4)).prop_map(|(own, below)| FieldSet {
            own,
            below: below.into_iter().map(|(step, below)| (step.into(), below)).collect(),
        })
    })
}

proptest! {
    #[test]
    fn any_set_is_kept(fields in set(), manager in "\\PC{0,6}") {
        let fields = FieldSet { own: false, below: [("f:spec".into(), fields)].into() };
        let pods = kind("pods");
        let owners = Owners { entries: vec![updated(&pods, &manager, "status", Timestamp::UNIX_EPOCH, fields)] };
        let code = owners.to_code();
        prop_assert_eq!(&Owners::from_code(&code), &owners);
        let bytes = shown(&code);
        prop_assert_eq!(shown_len(&code), bytes.len());
        prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), owners.to_json());
    }
}
