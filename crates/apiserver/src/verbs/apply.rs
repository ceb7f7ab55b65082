//! Server-side apply: an object is made, or changed, so that it has the fields that a configuration names.
//!
//! Who owns which field, and what follows from that, is decided by `naru_api::apply`; here the present state is brought
//! and the result is written through the same doors as any other write.

mod handover;

use http::StatusCode;
use jiff::Timestamp;
use naru_api::apply::{Writer, apply as merge};
use naru_api::{FieldValidation, Reason, Status, decode, meta};
use serde_json::Value;

use super::create::{create, place};
use super::update::{Part, update};
use super::{ATTEMPTS, WriteOptions, Written};
use crate::apply::allowed;
use crate::call::Call;
use crate::inert;
use crate::wire::body::RequestBody;

/// Applies a configuration to an object or its status. An object that is not there is created; a status is not.
///
/// # Errors
/// 409 with a cause for each field that another writer owns, and as [`create`] and [`update`].
pub(crate) async fn apply(
    call: &Call<'_>,
    body: RequestBody,
    part: Part,
    options: WriteOptions<'_>,
) -> Result<(StatusCode, Written, Vec<String>), Status> {
    let Some(manager) = call.query.get("fieldManager") else {
        let text =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(Status::new(Reason::Invalid, text));
    };
    let force = call.query.flag("force")?;
    let bytes = body.read(call.headers).await?;
    let kind = &call.route.kind;
    let decoded = decode::applied(kind, &bytes, options.validation)?;
    let (mut config, mut warnings) = (decoded.object, decoded.warnings);
    place(call.route, call.namespace(), &mut config)?;
    if meta::name(&config) != call.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            meta::name(&config),
            call.name()
        )));
    }
    let options = WriteOptions { applied: true, ..options };
    let merged = |live: Option<&Value>| {
        let writer = Writer { manager, subresource: options.subresource, now: Timestamp::now() };
        let mut object = match merge(kind, live, &config, writer, force) {
            Err(conflict) if live.is_some_and(|live| handover::owns(manager, live, &conflict)) => {
                merge(kind, live, &config, writer, true)?
            }
            merged => merged?,
        };
        if part == Part::Main {
            handover::record(manager, &config, &mut object);
        }
        // It is for whatever is there, unless the configuration says for which state.
        match config["metadata"].get("resourceVersion") {
            Some(version) => meta::set(&mut object, "resourceVersion", version.clone()),
            None => drop(meta::unset(&mut object, "resourceVersion")),
        }
        decode::value(kind, object, FieldValidation::Ignore).map(|decoded| decoded.object)
    };
    let change = |live: &Value| merged(Some(live));
    for _ in 0..ATTEMPTS {
        match update(call.core, call.user, call.route, call.place(), part, &change, options).await {
            Err(status) if status.is_not_found() && part == Part::Main => {}
            written => return Ok((StatusCode::OK, written?, warnings)),
        }
        allowed(call.core, call.user, call.route, "create", call.namespace(), call.name())?;
        if !meta::uid(&config).is_empty() {
            let why = format!("the configuration is for the object with UID {}, which is gone", meta::uid(&config));
            return Err(Status::conflict(kind, call.name(), &why));
        }
        match create(call.core, call.user, call.route, call.namespace(), merged(None)?, options).await {
            Err(status) if status.is_already_exists() => {}
            written => {
                warnings.extend(inert::warning(&call.core.store.snapshot(), call.route, &config));
                return Ok((StatusCode::CREATED, written?, warnings));
            }
        }
    }
    Err(Status::modified(kind, call.name()))
}
