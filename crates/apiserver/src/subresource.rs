//! Requests below an object.

pub(crate) mod approval;
pub(crate) mod binding;
mod eviction;
mod posted;
mod project;
pub(crate) mod scale;
mod token;

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use naru_api::{FieldValidation, Status, Subresource, decode, meta};
use serde_json::Value;

use crate::admission::namespace;
use crate::call::Call;
use crate::node_proxy;
use crate::resource::{patch_part, put, written_response};
use crate::verbs::apply::Configuration;
use crate::verbs::update::{Part, raise_generation, update};
use crate::verbs::{WriteOptions, create, get};
use crate::wire::body::RequestBody;
use crate::wire::negotiate::{PatchType, patch_type};
use crate::wire::path::Verb;
use crate::wire::payload::Payload;

/// Whether requests for this subresource are answered by a node.
pub(crate) fn is_forwarded(subresource: &str) -> bool {
    matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy")
}

/// Answers a request below an object.
///
/// # Errors
/// Whatever refuses it.
pub(crate) async fn answer(
    call: &Call<'_>,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Payload>, Status> {
    let kind = &call.route.kind;
    let word = call.path.subresource.as_deref().unwrap_or_default();
    if word == "apply" && kind.is("naru.io", "Project") && call.path.rest.is_empty() && !call.namespace().is_empty() {
        return project::answer(call, body).await;
    }
    let absent = || match kind.custom() {
        Some(_) => Status::not_found(kind, call.name()),
        None => Status::no_such_path(),
    };
    let subresource = Subresource::from_path(word).filter(|s| kind.has(*s)).ok_or_else(absent)?;
    if kind.is_namespaced() && call.namespace().is_empty() {
        return Err(Status::no_such_path());
    }
    let refused = || Status::method_not_allowed(kind, call.method.as_str());
    match subresource {
        Subresource::Log | Subresource::Exec | Subresource::Attach | Subresource::PortForward | Subresource::Proxy => {
            return node_proxy::answer(call, subresource, body, upgrade).await;
        }
        _ if !call.path.rest.is_empty() => return Err(Status::no_such_path()),
        _ => {}
    }
    match (subresource, call.verb) {
        (Subresource::Scale, _) => scale::answer(call, body).await,
        (_, Verb::Get) if *call.method == Method::GET && readable(subresource) => get::get(call).await,
        (Subresource::Status, Verb::Update) => put(call, body, Part::Status).await,
        (Subresource::Status, Verb::Patch) => patch_part(call, body, Part::Status).await,
        (Subresource::EphemeralContainers, Verb::Update) => put(call, body, Part::Spec("ephemeralContainers")).await,
        (Subresource::EphemeralContainers, Verb::Patch) => {
            patch_part(call, body, Part::Spec("ephemeralContainers")).await
        }
        (Subresource::Resize | Subresource::Finalize | Subresource::Approval, Verb::Update | Verb::Patch) => {
            narrow(call, body, subresource).await
        }
        (Subresource::Binding, Verb::Create) => binding::answer(call, body).await,
        (Subresource::Eviction, Verb::Create) => eviction::answer(call, body).await,
        (Subresource::Token, Verb::Create) => token::answer(call, body).await,
        _ => Err(refused()),
    }
}

fn readable(subresource: Subresource) -> bool {
    matches!(
        subresource,
        Subresource::Status | Subresource::EphemeralContainers | Subresource::Resize | Subresource::Approval
    )
}

/// Subresources that take one narrow thing out of the whole object that is sent.
async fn narrow(call: &Call<'_>, body: RequestBody, subresource: Subresource) -> Result<Response<Payload>, Status> {
    let options = WriteOptions::of(call)?;
    let signed = AtomicBool::new(false);
    let take = |old: &Value, given: &Value| {
        let mut new = old.clone();
        match subresource {
            Subresource::Finalize => {
                namespace::judge_finalizers(&call.route.kind, given)?;
                new["spec"]["finalizers"] = given["spec"]["finalizers"].clone();
            }
            Subresource::Approval => {
                signed.store(approval::decide(call, old, given, &mut new)?, Ordering::Relaxed);
            }
            _ => resize(&mut new, given),
        }
        match given["metadata"].get("resourceVersion").filter(|_| *call.method == Method::PUT) {
            Some(version) => meta::set(&mut new, "resourceVersion", version.clone()),
            None => {
                meta::unset(&mut new, "resourceVersion");
            }
        }
        raise_generation(old, &mut new);
        // What was taken over is checked for its types like any other input.
        decode::value(&call.route.kind, new, FieldValidation::Ignore).map(|decoded| decoded.object)
    };
    let written = if call.verb == Verb::Update {
        let (mut given, _) = call.object(body, options).await?;
        create::place(call.route, call.namespace(), &mut given)?;
        let change = |old: &Value| take(old, &given);
        update(call.core, call.user, call.route, call.place(), Part::Trusted, &change, options).await?
    } else if patch_type(call.headers)? == PatchType::Apply {
        let read = Configuration::read(call, body, options).await?;
        let change = |old: &Value| {
            let mut given = read.merged(Some(old))?;
            let mut new = take(old, &given)?;
            // It says who owns what from now on.
            match meta::unset(&mut given, "managedFields") {
                Some(owners) => meta::set(&mut new, "managedFields", owners),
                None => drop(meta::unset(&mut new, "managedFields")),
            }
            Ok(new)
        };
        update(call.core, call.user, call.route, call.place(), Part::Trusted, &change, read.options).await?
    } else {
        let patch = crate::verbs::patch::Patch::read(call, body).await?;
        let change = |old: &Value| {
            let mut given = old.clone();
            patch.apply(&call.route.kind, &mut given)?;
            take(old, &given)
        };
        update(call.core, call.user, call.route, call.place(), Part::Trusted, &change, options).await?
    };
    if signed.load(Ordering::Relaxed) && !options.dry_run {
        approval::settle(call.core, &written).await?;
    }
    written_response(call, StatusCode::OK, &written, &[]).await
}

/// Takes over the resources of containers, by name, and nothing else.
fn resize(pod: &mut Value, given: &Value) {
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let same = |c: &&Value| c["name"] == container["name"];
            if let Some(wanted) = given["spec"][list].as_array().into_iter().flatten().find(same) {
                container["resources"] = wanted["resources"].clone();
            }
        }
    }
}
