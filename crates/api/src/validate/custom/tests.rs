use serde_json::{Value, json};

use crate::kind::{Kind, SchemaRef, Subresource, Subresources, fixture};
use crate::status::Status;
use crate::{admit, validate};

fn words(errors: &[validate::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn custom() -> Kind {
    fixture::kind(&fixture::version())
}

fn created(spec: Value) -> Vec<String> {
    let mut object = fixture::object(&spec);
    admit::default(&custom(), &mut object);
    words(&validate::create(&custom(), &object))
}

#[test]
fn objects_keep_the_rules_of_their_definition() {
    assert_eq!(created(json!({"image": "x", "ports": [{"port": 1}], "tags": ["a", "b"]})), Vec::<String>::new());
    let wrong =
        created(json!({"image": "x".repeat(21), "replicas": "many", "tags": ["a", "a"], "ports": [{"name": "a"}]}));
    for what in [
        "spec.image: Too long: may not be more than 20 bytes",
        "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
        "spec.ports[0].port: Required value",
        "spec.tags[1]: Duplicate value: \"a\"",
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the \
         existing errors to complete validation",
    ] {
        assert!(wrong.iter().any(|e| e == what), "{wrong:#?}\n{what}");
    }
    assert_eq!(created(json!({"image": "bad"})), ["spec: Invalid value: bad image"]);
}

#[test]
fn names_and_metadata_are_those_of_every_kind() {
    let mut object = fixture::object(&json!({}));
    object["metadata"]["name"] = json!("A_b");
    object["metadata"]["labels"] = json!({"a b": ""});
    let told = words(&validate::create(&custom(), &object));
    assert!(told.iter().any(|e| e.starts_with("metadata.name: Invalid value: \"A_b\"")), "{told:#?}");
    assert!(told.iter().any(|e| e.starts_with("metadata.labels: Invalid value: \"a b\"")), "{told:#?}");
    let old = fixture::object(&json!({}));
    let mut new = old.clone();
    new["metadata"]["uid"] = json!("other");
    let told = words(&validate::update(&custom(), &old, &new));
    assert_eq!(told, ["metadata.uid: Invalid value: \"other\": field is immutable"]);
}

#[test]
fn only_what_changed_is_judged() {
    let old = fixture::object(&json!({"image": "x".repeat(30), "replicas": 1}));
    let mut new = old.clone();
    new["spec"]["replicas"] = json!(2);
    assert_eq!(words(&validate::update(&custom(), &old, &new)), Vec::<String>::new());
    new["spec"]["image"] = json!("y".repeat(30));
    let told = words(&validate::update(&custom(), &old, &new));
    assert!(told.contains(&"spec.image: Too long: may not be more than 20 bytes".to_owned()), "{told:#?}");
}

#[test]
fn a_status_is_judged_alone() {
    let old = fixture::object(&json!({"image": "x".repeat(30)}));
    let mut new = old.clone();
    new["status"] = json!({"replicas": 3});
    assert_eq!(words(&validate::status(&custom(), &old, &new)), Vec::<String>::new());
    new["status"]["replicas"] = json!("many");
    let told = words(&validate::status(&custom(), &old, &new));
    assert!(told.iter().any(|e| e.starts_with("status.replicas: Invalid value")), "{told:#?}");
}

#[test]
fn clients_are_told_the_sort_of_every_mistake() {
    let mut object = fixture::object(&json!({"replicas": "many", "ports": [{}]}));
    admit::default(&custom(), &mut object);
    let status = Status::invalid(&custom(), "one", validate::create(&custom(), &object));
    assert!(status.message.starts_with("CronTab.example.com \"one\" is invalid: ["), "{status}");
    let causes = &status.details.as_ref().expect("details").causes;
    let of = |field: &str| causes.iter().find(|c| c.field == field).map(|c| c.reason.as_str());
    assert_eq!(of("spec.replicas"), Some("FieldValueTypeInvalid"));
    assert_eq!(of("spec.ports[0].port"), Some("FieldValueRequired"));
    assert_eq!(of("<nil>"), Some("FieldValueInvalid"));
}

fn definitions() -> Kind {
    let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
    let plural = "customresourcedefinitions";
    let mut kind =
        Kind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition", plural, SchemaRef::Builtin(schema.into()));
    kind.scope = crate::Scope::Cluster;
    kind.subresources = Subresources::of(&[Subresource::Status]);
    kind
}

#[test]
fn a_definition_is_completed_and_judged() {
    let kind = definitions();
    let mut definition = fixture::definition();
    definition["spec"]["names"] = json!({"plural": "crontabs", "kind": "CronTab"});
    definition["status"] = json!({"storedVersions": ["v0"], "conditions": [{"type": "Established", "status": "True"}]});
    admit::prepare_create(&kind, &mut definition);
    admit::default(&kind, &mut definition);
    assert_eq!(definition["spec"]["names"]["singular"], "crontab");
    assert_eq!(definition["spec"]["names"]["listKind"], "CronTabList");
    assert_eq!(definition["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    assert!(definition["status"].get("conditions").is_none());
    assert_eq!(definition["metadata"]["generation"], 1);
    let once = definition.clone();
    admit::default(&kind, &mut definition);
    assert_eq!(definition, once, "defaulting twice changes nothing");
    assert_eq!(words(&validate::create(&kind, &definition)), Vec::<String>::new());
    let mut wrong = definition.clone();
    wrong["metadata"]["name"] = json!("others.example.com");
    wrong["spec"]["versions"][0]["storage"] = json!(false);
    let told = words(&validate::create(&kind, &wrong));
    for what in ["metadata.name: Invalid value", "spec.versions: Invalid value"] {
        assert!(told.iter().any(|e| e.starts_with(what)), "{told:#?}\n{what}");
    }
}

#[test]
fn a_definition_remembers_what_was_stored() {
    let kind = definitions();
    let mut old = fixture::definition();
    admit::prepare_create(&kind, &mut old);
    admit::default(&kind, &mut old);
    let mut new = old.clone();
    let mut second = old["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    new["spec"]["versions"][0]["storage"] = json!(false);
    new["spec"]["versions"].as_array_mut().expect("versions").push(second);
    admit::default(&kind, &mut new);
    admit::prepare_update(&kind, &old, &mut new);
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(new["metadata"]["generation"], 2);
    assert_eq!(words(&validate::update(&kind, &old, &new)), Vec::<String>::new());
    // The old version may only go when nothing is stored in it.
    let mut gone = new.clone();
    gone["spec"]["versions"].as_array_mut().expect("versions").remove(0);
    let told = words(&validate::update(&kind, &new, &gone));
    assert!(told.iter().any(|e| e.starts_with("status.storedVersions[0]: Invalid value: \"v1\"")), "{told:#?}");
    let mut status = new.clone();
    status["status"]["storedVersions"] = json!(["v2"]);
    assert_eq!(words(&validate::status(&kind, &new, &status)), Vec::<String>::new());
    status["status"]["storedVersions"] = json!(["v9"]);
    assert_eq!(validate::status(&kind, &new, &status).len(), 1);
    let mut moved = new.clone();
    moved["spec"]["group"] = json!("example.org");
    let told = words(&validate::update(&kind, &new, &moved));
    assert!(told.iter().any(|e| e.contains("field is immutable")), "{told:#?}");
}
