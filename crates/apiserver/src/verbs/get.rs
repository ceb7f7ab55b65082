//! Reading one object: its stored bytes.

use http::{Response, StatusCode};
use naru_api::Status;
use naru_store::{Revision, Snapshot};

use crate::call::Call;
use crate::represent::Form;
use crate::versions;
use crate::wire::payload::Payload;
use crate::write::unavailable;

/// Answers GET of one object.
///
/// # Errors
/// 404 without such an object.
pub(crate) async fn get(call: &Call<'_>) -> Result<Response<Payload>, Status> {
    let snapshot = state(call).await?;
    if let Some(wanted) = call.query.number("resourceVersion")? {
        reached(Revision(wanted), snapshot.revision())?;
    }
    let key = call.route.key(call.namespace(), call.name());
    let entry = snapshot.get(&key).ok_or_else(|| Status::not_found(&call.route.kind, call.name()))?;
    let form = Form::of(call.accepted, call.query)?;
    let entry = versions::bring_one(call.core, call.route, entry).await?;
    Ok(form.answer(StatusCode::OK, call.route, &entry.served))
}

/// A state as new as the client wants: the newest, unless it says that any will do (0), or one not older than it knows.
///
/// # Errors
/// 400 for a resource version that is none, 503 when the store cannot be asked for the newest.
pub(crate) async fn state(call: &Call<'_>) -> Result<Snapshot, Status> {
    let here = call.core.store.snapshot();
    match call.query.number("resourceVersion")? {
        Some(wanted) if Revision(wanted) <= here.revision() => Ok(here),
        _ => call.core.store.confirm().await.map_err(|e| unavailable(&e)),
    }
}

/// Whether a revision was reached: a client that saw another server's, or a former cluster's, must wait.
///
/// # Errors
/// 504 with the cause that client libraries know.
pub(crate) fn reached(wanted: Revision, present: Revision) -> Result<(), Status> {
    if wanted <= present {
        return Ok(());
    }
    let mut status = Status::timeout(format!("Too large resource version: {wanted}, current: {present}"));
    status.details = Some(Box::new(naru_api::status::Details {
        causes: vec![naru_api::status::Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }],
        retry_after_seconds: 1,
        ..Default::default()
    }));
    Err(status)
}
