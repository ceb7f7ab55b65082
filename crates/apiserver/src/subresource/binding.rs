//! Assigning a pod to a node: once, and for good.

use http::{Response, StatusCode};
use jiff::Timestamp;
use naru_api::{FieldError, Kind, Status, meta};
use serde_json::{Value, json};

use super::posted::Posted;
use crate::call::Call;
use crate::routes::Route;
use crate::verbs::update::{Part, raise_generation, update};
use crate::verbs::{WriteOptions, create};
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// Answers POST of a `v1 Binding` below a pod.
///
/// # Errors
/// 409 when the pod has a node or is being deleted.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let (route, name) = (call.route, call.name());
    let posted = Posted { route, subresource: "binding", name, api_version: "v1", kind: "Binding" };
    let binding = posted.admitted(call, call.document(body).await?, options).await?;
    assign(call, call.route, call.name(), &binding, options).await
}

/// Answers POST of a `v1 Binding` to its own collection: it has the name of its pod.
///
/// # Errors
/// As [`answer`], and 404 without such a pod.
pub(crate) async fn post(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let (mut binding, _) = call.object(body, options).await?;
    create::place(call.route, call.namespace(), &mut binding)?;
    let name = meta::name(&binding).to_owned();
    if name.is_empty() {
        let missing = FieldError::required("metadata.name", "name or generateName is required");
        return Err(Status::invalid(&call.route.kind, "", vec![missing]));
    }
    let posted = Posted { route: call.route, subresource: "", name: &name, api_version: "v1", kind: "Binding" };
    let binding = posted.admitted(call, binding, options).await?;
    let pods = call.core.route("", "v1", "pods")?;
    assign(call, &pods, &name, &binding, options).await
}

async fn assign(
    call: &Call<'_>,
    pods: &Route,
    name: &str,
    binding: &Value,
    options: WriteOptions<'_>,
) -> Result<Response<Payload>, Status> {
    let target = binding["target"]["name"].as_str().filter(|n| !n.is_empty());
    let node = target.ok_or_else(|| Status::bad_request("target.name: name the node to bind the pod to"))?;
    let change = |pod: &Value| bind(&pods.kind, pod, binding, node);
    // Whoever has a say was asked about the binding.
    let options = WriteOptions { subresource: "", ..options };
    update(call.core, call.user, pods, (call.namespace(), name), Part::Trusted, &change, options).await?;
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    let mut response = respond::value(StatusCode::CREATED, call.accepted.media, &status);
    respond::warn(&mut response, &call.notes.warnings());
    Ok(response)
}

fn bind(pods: &Kind, pod: &Value, binding: &Value, node: &str) -> Result<Value, Status> {
    let name = meta::name(pod);
    let conflict = |why: String| {
        let mut status = Status::conflict(pods, name, &why);
        status.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
        if let Some(details) = &mut status.details {
            details.kind = "pods/binding".to_owned();
        }
        Err(status)
    };
    let present = meta::text(pod, "spec.nodeName");
    if !present.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {present:?}"));
    }
    if meta::is_deleting(pod) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let wanted = meta::uid(binding);
    if !wanted.is_empty() && wanted != meta::uid(pod) {
        return conflict(format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {}",
            meta::uid(pod)
        ));
    }
    let mut new = pod.clone();
    // The scheduler decided on a state it saw; what matters of it was checked above.
    meta::unset(&mut new, "resourceVersion");
    new["spec"]["nodeName"] = node.into();
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        meta::set_annotation(&mut new, key, value.as_str().unwrap_or_default());
    }
    let now = meta::time(Timestamp::now());
    let scheduled =
        json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now });
    match new["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != "PodScheduled");
            conditions.push(scheduled);
        }
        None => new["status"]["conditions"] = json!([scheduled]),
    }
    raise_generation(pod, &mut new);
    Ok(new)
}
