//! Server-side apply: an object is made, or changed, so that it has the fields that a configuration names.
//!
//! Who owns which field, and what follows from that, is decided by `naru_api::apply`; here the present state is brought
//! and the result is written through the same doors as any other write.

mod handover;

use http::StatusCode;
use jiff::Timestamp;
use naru_api::apply::{Writer, apply as merge};
use naru_api::{FieldError, FieldValidation, Format, Status, decode, meta};
use serde_json::{Value, json};

use super::create::{create, place};
use super::update::{Part, update};
use super::{ATTEMPTS, WriteOptions, Written, owners};
use crate::apply::allowed;
use crate::call::Call;
use crate::inert;
use crate::subresource::scale;
use crate::wire::body::RequestBody;

/// A configuration that was read, and can be applied again and again.
pub(crate) struct Configuration<'a> {
    call: &'a Call<'a>,
    config: Value,
    manager: &'a str,
    force: bool,
    /// With what it is to be written.
    pub(crate) options: WriteOptions<'a>,
    /// What decoding it warned about.
    pub(crate) warnings: Vec<String>,
}

// === impl Configuration ===

impl<'a> Configuration<'a> {
    /// Reads a configuration of the route's kind.
    ///
    /// # Errors
    /// 422 without a manager, 400 for what is no such configuration or is meant for another object.
    pub(crate) async fn read(
        call: &'a Call<'a>,
        body: RequestBody,
        options: WriteOptions<'a>,
    ) -> Result<Configuration<'a>, Status> {
        let mut read = Configuration::of(call, options)?;
        let bytes = body.read(call.headers).await?;
        let decoded = decode::applied(&call.route.kind, &bytes, options.validation)?;
        (read.config, read.warnings) = (decoded.object, decoded.warnings);
        read.placed()
    }

    /// Reads a `Scale`: the number of replicas of an object of the route's kind, and nothing else of it.
    ///
    /// # Errors
    /// As [`Configuration::read`].
    pub(crate) async fn read_scale(
        call: &'a Call<'a>,
        body: RequestBody,
        options: WriteOptions<'a>,
    ) -> Result<Configuration<'a>, Status> {
        let mut read = Configuration::of(call, options)?;
        let sent = decode::untyped(&body.read(call.headers).await?, Format::Yaml)?;
        let (version, kind) = (meta::api_version(&sent), meta::kind(&sent));
        if (version, kind) != ("autoscaling/v1", "Scale") {
            return Err(Status::bad_request(format!("expected an autoscaling/v1 Scale, got {version} {kind:?}")));
        }
        read.config = json!({"metadata": {}});
        for field in ["name", "namespace", "uid", "resourceVersion", "managedFields"] {
            if let Some(value) = sent["metadata"].get(field) {
                meta::set(&mut read.config, field, value.clone());
            }
        }
        if !sent["spec"]["replicas"].is_null() {
            read.config["spec"] = json!({});
            scale::put(&call.route.kind, call.name(), &mut read.config, &sent)?;
        }
        read.placed()
    }

    fn of(call: &'a Call<'a>, options: WriteOptions<'a>) -> Result<Configuration<'a>, Status> {
        let Some(manager) = call.query.get("fieldManager") else {
            let fault = FieldError::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid_options("PatchOptions", vec![fault]));
        };
        let options = WriteOptions { applied: true, sees_owners: true, ..options };
        let force = call.query.flag("force")?;
        Ok(Configuration { call, config: Value::Null, manager, force, options, warnings: Vec::new() })
    }

    /// Checks that it is meant for the object that the request names.
    fn placed(mut self) -> Result<Configuration<'a>, Status> {
        let call = self.call;
        place(call.route, call.namespace(), &mut self.config)?;
        let name = meta::name(&self.config);
        if name != call.name() {
            let text = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name());
            return Err(Status::bad_request(text));
        }
        Ok(self)
    }

    /// What the configuration makes of the present object, or of none.
    ///
    /// # Errors
    /// 409 with a cause for each field that another writer owns.
    pub(crate) fn merged(&self, live: Option<&Value>) -> Result<Value, Status> {
        let Configuration { call, config, manager, force, options, .. } = self;
        let kind = &call.route.kind;
        let versions = |object: &Value, to: &str| owners::in_version(call.core, call.route, object, to);
        let writer = Writer { manager, subresource: options.subresource, now: Timestamp::now() };
        let mut object = match merge(kind, live, config, writer, *force, &versions) {
            Err(conflict) if live.is_some_and(|live| handover::owns(manager, live, &conflict)) => {
                merge(kind, live, config, writer, true, &versions)?
            }
            merged => merged?,
        };
        if options.subresource.is_empty() {
            handover::record(manager, config, &mut object);
        }
        // It is for whatever is there, unless the configuration says for which state.
        match config["metadata"].get("resourceVersion") {
            Some(version) => meta::set(&mut object, "resourceVersion", version.clone()),
            None => drop(meta::unset(&mut object, "resourceVersion")),
        }
        decode::value(kind, object, FieldValidation::Ignore).map(|decoded| decoded.object)
    }
}

/// Applies a configuration to an object or a part of it. An object that is not there is created; a part is not.
///
/// # Errors
/// 409 with a cause for each field that another writer owns, and as [`create`] and [`update`].
pub(crate) async fn apply(
    call: &Call<'_>,
    body: RequestBody,
    part: Part,
    options: WriteOptions<'_>,
) -> Result<(StatusCode, Written, Vec<String>), Status> {
    let mut read = Configuration::read(call, body, options).await?;
    let mut warnings = std::mem::take(&mut read.warnings);
    let (kind, config, options) = (&call.route.kind, &read.config, read.options);
    let change = |live: &Value| read.merged(Some(live));
    for _ in 0..ATTEMPTS {
        match update(call.core, call.user, call.route, call.place(), part, &change, options).await {
            Err(status) if status.is_not_found() && part == Part::Main => {}
            written => return Ok((StatusCode::OK, written?, warnings)),
        }
        allowed(call.core, call.user, call.route, "create", call.namespace(), call.name())?;
        if !meta::uid(config).is_empty() {
            let why = format!("the configuration is for the object with UID {}, which is gone", meta::uid(config));
            return Err(Status::conflict(kind, call.name(), &why));
        }
        match create(call.core, call.user, call.route, call.namespace(), read.merged(None)?, options).await {
            Err(status) if status.is_already_exists() => {}
            written => {
                warnings.extend(inert::warning(&call.core.store.snapshot(), call.route, config));
                return Ok((StatusCode::CREATED, written?, warnings));
            }
        }
    }
    Err(Status::modified(kind, call.name()))
}
