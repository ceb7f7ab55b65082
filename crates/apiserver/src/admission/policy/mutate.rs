//! MutatingAdmissionPolicies: what is bound to requests like this one changes their object, one policy after another in
//! the order of their names, each seeing what those before it did.
//!
//! A policy that wants it is asked once more after others changed the object. A change that cannot be made refuses the
//! request, unless its policy says to go on; nothing of it is left then.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use naru_api::kind::SchemaRef;
use naru_api::{FieldValidation, Kind, Reason, Status, admit, apply, decode, meta, patch};
use naru_cel::{Budget, Value as Cel};
use serde_json::Value;

use super::changes::{Change, Changes, OBJECT, Sort};
use super::read::{Binding, Bound, Policies, Policy};
use super::{COST, cause, formed, params};
use crate::admission::chain::{Review, Seen};
use crate::admission::expression::{Asked, Variables, all_hold, evaluate};
use crate::admission::webhook::converted;

/// How far policies came with one object.
#[derive(Default)]
pub(in crate::admission) struct Progress {
    /// They were asked before.
    again: bool,
    /// One of them changed something then.
    ran: bool,
    /// Those that were asked and want to see what came after them.
    asked: BTreeSet<Name>,
}

/// What policies did to an object.
#[derive(Clone, Copy, Default)]
pub(in crate::admission) struct Done {
    /// One of them made its changes, even if they came to nothing.
    pub(in crate::admission) ran: bool,
    /// The object is another one.
    pub(in crate::admission) changed: bool,
}

/// A policy for one of its bindings, with one parameter.
struct Invocation<'p> {
    policy: &'p Policy<Changes>,
    binding: &'p Binding,
    param: Option<Value>,
    /// The version in which the policy knows the object, if it is another one than the request names.
    form: Option<Arc<Kind>>,
}

/// Policy, binding, namespace and name of the parameter.
type Name = [String; 4];

/// Why a change cannot be made.
enum Failure {
    /// It is the policy's fault, and the policy says what then.
    Policy(String),
    /// The request fails, whatever the policy says.
    Request(Status),
}

/// What a policy could not do.
struct Refusal<'p> {
    policy: &'p Policy<Changes>,
    binding: &'p Binding,
    why: String,
    reason: Reason,
}

/// Has policies change an object, which has the form in which the request names it. `moved` says that somebody else changed
/// it since the last time.
///
/// # Errors
/// When one cannot do its work and must not be passed over.
pub(in crate::admission) async fn mutate(
    review: &Review<'_>,
    policies: &Policies,
    old: Option<&Value>,
    object: &mut Value,
    progress: &mut Progress,
    moved: bool,
) -> Result<Done, Status> {
    if policies.changes_nothing() {
        return Ok(Done::default());
    }
    // Whoever wants to be asked again is, if there is any reason to.
    let earlier = std::mem::take(&mut progress.asked);
    let due = progress.again.then(|| if progress.ran || moved { earlier } else { BTreeSet::new() });
    progress.again = true;
    let mut run = Run { review, due, refusals: Vec::new(), asked: BTreeSet::new(), ran: false };
    let invocations = run.invoked(policies, object).await;
    let (own, before) = (&review.route.kind, object.clone());
    for invocation in &invocations {
        let Some(other) = &invocation.form else {
            run.invoke(invocation, own, old, object)?;
            continue;
        };
        let mut shown = converted(review, own, other, object.clone()).await?;
        let old = formed(review, other, old).await?;
        if run.invoke(invocation, other, old.as_ref(), &mut shown)? {
            *object = converted(review, other, own, shown).await?;
        }
    }
    (progress.ran, progress.asked) = (run.ran, std::mem::take(&mut run.asked));
    let done = Done { ran: run.ran, changed: *object != before };
    refused(review, run.refusals).map_or(Ok(done), Err)
}

/// One time that all are asked.
struct Run<'p, 'r> {
    review: &'r Review<'r>,
    /// Who is asked, where not all are.
    due: Option<BTreeSet<Name>>,
    refusals: Vec<Refusal<'p>>,
    /// Those that were asked and want to see what comes after them.
    asked: BTreeSet<Name>,
    ran: bool,
}

impl<'p> Run<'p, '_> {
    /// Who is to be asked, decided before anybody is.
    async fn invoked(&mut self, policies: &'p Policies, object: &Value) -> Vec<Invocation<'p>> {
        let (review, mut invocations) = (self.review, Vec::new());
        for Bound { policy, bindings } in &policies.mutating {
            let Some(found) = policy.constraints.matches(review, Some(object)) else { continue };
            for binding in bindings.iter().filter(|binding| binding.constraints.matches(review, Some(object)).is_some())
            {
                match params::of(review, policy.params.as_ref(), binding).await {
                    Ok(params) => invocations.extend(params.into_iter().map(|param| {
                        let form = found.form(review);
                        Invocation { policy, binding, param, form }
                    })),
                    Err(why) => self.refuse(policy, binding, why, Reason::Forbidden),
                }
            }
        }
        invocations
    }

    /// Has a policy change an object of `kind`; answers whether it did, even if it came to nothing.
    fn invoke(
        &mut self,
        invocation: &Invocation<'p>,
        kind: &Kind,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<bool, Status> {
        let Invocation { policy, binding, param, .. } = invocation;
        let (review, name) = (self.review, invocation.name());
        let holds = {
            let asked = Asked::of_kind(review, kind, Seen { old, new: Some(object) });
            all_hold(&policy.conditions, &policy.variables(&asked, param.as_ref()))
        };
        match holds {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => {
                self.refuse(policy, binding, why, Reason::Invalid);
                return Ok(false);
            }
        }
        if self.due.as_ref().is_some_and(|due| !due.contains(&name)) {
            return Ok(false);
        }
        let mut ran = false;
        for change in &policy.demands.list {
            let outcome = {
                let asked = Asked::of_kind(review, kind, Seen { old, new: Some(object) });
                changed(change, &policy.variables(&asked, param.as_ref()), kind_of(review, kind, object), object)
            };
            match outcome {
                Ok(other) => (*object, ran) = (other, true),
                Err(Failure::Policy(why)) => self.refuse(policy, binding, why, Reason::Invalid),
                Err(Failure::Request(status)) => return Err(status),
            }
        }
        if policy.demands.again {
            self.asked.insert(name);
        }
        self.ran |= ran;
        Ok(ran)
    }

    fn refuse(&mut self, policy: &'p Policy<Changes>, binding: &'p Binding, why: String, reason: Reason) {
        if policy.required {
            self.refusals.push(Refusal { policy, binding, why, reason });
        } else {
            tracing::warn!(policy = policy.name, why, "a policy failed and is passed over");
        }
    }
}

impl Invocation<'_> {
    fn name(&self) -> Name {
        let of = |field: &str| {
            let param = self.param.as_ref().and_then(|param| param["metadata"][field].as_str());
            param.unwrap_or_default().to_owned()
        };
        [self.policy.name.clone(), self.binding.name.clone(), of("namespace"), of("name")]
    }
}

/// The refusal of the request, in the words of the first policy that could not do its work.
fn refused(review: &Review<'_>, refusals: Vec<Refusal<'_>>) -> Option<Status> {
    let reason = refusals.first()?.reason;
    let mut status = Status::forbidden(&review.route.kind, review.name, "");
    let words = refusals.into_iter().map(|Refusal { policy, binding, why, .. }| {
        format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name)
    });
    let causes: Vec<_> = words.map(cause).collect();
    status.reason = reason;
    status.message = causes.first().map(|cause| cause.message.clone()).unwrap_or_default();
    status.details.get_or_insert_default().causes.extend(causes);
    Some(status)
}

/// The object after one change, with the defaults of what was added.
fn changed(
    change: &Change,
    variables: &Variables<'_>,
    kind: Result<Cow<'_, Kind>, Status>,
    object: &Value,
) -> Result<Value, Failure> {
    let made = evaluate(&change.program, variables, &mut Budget::new(COST))
        .map_err(|why| Failure::Policy(format!("expression '{}' resulted in error: {why}", change.text)))?;
    let (kind, mut object) = (kind.map_err(Failure::Request)?, object.clone());
    match change.sort {
        Sort::Configuration => {
            let config = configuration(&made).map_err(Failure::Policy)?;
            apply::overlay(&kind, &mut object, config)
                .map_err(|why| Failure::Policy(format!("error applying patch: {why}")))?;
        }
        Sort::Patch => {
            let steps = steps(&made).map_err(Failure::Policy)?;
            let applied = patch::operations(&mut object, &steps);
            if !applied.map_err(|why| Failure::Policy(format!("JSONPath: {why}")))? {
                return Ok(object);
            }
        }
    }
    // A patch may add what nobody knows; that is no answer of the policy's.
    let mode = if kind.custom().is_some() { FieldValidation::Ignore } else { FieldValidation::Strict };
    let decoded = decode::value(&kind, object, mode);
    let mut object = decoded.map_err(|status| Failure::Request(Status::internal(status.message)))?.object;
    admit::default(&kind, &mut object);
    Ok(object)
}

/// The kind of what is changed, which is `kind` unless a subresource takes objects of another one.
fn kind_of<'k>(review: &Review<'_>, kind: &'k Kind, object: &Value) -> Result<Cow<'k, Kind>, Status> {
    if !review.is_about_another_kind() {
        return Ok(Cow::Borrowed(kind));
    }
    let (version, name) = (meta::api_version(object), meta::kind(object));
    let of = match (version, name) {
        ("autoscaling/v1", "Scale") => "io.k8s.api.autoscaling.v1.Scale",
        ("v1", "Binding") => "io.k8s.api.core.v1.Binding",
        ("policy/v1", "Eviction") => "io.k8s.api.policy.v1.Eviction",
        ("authentication.k8s.io/v1", "TokenRequest") => "io.k8s.api.authentication.v1.TokenRequest",
        _ => {
            let text = format!("Resource kind {version}, Kind={name} not found.");
            return Err(Status::unavailable(text));
        }
    };
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let schema = SchemaRef::Builtin(of.into());
    Ok(Cow::Owned(Kind::new(group.to_owned(), version.to_owned(), name.to_owned(), name.to_lowercase(), schema)))
}

/// A configuration as JSON, without what it says of its own kind.
fn configuration(made: &Cel) -> Result<Value, String> {
    let object = match made {
        Cel::Object(object) if &*object.name == OBJECT => object,
        other => {
            return Err(format!("unsupported return type from ApplyConfiguration expression: {}", other.type_name()));
        }
    };
    named(made, &object.name)?;
    let mut config = made.to_json().ok_or("invalid return type: it is no JSON")?;
    if let Some(config) = config.as_object_mut() {
        config.retain(|field, _| field != "apiVersion" && field != "kind");
    }
    Ok(config)
}

/// The steps of a patch as JSON.
fn steps(made: &Cel) -> Result<Vec<Value>, String> {
    let Cel::List(list) = made else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let one = |step: &Cel| {
        let Cel::Object(fields) = step else {
            let of = step.type_name();
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got {of}"
            ));
        };
        for value in fields.fields.values() {
            if let Cel::Object(object) = value {
                named(value, &object.name)?;
            }
        }
        let why = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
        step.to_json().ok_or_else(|| why.to_owned())
    };
    list.items.iter().map(one).collect()
}

/// Holds that the types of all objects inside another are named after the fields in which they stand.
fn named(made: &Cel, name: &str) -> Result<(), String> {
    let mut faults = Vec::new();
    misnamed(made, name, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", faults.join("\n"))) }
}

fn misnamed(value: &Cel, name: &str, faults: &mut Vec<String>) {
    match value {
        Cel::Object(object) => {
            if *object.name != *name {
                faults.push(format!(
                    "unexpected type name {:?}, expected {name:?}, which matches field name path from root Object type",
                    object.name
                ));
            }
            for (field, value) in &object.fields {
                misnamed(value, &format!("{name}.{field}"), faults);
            }
        }
        Cel::List(list) => list.items.iter().for_each(|value| misnamed(value, name, faults)),
        Cel::Map(map) => map.values().for_each(|value| misnamed(value, name, faults)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use naru_cel::Env;
    use serde_json::json;

    use super::*;
    use crate::admission::policy::read::Demands;

    fn made(text: &str) -> Cel {
        let program = Changes::scope(Env::new()).compile(text).expect(text);
        program.eval(&BTreeMap::<String, Cel>::new(), &mut Budget::new(10_000)).expect(text)
    }

    #[test]
    fn a_configuration_names_its_types_after_its_fields() {
        let good =
            "Object{kind: 'X', spec: Object.spec{list: [Object.spec.list{a: 1}], map: {'k': Object.spec.map{b: 2}}}}";
        let expected = json!({"spec": {"list": [{"a": 1}], "map": {"k": {"b": 2}}}});
        assert_eq!(configuration(&made(good)), Ok(expected));
        let bad = "Object{spec: Object.specx{}, list: [Object.listx{}]}";
        let why = configuration(&made(bad)).unwrap_err();
        assert!(why.starts_with("type mismatch: unexpected type name"), "{why}");
        for name in ["\"Object.specx\", expected \"Object.spec\"", "\"Object.listx\", expected \"Object.list\""] {
            assert!(why.contains(name), "{why}");
        }
        assert!(configuration(&made("Object.spec{}")).unwrap_err().contains("Object.spec"));
        assert!(configuration(&made("'text'")).unwrap_err().contains("string"));
    }

    #[test]
    fn steps_are_objects_of_their_own_type() {
        let patch =
            "[JSONPatch{op: 'add', path: '/spec/list/-', value: Object.spec.list{a: [Object.spec.list.a{b: 1}]}}]";
        assert_eq!(
            steps(&made(patch)),
            Ok(vec![json!({"op": "add", "path": "/spec/list/-", "value": {"a": [{"b": 1}]}})])
        );
        let bad = "[JSONPatch{op: 'add', path: '/x', value: Object.x{y: Object.z{}}}]";
        assert!(steps(&made(bad)).unwrap_err().contains("expected \"Object.x.y\""));
        assert!(steps(&made("[1]")).unwrap_err().contains("got int"));
        assert!(steps(&made("1")).is_err());
    }
}
