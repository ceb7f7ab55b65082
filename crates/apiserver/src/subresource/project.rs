//! Applying a Compose project: its resolved model comes in, objects are made of it here, one answer says what changed.
//!
//! On the server, so that every client that sends the same project gets the same objects, whatever its version; the
//! files' text stays with the project object, to be shown back.

use http::{Response, StatusCode};
use naru_api::naru::names as n;
use naru_api::{Status, meta};
use naru_compose::{Project, Translation, translate};
use serde_json::{Value, json};

use crate::apply::{ApplyOptions, Change, Prune, apply};
use crate::call::Call;
use crate::object;
use crate::verbs::WriteOptions;
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// What a project is made of, in an order in which each finds what it refers to. Claims are not here: data goes only
/// when a person says so.
const KINDS: [(&str, &str); 7] = [
    ("naru.io/v1", "Network"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("v1", "Service"),
];

/// Answers POST of a `naru.io/v1 Project` to `…/projects/{name}/apply`.
///
/// # Errors
/// When the model is not a project, its namespace is somebody else's, or an object is refused.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call.query)?;
    let (sent, _) = call.object(body, options).await?;
    let model = sent["spec"]["model"].as_str().unwrap_or_default();
    let project: Project = serde_json::from_str(model)
        .map_err(|error| Status::bad_request(format!("spec.model: not a resolved Compose project: {error}")))?;
    let Translation { namespace, mut objects, warnings } =
        translate(&project).map_err(|error| Status::bad_request(error.to_string()))?;
    if namespace != call.namespace() || namespace != call.name() {
        let (asked, name) = (call.namespace(), &project.name);
        return Err(Status::bad_request(format!("the project {name:?} lives in {namespace:?}, not in {asked:?}")));
    }
    own_namespace(call, &namespace, &project.name)?;
    let files: Vec<&str> =
        sent["spec"]["files"].as_array().into_iter().flatten().filter_map(|file| file["path"].as_str()).collect();
    if let Some(first) = objects.first_mut() {
        first["metadata"]["annotations"] = json!({"naru.io/config-files": files.join(",")});
    }
    objects.push(json!({
        "apiVersion": "naru.io/v1",
        "kind": "Project",
        "metadata": {
            "name": namespace,
            "namespace": namespace,
            "labels": {n::PROJECT: naru_compose::translate::label_value(&project.name)},
        },
        "spec": sent["spec"],
    }));
    let prune = call.query.get("prune").is_some_and(|value| value == "true").then(|| Prune {
        namespace: namespace.clone(),
        labels: format!("{}={}", n::PROJECT, naru_compose::translate::label_value(&project.name)),
        kinds: KINDS.map(|(version, kind)| (version.to_owned(), kind.to_owned())).to_vec(),
    });
    let apply_options = ApplyOptions { dry_run: options.dry_run, prune };
    let changes = apply(call.core, call.user, objects, &apply_options).await?;
    let body = json!({
        "namespace": namespace,
        "changes": changes.iter().map(shown).collect::<Vec<_>>(),
        "warnings": warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    Ok(respond::value(StatusCode::OK, call.accepted.media, &body))
}

/// A project may make its namespace, and use one that a project of the same name made; no other.
fn own_namespace(call: &Call<'_>, namespace: &str, project: &str) -> Result<(), Status> {
    let route = call.core.route_of("v1", "Namespace")?;
    let snapshot = call.core.store.snapshot();
    let Some(entry) = snapshot.get(&route.key("", namespace)) else { return Ok(()) };
    let found = object::parse(&entry.served);
    if meta::is_deleting(&found) {
        let text = format!("the project {project:?} is being removed; wait until it is gone and try again");
        return Err(Status::bad_request(text));
    }
    match found["metadata"]["labels"][n::PROJECT].as_str() {
        Some(_) => Ok(()),
        None => Err(Status::bad_request(format!(
            "the namespace {namespace:?} exists and is not a Compose project's: choose another project name with -p"
        ))),
    }
}

fn shown(change: &Change) -> Value {
    let object = object::parse(&change.object);
    let labels = &object["metadata"]["labels"];
    let title = object["metadata"]["annotations"][n::TITLE].as_str().or(object["spec"]["title"].as_str());
    let mut out = json!({
        "action": change.action.as_str(),
        "apiVersion": change.api_version,
        "kind": change.kind,
        "namespace": change.namespace,
        "name": change.name,
        "title": title.unwrap_or(&change.name),
    });
    if let Some(service) = labels[n::SERVICE].as_str() {
        out["service"] = service.into();
    }
    out
}
