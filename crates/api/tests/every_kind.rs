//! What holds of the objects of every kind that is served.
//!
//! Objects come from the table of types and from the rules themselves (`grow`): a sample of each kind grows by whatever a
//! generated object has that is accepted. `NARU_LONG=1` looks at many more of them.

#[path = "every_kind/generate.rs"]
mod generate;
#[path = "every_kind/grow.rs"]
mod grow;
// The one table of samples: the server's tests send them, and their states too.
#[allow(dead_code)]
#[path = "../../apiserver/tests/it/kinds/samples.rs"]
mod samples;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use naru_api::apply::{Writer, apply};
use naru_api::schema::{Shape, Types};
use naru_api::{FieldValidation, Format, Kind, Registry, admit, decode, meta, validate};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use generate::Generator;
use grow::{Accepted, Growing, accept};

/// How many objects of each kind are looked at.
fn cases() -> u32 {
    if std::env::var_os("NARU_LONG").is_some() { 512 } else { 16 }
}

/// A small valid object of a kind.
fn sample(kind: &Kind) -> Value {
    let access =
        json!({"user": "u", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}});
    let own = json!({"resourceAttributes": access["resourceAttributes"]});
    let mut object = match (kind.group.as_ref(), kind.plural.as_ref()) {
        ("", "bindings") => json!({"target": {"kind": "Node", "name": "n1"}}),
        ("", "componentstatuses") | ("authentication.k8s.io", "selfsubjectreviews") | ("naru.io", _) => json!({}),
        ("authentication.k8s.io", "tokenreviews") => json!({"spec": {"token": "t"}}),
        ("authorization.k8s.io", "selfsubjectaccessreviews") => json!({"spec": own}),
        ("authorization.k8s.io", "selfsubjectrulesreviews") => json!({"spec": {"namespace": "default"}}),
        ("authorization.k8s.io", _) => json!({"spec": access}),
        _ => samples::sample(kind).object,
    };
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.as_ref().into();
    if meta::name(&object).is_empty() {
        object["metadata"]["name"] = "sample".into();
    }
    if kind.is_namespaced() {
        object["metadata"]["namespace"] = "default".into();
    }
    object
}

/// Looks at objects of the kinds that are chosen.
fn all_of(chosen: impl Fn(&Kind) -> bool) {
    let registry = Registry::builtin();
    let (mut kinds, mut fields) = (0, BTreeSet::new());
    for kind in registry.iter().filter(|kind| chosen(kind)) {
        let schema = kind.schema();
        let base = sample(kind);
        if let Err(errors) = accept(kind, &base) {
            panic!("{}: the sample is refused: {errors:?}", kind.group_kind());
        }
        let generator = Generator::new(schema.types());
        let objects = generator.object(schema.root_id());
        let mut runner = TestRunner::new(Config { cases: cases(), failure_persistence: None, ..Config::default() });
        let grown = Cell::new(0usize);
        let known = RefCell::new(&mut fields);
        let outcome = runner.run(&objects, |extra| {
            let mut growing = Growing { kind, types: schema.types(), object: base.clone() };
            growing.grow("", &Shape::Object(schema.root_id()), &extra);
            let accepted =
                accept(kind, &growing.object).map_err(|errors| fail(format!("{errors:?}"), &growing.object))?;
            grown.set(grown.get().max(size(&accepted.decoded)));
            seen(schema.types(), &Shape::Object(schema.root_id()), &accepted.decoded, &mut known.borrow_mut());
            holds(kind, &accepted)
        });
        if let Err(error) = outcome {
            panic!("{}: {error}", kind.group_kind());
        }
        assert!(grown.get() > size(&base), "{}: no sample ever grew", kind.group_kind());
        kinds += 1;
    }
    eprintln!("{kinds} kinds, {} fields of their types", fields.len());
    assert!(kinds > 0 && fields.len() > 10 * kinds, "{} fields of {kinds} kinds were tried", fields.len());
}

fn fail(what: String, object: &Value) -> TestCaseError {
    TestCaseError::fail(format!("{what}\n{object:#}"))
}

/// What must hold of every accepted object.
fn holds(kind: &Kind, accepted: &Accepted) -> Result<(), TestCaseError> {
    let Accepted { decoded, complete } = accepted;
    let same = |what: &str, expected: &Value, found: &Value| {
        if expected == found { Ok(()) } else { Err(fail(format!("{what}: {}", difference(expected, found)), expected)) }
    };
    let bytes = complete.to_string();
    for format in [Format::Json, Format::Yaml] {
        let again = decode(kind, bytes.as_bytes(), format, FieldValidation::Strict);
        let again = again.map_err(|status| fail(status.message, complete))?;
        same("it reads back otherwise", complete, &again.object)?;
    }
    let mut twice = complete.clone();
    admit::default(kind, &mut twice);
    same("defaults add up", complete, &twice)?;
    if kind.is_stored() {
        // As the server keeps it: its first state is the server's.
        let mut kept = complete.clone();
        admit::prepare_create(kind, &mut kept);
        admit::default(kind, &mut kept);
        let errors = validate::update(kind, &kept, &kept);
        if !errors.is_empty() {
            return Err(fail(format!("it may not stay as it is: {errors:?}"), &kept));
        }
        let first = applied(kind, None, decoded)?;
        // Whoever says nothing owns nothing, and leaves no trace of having applied.
        if meta::at(&first, "metadata.managedFields").is_null() {
            return Ok(());
        }
        let second = applied(kind, Some(&first), decoded)?;
        same("applied again it changes", &first, &second)?;
        let third = applied(kind, Some(&second), decoded)?;
        same("applied a third time it changes", &second, &third)?;
    }
    Ok(())
}

/// The object after it was applied, as the server keeps it.
fn applied(kind: &Kind, live: Option<&Value>, config: &Value) -> Result<Value, TestCaseError> {
    let writer = Writer { manager: "test", subresource: "", now: "2026-01-01T00:00:00Z".parse().expect("a time") };
    let object = apply(kind, live, config, writer, false, &|_, _| None);
    let mut object = object.map_err(|status| fail(format!("apply: {}", status.message), config))?;
    admit::default(kind, &mut object);
    Ok(object)
}

/// How many values an object has.
fn size(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(size).sum::<usize>() + 1,
        Value::Array(list) => list.iter().map(size).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Notes which fields of which types an object has.
fn seen(types: &Types, shape: &Shape, value: &Value, into: &mut BTreeSet<String>) {
    match (shape, value) {
        (Shape::Object(id), Value::Object(map)) => {
            let of = types.get(*id);
            for (name, value) in map {
                if let Some(field) = of.field(name) {
                    into.insert(format!("{}.{name}", of.name));
                    seen(types, &field.shape, value, into);
                }
            }
        }
        (Shape::List(inner), Value::Array(items)) => items.iter().for_each(|item| seen(types, inner, item, into)),
        (Shape::Map(inner), Value::Object(map)) => map.values().for_each(|item| seen(types, inner, item, into)),
        _ => {}
    }
}

/// The first place where two values differ.
fn difference(one: &Value, other: &Value) -> String {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            let differs = keys.into_iter().find(|key| a.get(*key) != b.get(*key));
            differs.map_or_else(String::new, |key| {
                format!(".{key}{}", difference(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null)))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            format!("[{at}]{}", difference(&a[at], &b[at]))
        }
        _ => format!(": {one} and {other}"),
    }
}

fn runs_pods(kind: &Kind) -> bool {
    matches!(kind.group.as_ref(), "apps" | "batch") || kind.schema().root().name.contains("Pod")
}

#[test]
fn objects_of_kinds_that_run_pods() {
    all_of(runs_pods);
}

#[test]
fn objects_of_the_core() {
    all_of(|kind| kind.group.is_empty() && !runs_pods(kind));
}

#[test]
fn objects_of_all_other_groups() {
    all_of(|kind| !kind.group.is_empty() && !runs_pods(kind));
}
