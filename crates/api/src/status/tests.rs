use super::*;
use crate::kind::Registry;

fn kind(group: &str, plural: &str) -> std::sync::Arc<Kind> {
    Registry::builtin().by_resource(group, "v1", plural).expect("a served kind").clone()
}

#[test]
fn texts_are_the_ones_that_clients_match() {
    let pods = kind("", "pods");
    let deployments = kind("apps", "deployments");
    assert_eq!(Status::not_found(&pods, "a").message, "pods \"a\" not found");
    assert_eq!(Status::not_found(&deployments, "a").message, "deployments.apps \"a\" not found");
    assert_eq!(Status::already_exists(&deployments, "a").code(), 409);
    let one = vec![FieldError::required("spec.containers[0].name", "")];
    assert_eq!(
        Status::invalid(&pods, "a", one.clone()).message,
        "Pod \"a\" is invalid: spec.containers[0].name: Required value"
    );
    let two = [one, vec![FieldError::invalid("spec.x", &json!(3), "must be less")]].concat();
    assert_eq!(
        Status::invalid(&deployments, "a", two).message,
        "Deployment.apps \"a\" is invalid: [spec.containers[0].name: Required value, spec.x: Invalid value: 3: must \
         be less]"
    );
}

#[test]
fn options_are_refused_by_their_name_and_generated_names_can_run_out() {
    let status = Status::invalid_options("PatchOptions", vec![FieldError::required("fieldManager", "is required")]);
    assert_eq!(status.message, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required");
    let details = status.details.expect("details");
    assert_eq!((details.group.as_str(), details.kind.as_str()), ("meta.k8s.io", "PatchOptions"));
    assert_eq!(
        (details.causes[0].reason.as_str(), details.causes[0].field.as_str()),
        ("FieldValueRequired", "fieldManager")
    );
    let status = Status::no_name_left(&kind("apps", "deployments"), "web-");
    assert!(status.is_already_exists());
    assert!(
        status.message.starts_with("deployments.apps \"web-\" already exists, the server was not able to generate")
    );
    assert_eq!(status.details.map(|details| details.retry_after_seconds), Some(1), "asking again may help");
}

#[test]
fn json_round_trips() {
    let pods = kind("", "pods");
    let errors = vec![FieldError::required("spec.containers", "give one")];
    for status in [
        Status::invalid(&pods, "a", errors),
        Status::too_many_requests("later", 3),
        Status::unauthorized(),
        Status::expired("too old resource version: 1 (9)"),
    ] {
        assert_eq!(Status::from_json(&status.to_json()), Some(status.clone()));
        assert_eq!(Status::from_response(status.code(), &status.to_bytes()), status);
    }
    assert_eq!(Status::from_json(&Status::success(&pods, "a", "u")), None);
    assert_eq!(Status::from_response(502, b"proxy down").message, "proxy down");
    assert!(Status::from_response(404, b"").is_not_found());
}
