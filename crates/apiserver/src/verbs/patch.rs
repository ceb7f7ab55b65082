//! Patching an object: the patch is applied to the present state, as often as others are faster.

use bytes::Bytes;
use http::StatusCode;
use memchr::memmem;
use naru_api::{FieldError, Status, decode, meta, patch};
use parking_lot::Mutex;
use serde_json::Value;

use super::apply::apply;
use super::update::{Part, update};
use super::{WriteOptions, Written};
use crate::call::Call;
use crate::wire::body::RequestBody;
use crate::wire::negotiate::{PATCHES, PatchType, patch_type};

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
            return Err(Status::unsupported_media_type(&PATCHES));
        }
        if language == PatchType::Strategic && call.route.kind.custom().is_some() {
            return Err(Status::unsupported_media_type(&patch::CUSTOM_LANGUAGES));
        }
        if call.query.get("force").is_some() {
            let fault = FieldError::forbidden("force", "may not be specified for non-apply patch");
            return Err(Status::invalid_options("PatchOptions", vec![fault]));
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

    /// Whether it may look at the owners of fields, or change single ones. The other languages can only replace the list.
    fn reads_owners(&self) -> bool {
        matches!(self, Patch::Json(bytes) if memmem::find(bytes, b"managedFields").is_some())
    }

    /// Applies the patch to the present state. A patch is for whatever is there, unless it says for which state: then
    /// the result names that state.
    fn apply_unpinned(&self, kind: &naru_api::Kind, object: &mut Value) -> Result<(), Status> {
        if let Patch::Json(_) = self {
            // Its tests may ask for the resourceVersion, so it is there while the operations run. One that they left
            // as it is demands nothing: against a later state the tests run again.
            let present = meta::resource_version(object).to_owned();
            self.apply(kind, object)?;
            if meta::resource_version(object) == present {
                meta::unset(object, "resourceVersion");
            }
            return Ok(());
        }
        meta::unset(object, "resourceVersion");
        self.apply(kind, object)
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
    options: WriteOptions<'_>,
) -> Result<(StatusCode, Written, Vec<String>), Status> {
    if patch_type(call.headers)? == PatchType::Apply {
        return apply(call, body, part, options).await;
    }
    let patch = Patch::read(call, body).await?;
    let options = WriteOptions { sees_owners: patch.reads_owners(), ..options };
    let kind = &call.route.kind;
    let warnings = Mutex::new(Vec::new());
    let change = |present: &Value| {
        let mut object = present.clone();
        patch.apply_unpinned(kind, &mut object)?;
        let decoded = decode::value(kind, object, options.validation)?;
        *warnings.lock() = decoded.warnings;
        Ok(decoded.object)
    };
    let written = update(call.core, call.user, call.route, call.place(), part, &change, options).await?;
    Ok((StatusCode::OK, written, warnings.into_inner()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(operations: &Value) -> Result<Value, Status> {
        let registry = naru_api::Registry::builtin();
        let kind = registry.by_kind("", "v1", "ConfigMap").expect("it is built in");
        let mut object = json!({ "metadata": { "name": "m", "resourceVersion": "7" }, "data": { "k": "1" } });
        Patch::Json(operations.to_string().into()).apply_unpinned(kind, &mut object).map(|()| object)
    }

    #[test]
    fn json_patches_can_test_the_version_and_pin_it_by_writing_one() {
        let path = "/metadata/resourceVersion";
        let change = json!({ "op": "replace", "path": "/data/k", "value": "2" });
        let tested = patched(&json!([{ "op": "test", "path": path, "value": "7" }, change])).unwrap();
        assert_eq!(tested["data"]["k"], "2");
        assert_eq!(meta::resource_version(&tested), "", "what it did not write it does not demand");
        let stale = patched(&json!([{ "op": "test", "path": path, "value": "6" }, change])).unwrap_err();
        assert!(stale.is_invalid(), "{stale}");
        for op in ["add", "replace"] {
            let pinned = patched(&json!([{ "op": op, "path": path, "value": "6" }, change])).unwrap();
            assert_eq!(meta::resource_version(&pinned), "6", "a version that was written is demanded");
        }
        let freed = patched(&json!([{ "op": "remove", "path": path }])).unwrap();
        assert_eq!(meta::resource_version(&freed), "");
    }
}
