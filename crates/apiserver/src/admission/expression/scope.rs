//! The types of what expressions about requests may name.
//!
//! Objects are of whatever kind the request is about, so that nothing is known of them; the request itself and its
//! namespace have known fields, and an expression that names another is refused when it is written.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use naru_cel::{Env, Key, Map, ObjectType, Type, Value as Cel};
use serde_json::Value;

use super::{Compiled, compile};

/// The name under which the named expressions of a policy are found.
pub(in crate::admission) const VARIABLES: &str = "variables";

static BASE: LazyLock<Env> = LazyLock::new(|| {
    Env::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request_type())
        .with("namespaceObject", namespace_type())
});

/// What expressions may name: the request and what it is about, whoever decides about rights, and `more`.
pub(in crate::admission) fn scope(more: &[&str]) -> Env {
    let env =
        BASE.clone().with("authorizer", Type::AUTHORIZER).with("authorizer.requestResource", Type::RESOURCE_CHECK);
    more.iter().fold(env, |env, name| env.with(*name, Type::Dyn))
}

/// Compiles named expressions, each of which may name those before it; and an environment in which all may be named.
pub(in crate::admission) fn composed(mut env: Env, list: &Value) -> (Env, Vec<(String, Compiled)>) {
    let (mut compiled, mut fields) = (Vec::new(), BTreeMap::new());
    env = known(env, &fields);
    for variable in list.as_array().into_iter().flatten() {
        let text = |field: &str| variable[field].as_str().unwrap_or_default();
        let program = compile(text("expression"), &env, &[]);
        let of = program.as_ref().map_or(Type::Dyn, |program| kept(program.result()));
        env = env.with(format!("{VARIABLES}.{}", text("name")), of.clone());
        fields.insert(text("name").to_owned(), of);
        env = known(env, &fields);
        compiled.push((text("name").to_owned(), program));
    }
    (env, compiled)
}

fn known(env: Env, fields: &BTreeMap<String, Type>) -> Env {
    env.with(VARIABLES, object("kubernetes.variables", fields.clone()))
}

/// What is known of a value that was named: of objects and their likes nothing.
fn kept(of: &Type) -> Type {
    match of {
        Type::List(of) => Type::list(kept(of)),
        Type::Map(key, value) => Type::map(kept(key), kept(value)),
        Type::Object(_) | Type::Named(_) | Type::Opaque(_) | Type::Optional(_) | Type::Type => Type::Dyn,
        known => known.clone(),
    }
}

fn object(name: &str, fields: BTreeMap<String, Type>) -> Type {
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

fn of(name: &str, fields: &[(&str, Type)]) -> Type {
    object(name, fields.iter().map(|(field, of)| ((*field).to_owned(), of.clone())).collect())
}

fn texts() -> Type {
    Type::list(Type::String)
}

fn request_type() -> Type {
    use Type::{Bool, Dyn, String as Text};
    let kind = of("kubernetes.GroupVersionKind", &[("group", Text), ("version", Text), ("kind", Text)]);
    let resource = of("kubernetes.GroupVersionResource", &[("group", Text), ("version", Text), ("resource", Text)]);
    let user = of(
        "kubernetes.UserInfo",
        &[("username", Text), ("uid", Text), ("groups", texts()), ("extra", Type::map(Text, texts()))],
    );
    of(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Text),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Text),
            ("name", Text),
            ("namespace", Text),
            ("operation", Text),
            ("userInfo", user),
            ("dryRun", Bool),
            ("options", Dyn),
        ],
    )
}

fn namespace_type() -> Type {
    use Type::{Int, String as Text, Timestamp};
    let condition = of(
        "kubernetes.NamespaceCondition",
        &[("type", Text), ("status", Text), ("reason", Text), ("message", Text), ("lastTransitionTime", Timestamp)],
    );
    let words = || Type::map(Text, Text);
    let metadata = of(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Text),
            ("generateName", Text),
            ("namespace", Text),
            ("labels", words()),
            ("annotations", words()),
            ("uid", Text),
            // As upstream spells it; no namespace has it.
            ("UID", Text),
            ("creationTimestamp", Timestamp),
            ("deletionTimestamp", Timestamp),
            ("deletionGracePeriodSeconds", Int),
            ("generation", Int),
            ("resourceVersion", Text),
            ("finalizers", texts()),
        ],
    );
    let status = of("kubernetes.NamespaceStatus", &[("conditions", Type::list(condition)), ("phase", Text)]);
    let spec = of("kubernetes.NamespaceSpec", &[("finalizers", texts())]);
    of("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

/// A namespace as expressions see it: without its owners, its times as times.
pub(super) fn namespace(mut object: Value) -> Cel {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !matches!(field.as_str(), "managedFields" | "ownerReferences" | "selfLink"));
    }
    timed(&Cel::from_json(&object))
}

/// The value with those of its fields as times that are named like times.
fn timed(value: &Cel) -> Cel {
    match value {
        Cel::Map(map) => {
            let field = |(key, value): (&Key, &Cel)| {
                let time = match (key, value) {
                    (Key::String(name), Cel::String(text)) if is_time(name) => text.parse().ok().map(Cel::Timestamp),
                    _ => None,
                };
                (key.clone(), time.unwrap_or_else(|| timed(value)))
            };
            Cel::Map(Arc::new(map.iter().map(field).collect::<Map>()))
        }
        Cel::List(list) => Cel::list(list.items.iter().map(timed).collect()),
        other => other.clone(),
    }
}

fn is_time(field: &str) -> bool {
    matches!(field, "creationTimestamp" | "deletionTimestamp" | "lastTransitionTime")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use naru_cel::Budget;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_request_has_cannot_be_named() {
        let env = scope(&["params"]);
        for text in [
            "request.userInfo.extra['a'].exists(x, x == 'b')",
            "request.kind.group == '' && request.namespace == 'a' && request.options.dryRun == ['All']",
            "namespaceObject == null || namespaceObject.metadata.labels['team'] == params.team",
            "namespaceObject.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
            "authorizer.requestResource.check('get').allowed() && object.spec == oldObject.spec",
        ] {
            let program = env.compile(text);
            assert!(program.is_ok(), "{text}: {program:?}");
        }
        for (text, why) in [
            ("request.user == 'x'", "undefined field 'user'"),
            ("namespaceObject.metadata.owner == ''", "undefined field 'owner'"),
            ("variables.x", "undeclared reference to 'variables'"),
            ("authorizer.group('').allowed()", "no matching overload"),
        ] {
            let error = env.compile(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn named_expressions_may_name_those_before_them() {
        let list = json!([{"name": "a", "expression": "1 + 1"}, {"name": "b", "expression": "variables.a > 1"},
            {"name": "c", "expression": "variables.d"}, {"name": "d", "expression": "[variables.c]"}]);
        let (env, compiled) = composed(scope(&[]), &list);
        let works: Vec<bool> = compiled.iter().map(|(_, program)| program.is_ok()).collect();
        assert_eq!(works, [true, true, false, true]);
        assert_eq!(env.compile("variables.b").expect("known").result(), &Type::Bool);
        assert_eq!(env.compile("variables.d").expect("known").result(), &Type::list(Type::Dyn));
        assert!(env.compile("has(variables.a)").is_ok());
        assert!(env.compile("variables.e").expect_err("unknown").to_string().contains("undefined field 'e'"));
    }

    #[test]
    fn a_namespace_has_times_and_no_owners() {
        let seen = namespace(json!({"metadata": {"name": "a", "creationTimestamp": "2020-01-01T00:00:00Z",
            "managedFields": [{}], "labels": {"creationTimestamp": "no"}}}));
        let variables = BTreeMap::from([("namespaceObject".to_owned(), seen)]);
        for text in [
            "namespaceObject.metadata.creationTimestamp.getFullYear() == 2020",
            "!has(namespaceObject.metadata.deletionTimestamp) && namespaceObject.metadata.labels.creationTimestamp == 'no'",
        ] {
            let program = scope(&[]).compile(text).expect(text);
            let value = program.eval(&variables, &mut Budget::new(1000));
            assert!(matches!(value, Ok(Cel::Bool(true))), "{text}: {value:?}");
        }
        assert!(!format!("{variables:?}").contains("managedFields"));
    }
}
