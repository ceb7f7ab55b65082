//! The replica count of an object, seen as `autoscaling/v1 Scale` whatever its kind.

use http::{Response, StatusCode};
use naru_api::{Kind, LabelSelector, Status, meta, patch};
use naru_crd::JsonPath;
use serde_json::{Value, json};

use crate::call::Call;
use crate::object;
use crate::verbs::apply::Configuration;
use crate::verbs::patch::Patch;
use crate::verbs::update::{Part, update};
use crate::verbs::{WriteOptions, get};
use crate::versions;
use crate::wire::body::RequestBody;
use crate::wire::negotiate::{PatchType, patch_type};
use crate::wire::path::Verb;
use crate::wire::payload::Payload;
use crate::wire::respond;

/// Answers a request for `scale`.
///
/// # Errors
/// Whatever refuses it.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let served = match call.verb {
        Verb::Get => {
            let key = call.route.key(call.namespace(), call.name());
            let snapshot = get::state(call).await?;
            let entry = snapshot.get(&key).ok_or_else(|| Status::not_found(&call.route.kind, call.name()))?;
            entry.served.clone()
        }
        Verb::Update => {
            let scale = call.document(body).await?;
            let change = |present: &Value| rescaled(call, present, &scale);
            update(call.core, call.user, call.route, call.place(), Part::Scale, &change, options).await?.served
        }
        Verb::Patch if patch_type(call.headers)? == PatchType::Apply => {
            let read = Configuration::read_scale(call, body, options).await?;
            let change = |present: &Value| read.merged(Some(present));
            update(call.core, call.user, call.route, call.place(), Part::Scale, &change, read.options).await?.served
        }
        Verb::Patch => {
            let patch = Patch::read(call, body).await?;
            let change = |present: &Value| {
                let mut scale = of(&call.route.kind, present);
                meta::unset(&mut scale, "resourceVersion");
                match &patch {
                    Patch::Json(bytes) => patch::json(&mut scale, bytes)?,
                    // A scale has no lists: both languages mean the same.
                    Patch::Merge(value) | Patch::Strategic(value) => patch::merge(&mut scale, value)?,
                }
                rescaled(call, present, &scale)
            };
            update(call.core, call.user, call.route, call.place(), Part::Scale, &change, options).await?.served
        }
        _ => return Err(Status::method_not_allowed(&call.route.kind, call.method.as_str())),
    };
    let served = versions::bring_bytes(call.core, call.route, &served).await?;
    let object = versions::to_served(call.route, object::parse(&served));
    let scale = call.route.kind.custom().and_then(|version| version.scale.as_ref());
    if let Some(missing) = scale.filter(|scale| call.verb == Verb::Get && scale.wanted.first(&object).is_none()) {
        let path = missing.wanted.dotted();
        return Err(Status::internal(format!("the spec replicas field {path:?} does not exist")));
    }
    Ok(respond::value(StatusCode::OK, call.accepted.media, &of(&call.route.kind, &object)))
}

/// How many replicas are wanted and seen, and the selector of pods as text.
fn numbers(kind: &Kind, object: &Value) -> (i64, i64, String) {
    if let Some(scale) = kind.custom().and_then(|version| version.scale.as_ref()) {
        let number = |path: &JsonPath| path.first(object).and_then(Value::as_i64).unwrap_or(0);
        let selector = scale.selector.as_ref().and_then(|path| path.first(object)).and_then(Value::as_str);
        return (number(&scale.wanted), number(&scale.observed), selector.unwrap_or_default().to_owned());
    }
    let selector = &object["spec"]["selector"];
    let selector = if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() {
        LabelSelector::from_object(selector).map(|s| s.to_string()).unwrap_or_default()
    } else {
        // The oldest kinds select by a plain map.
        let pairs = selector.as_object().into_iter().flatten();
        pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
    };
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    (number(&object["spec"]["replicas"]), number(&object["status"]["replicas"]), selector)
}

/// An object as its scale.
pub(crate) fn of(kind: &Kind, object: &Value) -> Value {
    let (wanted, observed, selector) = numbers(kind, object);
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": wanted }, "status": { "replicas": observed, "selector": selector } })
}

/// Gives the object `name` the number of replicas that a scale says.
///
/// # Errors
/// 422 for a number that is none, 400 where there is no room for one.
pub(crate) fn put(kind: &Kind, name: &str, object: &mut Value, scale: &Value) -> Result<(), Status> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().and_then(|r| i32::try_from(r).ok()).filter(|r| *r >= 0).ok_or_else(|| {
            let error =
                naru_api::FieldError::invalid("spec.replicas", value, "must be a whole number from 0 to 2147483647");
            Status::invalid(kind, name, vec![error])
        })?,
    };
    match kind.custom().and_then(|version| version.scale.as_ref()) {
        Some(scale) if !scale.wanted.set(object, replicas.into()) => {
            let text = format!("{} cannot be set: what it lies in is no object", scale.wanted.dotted());
            return Err(Status::bad_request(text));
        }
        Some(_) => {}
        None => object["spec"]["replicas"] = replicas.into(),
    }
    Ok(())
}

fn rescaled(call: &Call<'_>, present: &Value, scale: &Value) -> Result<Value, Status> {
    let name = meta::name(scale);
    if !name.is_empty() && name != call.name() {
        let text = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name());
        return Err(Status::bad_request(text));
    }
    let mut new = present.clone();
    put(&call.route.kind, call.name(), &mut new, scale)?;
    match scale["metadata"].get("resourceVersion").filter(|v| v.is_string()) {
        Some(version) => meta::set(&mut new, "resourceVersion", version.clone()),
        None => {
            meta::unset(&mut new, "resourceVersion");
        }
    }
    Ok(new)
}
