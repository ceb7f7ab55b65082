//! Requests for objects and collections of stored kinds, and for reviews.

use http::{Response, StatusCode};
use naru_api::kind::Storage;
use naru_api::{FieldError, FieldReason, Kind, Status, meta, validate};
use serde_json::Value;

use crate::authorization::reviews;
use crate::call::Call;
use crate::components;
use crate::inert;
use crate::object;
use crate::represent::Form;
use crate::subresource::binding;
use crate::verbs::delete::{By, DeleteOptions, Deleted, delete};
use crate::verbs::update::{Part, update};
use crate::verbs::{WriteOptions, Written, create, get, list, patch, watch};
use crate::versions;
use crate::wire::body::RequestBody;
use crate::wire::negotiate::Shape;
use crate::wire::path::Verb;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// Collections whose objects are not replaced unseen.
const CONDITIONAL: [&str; 16] = [
    "apiservices.apiregistration.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "leases.coordination.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "poddisruptionbudgets.policy",
    "runtimeclasses.node.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
];

/// Collections of which whoever deletes an object is told it whole, as it last was: Kubernetes' clients expect it. Of
/// others they are told its name and identity.
const TOLD_WHOLE: [&str; 16] = [
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "deviceclasses.resource.k8s.io",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourcequotas",
    "resourceslices.resource.k8s.io",
    "serviceaccounts",
    "services",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
];

/// Answers a request for an object or a collection.
///
/// # Errors
/// Whatever refuses it.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let kind = &call.route.kind;
    match kind.storage {
        Storage::Stored => {}
        Storage::Observed => return components::answer(call).await,
        Storage::Review if call.verb != Verb::Create || call.path.name.is_some() => {
            return Err(Status::method_not_allowed(kind, call.verb.as_str()));
        }
        // It has no metadata of which a row could be made.
        Storage::Review if !matches!(call.accepted.shape, Shape::Whole | Shape::Bare | Shape::Discovery) => {
            return Err(Status::not_acceptable(&["application/json", "application/yaml"]));
        }
        Storage::Review if kind.is("", "Binding") => return binding::post(call, body).await,
        Storage::Review => return reviews::answer(call, body).await,
    }
    // Objects of a namespaced kind are written in a namespace; only lists and watches go across.
    let across = kind.is_namespaced() && call.namespace().is_empty();
    let named = call.path.name.is_some();
    match call.verb {
        _ if across && named => Err(Status::no_such_path()),
        Verb::Create | Verb::DeleteCollection if across => Err(Status::method_not_allowed(kind, call.verb.as_str())),
        Verb::DeleteCollection if !kind.verbs().contains(&"deletecollection") => {
            Err(Status::method_not_allowed(kind, call.verb.as_str()))
        }
        Verb::Create if named => Err(Status::method_not_allowed(kind, "create")),
        Verb::Update | Verb::Patch if !named => Err(Status::method_not_allowed(kind, call.verb.as_str())),
        Verb::Get => get::get(call).await,
        Verb::List => list::list(call).await,
        Verb::Watch => watch::watch(call).await,
        Verb::Create => post(call, body).await,
        Verb::Update => put(call, body, Part::Main).await,
        Verb::Patch => patch_part(call, body, Part::Main).await,
        Verb::Delete => remove(call, body).await,
        Verb::DeleteCollection => remove_all(call, body).await,
    }
}

async fn post(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let (object, mut warnings) = call.object(body, options).await?;
    let faults = validate::served(&call.route.kind, &object);
    if !faults.is_empty() {
        return Err(Status::invalid(&call.route.kind, meta::name(&object), faults));
    }
    warnings.extend(inert::warning(&call.core.store.snapshot(), call.route, &object));
    let written = create::create(call.core, call.user, call.route, call.namespace(), object, options).await?;
    written_response(call, StatusCode::CREATED, &written, &warnings).await
}

/// Replaces a part of an object.
///
/// # Errors
/// Whatever refuses it.
pub(crate) async fn put(call: &Call<'_>, body: RequestBody, part: Part) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let (mut object, warnings) = call.object(body, options).await?;
    create::place(call.route, call.namespace(), &mut object)?;
    let change = |_: &Value| match pinned(&call.route.kind, &object) {
        None => Ok(object.clone()),
        Some(refusal) => Err(refusal),
    };
    let written = update(call.core, call.user, call.route, call.place(), part, &change, options).await?;
    written_response(call, StatusCode::OK, &written, &warnings).await
}

/// Objects of some kinds are only replaced by whoever says which state was seen: those that users define, and the
/// built-in ones of which Kubernetes asks the same.
fn pinned(kind: &Kind, object: &Value) -> Option<Status> {
    let needed = kind.custom().is_some() || CONDITIONAL.contains(&kind.collection());
    let given = !matches!(meta::resource_version(object), "" | "0");
    (needed && !given).then(|| {
        let fault = FieldError {
            path: "metadata.resourceVersion".to_owned(),
            reason: FieldReason::Invalid,
            detail: "must be specified for an update".to_owned(),
            value: "0x0".to_owned(),
        };
        // Kubernetes names the resource here, where it names the kind elsewhere.
        Status::invalid_as(&kind.group, &kind.plural, meta::name(object), vec![fault])
    })
}

/// Patches a part of an object.
///
/// # Errors
/// Whatever refuses it.
pub(crate) async fn patch_part(call: &Call<'_>, body: RequestBody, part: Part) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let (code, written, warnings) = patch::patch(call, body, part, options).await?;
    written_response(call, code, &written, &warnings).await
}

/// The answer to a write.
///
/// # Errors
/// 400 for an unknown form, 500 for what cannot be converted to the version that was written.
pub(crate) async fn written_response(
    call: &Call<'_>,
    code: StatusCode,
    written: &Written,
    warnings: &[String],
) -> Result<Response<Payload>, Status> {
    let form = Form::of(call.accepted, call.query)?;
    let served = versions::bring_bytes(call.core, call.route, &written.served).await?;
    let mut response = form.answer(code, call.route, &served);
    respond::warn(&mut response, warnings);
    respond::warn(&mut response, &call.notes.warnings());
    Ok(response)
}

/// The options of a deletion, from the body and the query.
pub(crate) async fn delete_options(call: &Call<'_>, body: RequestBody) -> Result<DeleteOptions, Status> {
    let mut document = call.document(body).await?;
    if !document.is_object() && !document.is_null() {
        return Err(Status::bad_request("expected a DeleteOptions object in the body, or nothing"));
    }
    if let Some(policy) = call.query.get("propagationPolicy") {
        document["propagationPolicy"] = policy.into();
    }
    let mut options = DeleteOptions::of(&document)?;
    options.dry_run |= WriteOptions::of(call)?.dry_run;
    if let Some(seconds) = call.query.number("gracePeriodSeconds")? {
        options.grace = i64::try_from(seconds).ok();
    }
    Ok(options)
}

async fn remove(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = delete_options(call, body).await?;
    let by = By { user: call.user, notes: Some(&call.notes) };
    match delete(call.core, by, call.route, call.place(), &options).await? {
        Deleted::Marked(written) => written_response(call, StatusCode::OK, &written, &[]).await,
        Deleted::Gone(written) if TOLD_WHOLE.contains(&call.route.kind.collection()) => {
            written_response(call, StatusCode::OK, &written, &[]).await
        }
        Deleted::Gone(written) => {
            let uid = meta::uid(&object::parse(&written.served)).to_owned();
            let status = Status::success(&call.route.kind, call.name(), &uid);
            let mut response = respond::value(StatusCode::OK, call.accepted.media, &status);
            respond::warn(&mut response, &call.notes.warnings());
            Ok(response)
        }
    }
}

/// Deletes a page of a collection, and answers with it as it was.
async fn remove_all(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let form = Form::of(call.accepted, call.query)?;
    let options = delete_options(call, body).await?;
    let page = list::page(call).await?;
    for entry in &page.entries {
        let (_, namespace, name) = entry.key.parts();
        let by = By { user: call.user, notes: Some(&call.notes) };
        match delete(call.core, by, call.route, (namespace, name), &options).await {
            // Someone else was faster: that is what was wanted.
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
    }
    let mut response = list::answer(call, form, page).await?;
    respond::warn(&mut response, &call.notes.warnings());
    Ok(response)
}
