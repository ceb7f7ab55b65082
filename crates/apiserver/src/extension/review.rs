//! `ConversionReview`: what a conversion webhook is asked, and what of its answer counts.
//!
//! Reviews have two versions that differ in their name and in one thing more: the answer to the older one need not name
//! the question.
//!
//! Only the contents of an object, its labels and its annotations are the webhook's to change. It is the same object
//! afterwards: everything else in its metadata is taken from the original, whatever the answer holds there.

use naru_api::meta;
use naru_api::validate::names;
use serde_json::{Map, Value, json};

/// A version of reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Beta1,
}

// === impl Version ===

impl Version {
    /// The first that is spoken here of those that a webhook understands, in its order.
    pub(super) fn first_of(understood: &[String]) -> Option<Version> {
        understood.iter().find_map(|name| match name.as_str() {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1Beta1),
            _ => None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Version::V1 => "apiextensions.k8s.io/v1",
            Version::V1Beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

/// The question how these objects are in the version `wanted`.
pub(super) fn question(version: Version, uid: &str, wanted: &str, objects: Vec<Value>) -> Value {
    json!({"kind": "ConversionReview", "apiVersion": version.name(),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}})
}

/// Takes the objects out of a question again.
pub(super) fn asked(mut question: Value) -> Vec<Value> {
    match question["request"]["objects"].take() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    }
}

/// The objects of an answer.
///
/// # Errors
/// With what is wrong with it, or with what the webhook says is wrong with the question.
pub(super) fn answered(version: Version, mut answer: Value, uid: &str) -> Result<Vec<Value>, String> {
    let expected = version.name();
    if answer["kind"] != "ConversionReview" || answer["apiVersion"] != expected {
        let (version, kind) = (meta::api_version(&answer), meta::kind(&answer));
        return Err(format!(
            "expected webhook response of {expected}, Kind=ConversionReview, got {version}, Kind={kind}"
        ));
    }
    let mut response = answer["response"].take();
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let named = response["uid"].as_str().unwrap_or_default();
    if named != uid && version == Version::V1 {
        return Err(format!("expected response.uid={uid:?}, got {named:?}"));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        let said = result["message"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let status = result["status"].as_str().unwrap_or_default();
        return Err(said.unwrap_or_else(|| format!("response.result.status was '{status}', not 'Success'")));
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// What counts of an object that was converted to the version `wanted`.
///
/// # Errors
/// When it is another object, or none of that version.
pub(super) fn restored(original: &Value, mut converted: Value, wanted: &str) -> Result<Value, String> {
    let version = meta::api_version(&converted);
    if version != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {version})"));
    }
    let (expected, kind) = (meta::kind(original), meta::kind(&converted));
    if kind != expected {
        return Err(format!("invalid kind (expected {expected}, received {kind})"));
    }
    for (what, expected, given) in [
        ("name", meta::name(original), meta::name(&converted)),
        ("namespace", meta::namespace(original), meta::namespace(&converted)),
        ("UID", meta::uid(original), meta::uid(&converted)),
    ] {
        if given != expected {
            return Err(format!("must have the same {what}: {expected} != {given}"));
        }
    }
    let Some(Value::Object(mut given)) = converted.get_mut("metadata").map(Value::take) else {
        return Err("missing metadata in converted object".to_owned());
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let before = metadata.remove(field).unwrap_or_default();
        match given.remove(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                check(field, &before, &map)?;
                metadata.insert(field.to_owned(), Value::Object(map));
            }
            Some(_) => return Err(format!("invalid metadata.{field} in converted object: it must be an object")),
        }
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

/// Judges labels or annotations that the webhook changed.
fn check(field: &str, before: &Value, map: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        let Some(text) = value.as_str() else {
            return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
        };
        if before.get(key) == Some(value) {
            continue;
        }
        let judged = match field {
            "labels" => names::label_key(key).and_then(|()| names::label_value(text)),
            _ => names::label_key(&key.to_lowercase()),
        };
        judged.map_err(|why| format!("metadata.{field}[{key}]: {why}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Value {
        json!({"apiVersion": "e.io/v1", "kind": "W", "spec": {"a": 1}, "metadata": {"name": "w", "namespace": "n",
            "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"], "labels": {"old": "Not Valid"}}})
    }

    fn converted(metadata: Value) -> Value {
        json!({"apiVersion": "e.io/v2", "kind": "W", "spec": {"b": 1}, "metadata": metadata})
    }

    #[test]
    fn answers_to_something_else_are_no_answers() {
        let answer = |response: Value| json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        let good = json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1, 2]});
        assert_eq!(answered(Version::V1, answer(good.clone()), "u"), Ok(vec![json!(1), json!(2)]));
        let why = answered(Version::V1Beta1, answer(good), "u").expect_err("of another version");
        assert!(why.contains("expected webhook response of apiextensions.k8s.io/v1beta1"), "{why}");
        for (answer, says) in [
            (
                json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1"}),
                "got apiextensions.k8s.io/v1beta1",
            ),
            (json!([]), "expected webhook response"),
            (answer(Value::Null), "no response provided"),
            (answer(json!({"uid": "v", "result": {"status": "Success"}})), "expected response.uid=\"u\", got \"v\""),
            (answer(json!({"uid": "u", "result": {"status": "Failure", "message": "no idea"}})), "no idea"),
            (answer(json!({"uid": "u", "result": {"status": "Failed"}})), "response.result.status was 'Failed'"),
        ] {
            let why = answered(Version::V1, answer, "u").expect_err("no answer");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn the_webhook_says_which_version_it_likes_best() {
        let first = |names: &[&str]| Version::first_of(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(first(&["v2", "v1beta1", "v1"]), Some(Version::V1Beta1));
        assert_eq!(first(&["v1", "v1beta1"]), Some(Version::V1));
        assert_eq!(first(&["v2"]), None);
        let question = question(Version::V1Beta1, "u", "e.io/v2", vec![]);
        assert_eq!(question["apiVersion"], "apiextensions.k8s.io/v1beta1");
        let unnamed = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1",
            "response": {"result": {"status": "Success"}, "convertedObjects": [1]}});
        assert_eq!(answered(Version::V1Beta1, unnamed, "u"), Ok(vec![json!(1)]));
    }

    #[test]
    fn only_labels_and_annotations_change_in_metadata() {
        let given = json!({"name": "w", "namespace": "n", "uid": "u", "resourceVersion": "9", "generateName": "x",
            "labels": {"old": "Not Valid", "new": "fine"}, "annotations": {"Some/Where": "any thing"}});
        let kept = restored(&original(), converted(given), "e.io/v2").expect("the same object");
        let expected = json!({"name": "w", "namespace": "n", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"],
            "labels": {"old": "Not Valid", "new": "fine"}, "annotations": {"Some/Where": "any thing"}});
        assert_eq!((&kept["metadata"], &kept["spec"]), (&expected, &json!({"b": 1})));
        let bare = json!({"name": "w", "namespace": "n", "uid": "u"});
        let kept = restored(&original(), converted(bare), "e.io/v2").expect("the same object");
        assert!(kept["metadata"].get("labels").is_none(), "what it leaves out is gone");
    }

    #[test]
    fn another_object_is_refused() {
        let with = |field: &str, value: Value| {
            let mut metadata = json!({"name": "w", "namespace": "n", "uid": "u"});
            metadata[field] = value;
            converted(metadata)
        };
        let mut kind = with("name", json!("w"));
        kind["kind"] = "V".into();
        for (given, says) in [
            (json!("text"), "invalid groupVersion (expected e.io/v2, received )"),
            (original(), "invalid groupVersion (expected e.io/v2, received e.io/v1)"),
            (kind, "invalid kind (expected W, received V)"),
            (with("name", json!("v")), "must have the same name: w != v"),
            (with("namespace", json!("m")), "must have the same namespace: n != m"),
            (with("uid", json!("v")), "must have the same UID: u != v"),
            (with("labels", json!([1])), "invalid metadata.labels"),
            (with("labels", json!({"a": 1})), "metadata.labels[a] must be a string"),
            (with("labels", json!({"a": "not valid"})), "metadata.labels[a]: "),
            (with("annotations", json!({"a b": ""})), "metadata.annotations[a b]: "),
        ] {
            let why = restored(&original(), given, "e.io/v2").expect_err("another object");
            assert!(why.contains(says), "{why}");
        }
    }
}
