//! Creating an object.

use jiff::Timestamp;
use naru_api::{Kind, Status, admit, meta, validate};
use serde_json::Value;

use super::{ATTEMPTS, WriteOptions, Written, owners, warnings};
use crate::admission::chain::{self, Operation, Options, Review};
use crate::admission::{joining, namespace, request};
use crate::authentication::member;
use crate::authorization::{escalation, nodes};
use crate::encode;
use crate::kept;
use crate::object;
use crate::routes::Route;
use crate::state::Core;
use crate::user::User;
use crate::versions;
use crate::write::{Expect, Failure, Plan, Refusal, unavailable};

/// Creates `object` in `namespace` (empty for cluster-wide kinds).
///
/// # Errors
/// Whatever forbids it: an invalid object, a taken name, a missing namespace, no right to grant what it grants.
pub(crate) async fn create(
    core: &Core,
    user: &User,
    route: &Route,
    namespace: &str,
    mut object: Value,
    options: WriteOptions<'_>,
) -> Result<Written, Status> {
    let kind = &route.kind;
    place(route, namespace, &mut object)?;
    if !meta::resource_version(&object).is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if meta::name(&object).is_empty() && meta::generate_name(&object).is_empty() {
        let missing = validate_name();
        return Err(Status::invalid(kind, "", vec![missing]));
    }
    joining::announce(core, user, route, &object).await?;
    let object = versions::to_stored(route, object);
    let generated = meta::name(&object).is_empty();
    let mut last = Refusal::Changed;
    for _ in 0..ATTEMPTS {
        match attempt(core, user, route, namespace, object.clone(), options).await {
            Ok(written) => return Ok(written),
            Err(Failure::Status(status)) => return Err(status),
            Err(Failure::Refused(Refusal::Exists)) if !generated => {
                return Err(Status::already_exists(kind, meta::name(&object)));
            }
            Err(Failure::Refused(refusal)) => last = refusal,
        }
    }
    Err(match last {
        Refusal::Exists => Status::no_name_left(kind, meta::generate_name(&object)),
        Refusal::Taken(key) => Status::timeout(format!("{key} was taken by someone else {ATTEMPTS} times; try again")),
        Refusal::Changed => Status::timeout("the namespace keeps changing; try again"),
    })
}

async fn attempt(
    core: &Core,
    user: &User,
    route: &Route,
    namespace: &str,
    mut object: Value,
    options: WriteOptions<'_>,
) -> Result<Written, Failure> {
    let kind = route.working_kind();
    // What is refused by this state must be so for everybody: another server may have written.
    let snapshot = core.store.confirm().await.map_err(|error| unavailable(&error))?;
    if meta::name(&object).is_empty() {
        let name = admit::generate_name(meta::generate_name(&object), rand::random());
        meta::set(&mut object, "name", name);
    }
    let name = meta::name(&object).to_owned();
    let home = match namespace {
        "" => None,
        namespace => Some(namespace::open(&snapshot, kind, namespace, &name)?),
    };
    admit::prepare_create(kind, &mut object);
    object::tidy(&mut object);
    identify(kind, &mut object);
    request::sign_off(kind, user, &mut object)?;
    admit::default(kind, &mut object);
    if let Some(node) = member::node_of(user) {
        nodes::judge_create(node, kind.collection(), &object).map_err(|why| Status::forbidden(kind, &name, &why))?;
    }
    let owners = owners::of_new(route, &mut object, options, options.writer());
    owners::show_to_judges(core, &snapshot, options, &mut object, &owners);
    let review = Review {
        core,
        snapshot: &snapshot,
        user,
        route,
        operation: Operation::Create,
        subresource: "",
        namespace,
        name: &name,
        old: None,
        options: Options::Write(options),
        notes: options.notes,
    };
    let (mut effects, _) = chain::mutate(&review, &mut object).await?;
    if kind.collection().starts_with("certificatesigningrequests.") {
        effects = joining::sign(core, &snapshot, user, kind, &mut object)?;
    }
    let mut errors = validate::create(kind, &object);
    errors.extend(request::fault(kind, &object));
    if !errors.is_empty() {
        return Err(Status::invalid(kind, &name, errors).into());
    }
    if let Err(why) = escalation::check(&core.rbac.load(), user, &route.collection, namespace, &object) {
        return Err(Status::forbidden(kind, &name, &why).into());
    }
    let charges = chain::validate(&review, Some(&object)).await?;
    let key = route.key(namespace, &name);
    warnings::tell(route, options.notes, None, &object);
    meta::unset(&mut object, "managedFields");
    let mut object = versions::close(core, route, object).await?;
    kept::put(&mut object, &owners);
    if options.dry_run {
        if snapshot.get(&key).is_some() {
            return Err(Failure::Refused(Refusal::Exists));
        }
        return Ok(Written { served: encode::plain(&object).into(), changed: true });
    }
    let stored = encode::encode(&core.sealer, &key, &object).map_err(Status::internal)?;
    let mut plan = Plan::put(key, Expect::Absent, stored);
    plan.namespace = home.or(effects.unchanged);
    (plan.reserve, plan.release, plan.along) = (effects.reserve, effects.release, effects.along);
    (plan.charges, plan.steady) = (charges, effects.steady);
    let entry = plan.commit(core).await?;
    Ok(Written { served: entry.served.clone(), changed: true })
}

/// Checks that the object is of the kind and in the namespace that its path names, and says so in it.
///
/// # Errors
/// 400 when it names others.
pub(crate) fn place(route: &Route, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let kind = &route.kind;
    let (version, name) = (kind.api_version(), kind.kind.as_ref());
    if !object.is_object() {
        return Err(Status::bad_request(format!("expected a {name} object, got {}", shape(object))));
    }
    for (field, expected) in [("apiVersion", version.as_str()), ("kind", name)] {
        match object[field].as_str().unwrap_or_default() {
            "" => object[field] = expected.into(),
            given if given == expected => {}
            given => {
                return Err(Status::bad_request(format!(
                    "the {field} in the data ({given}) does not match the expected {field} ({expected})"
                )));
            }
        }
    }
    if !object["metadata"].is_object() {
        if !object["metadata"].is_null() {
            return Err(Status::bad_request(format!(
                "metadata: expected an object, got {}",
                shape(&object["metadata"])
            )));
        }
        object["metadata"] = serde_json::json!({});
    }
    let given = meta::namespace(object);
    if !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if namespace.is_empty() {
        meta::unset(object, "namespace");
    } else {
        meta::set(object, "namespace", namespace);
    }
    Ok(())
}

/// Gives a new object its identity.
pub(crate) fn identify(kind: &Kind, object: &mut Value) {
    meta::unset(object, "resourceVersion");
    admit::stamp(kind, object, &uuid::Uuid::new_v4().to_string(), Timestamp::now());
}

fn validate_name() -> naru_api::FieldError {
    naru_api::FieldError::required("metadata.name", "name or generateName is required")
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
