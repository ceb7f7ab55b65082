//! Patching an object: the patch is applied to the present state, as often as others are faster.

use bytes::Bytes;
use http::StatusCode;
use naru_api::{Status, decode, meta, patch};
use parking_lot::Mutex;
use serde_json::Value;

use super::update::{Part, update};
use super::{WriteOptions, Written};
use crate::call::Call;
use crate::wire::body::RequestBody;
use crate::wire::negotiate::{PatchType, patch_type};

/// A patch that was read, and can be applied again and again.
pub(crate) enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
}

// === impl Patch ===

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 415 for an unknown patch type, 400 for a body that is no patch.
    pub(crate) async fn read(call: &Call<'_>, body: RequestBody) -> Result<Patch, Status> {
        let language = patch_type(call.headers)?;
        if language == PatchType::Apply {
            let mut status = Status::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
            ]);
            status.message = format!(
                "server-side apply is not served yet: use kubectl apply without --server-side; {}",
                status.message
            );
            return Err(status);
        }
        let bytes = body.read(call.headers).await?;
        let parse = || {
            let value: Value = serde_json::from_slice(&bytes)
                .map_err(|e| Status::bad_request(format!("the patch is not JSON: {e}")))?;
            if value.is_object() { Ok(value) } else { Err(Status::bad_request("the patch must be a JSON object")) }
        };
        match language {
            PatchType::Json => Ok(Patch::Json(bytes.clone())),
            PatchType::Merge => parse().map(Patch::Merge),
            PatchType::Strategic | PatchType::Apply => parse().map(Patch::Strategic),
        }
    }

    /// Applies the patch.
    ///
    /// # Errors
    /// 422 or 400 when it does not fit.
    pub(crate) fn apply(&self, kind: &naru_api::Kind, object: &mut Value) -> Result<(), Status> {
        match self {
            Patch::Json(bytes) => patch::json(object, bytes),
            Patch::Merge(value) => patch::merge(object, value),
            Patch::Strategic(value) => patch::strategic(kind, object, value),
        }
    }
}

/// Patches an object, or a part of it.
///
/// # Errors
/// As [`update`].
pub(crate) async fn patch(
    call: &Call<'_>,
    body: RequestBody,
    part: Part,
    options: WriteOptions,
) -> Result<(StatusCode, Written, Vec<String>), Status> {
    let patch = Patch::read(call, body).await?;
    let kind = &call.route.kind;
    let warnings = Mutex::new(Vec::new());
    let change = |present: &Value| {
        let mut object = present.clone();
        // A patch is for whatever is there, unless it says for which state.
        meta::unset(&mut object, "resourceVersion");
        patch.apply(kind, &mut object)?;
        let decoded = decode::value(kind, object, options.validation)?;
        *warnings.lock() = decoded.warnings;
        Ok(decoded.object)
    };
    let written = update(call.core, call.user, call.route, call.place(), part, &change, options).await?;
    Ok((StatusCode::OK, written, warnings.into_inner()))
}
