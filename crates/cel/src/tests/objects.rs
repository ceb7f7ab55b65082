//! Objects that expressions make.

use std::collections::BTreeMap;

use serde_json::json;

use crate::*;

fn env() -> Env {
    let text = |name: &str| (name.to_owned(), Type::String);
    let fields = BTreeMap::from([text("op"), text("path"), ("value".to_owned(), Type::Dyn)]);
    Env::new()
        .with("self", Type::Dyn)
        .with_family("Object")
        .with_object(ObjectType { name: "JSONPatch".to_owned(), fields }.into())
}

fn run(text: &str) -> Result<(Value, String), String> {
    let own = json!({"replicas": 2, "labels": {"app": "web"}});
    let variables = BTreeMap::from([("self".to_owned(), Value::from_json(&own))]);
    let program = env().compile(text).map_err(|error| error.to_string())?;
    let value = program.eval(&variables, &mut Budget::new(10_000)).map_err(|error| error.to_string())?;
    Ok((value, program.result().to_string()))
}

#[test]
fn they_have_the_fields_that_they_are_made_with() {
    for (text, of, expected) in [
        ("Object{}", "Object", json!({})),
        (
            "Object{spec: Object.spec{replicas: self.replicas + 1, names: ['a'], more: {'a-b': 1}},}",
            "Object",
            json!({"spec": {"replicas": 3, "names": ["a"], "more": {"a-b": 1}}}),
        ),
        ("Object{?spec: self.?missing, ?labels: self.?labels}", "Object", json!({"labels": {"app": "web"}})),
        (
            "Object{\n ?spec: self.?missing,\n more: [ ?self.?none, self[ ?'replicas'].value()]}",
            "Object",
            json!({"more": [2]}),
        ),
        ("Object.a.b{`c-d`: 1, namespace: 'n'}", "Object.a.b", json!({"c-d": 1, "namespace": "n"})),
        (
            "[JSONPatch{op: 'add', value: Object.x{y: true}}]",
            "list(JSONPatch)",
            json!([{"op": "add", "value": {"y": true}}]),
        ),
        ("self.replicas > 1 ? Object{a: 1} : Object{}", "Object", json!({"a": 1})),
        ("Object{a: self.replicas > 2 ? Object.a{} : null}", "Object", json!({"a": null})),
    ] {
        let (value, result) = run(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((value.to_json(), result.as_str()), (Some(expected), of), "{text}");
    }
}

#[test]
fn they_are_told_apart_by_their_type() {
    for text in [
        "Object.a{x: 1} == Object.a{x: 1}",
        "Object.a{x: 1} != Object.a{x: 2}",
        "dyn(Object.a{x: 1}) != dyn(Object.b{x: 1})",
        "Object{x: 1}.x == 1 && has(Object{x: 1}.x) && !has(Object{}.x)",
        "!has(JSONPatch{}.op) && JSONPatch{op: 'a'}.op == 'a'",
        "!optional.ofNonZeroValue(Object.spec{}).hasValue()",
    ] {
        assert!(matches!(run(text), Ok((Value::Bool(true), _))), "{text}: {:?}", run(text));
    }
    let Ok((Value::Object(made), _)) = run("Object{spec: Object.other{}}") else { panic!("an object") };
    let Some(Value::Object(inner)) = made.fields.get(&Key::String("spec".into())) else { panic!("an object") };
    assert_eq!((&*made.name, &*inner.name), ("Object", "Object.other"));
}

#[test]
fn what_is_not_known_cannot_be_made() {
    for (text, wrong) in [
        ("Objects{}", "undeclared reference to 'Objects'"),
        ("JSONPatch{ops: 'add'}", "undefined field 'ops'"),
        ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("Object{?a: 1}", "expected type 'optional_type(dyn)' but found 'int'"),
        ("Object{a 1}", "expecting ':'"),
        ("Object{a: 1", "expecting '}'"),
        ("Object.a{} == Object.b{}", "no matching overload"),
    ] {
        let error = run(text).expect_err(text);
        assert!(error.contains(wrong), "{text}: {error}");
    }
}

#[test]
fn names_with_dots_come_before_fields() {
    let env = Env::new().with("self", Type::Dyn).with("self.own", Type::Int);
    let program = env.compile("self.own + [{'own': 1}].map(self, self.own).size()");
    assert!(program.is_ok(), "a field of a local is no variable: {program:?}");
    let variables = BTreeMap::from([("self.own".to_owned(), Value::Int(7))]);
    let value = env.compile("self.own").unwrap().eval(&variables, &mut Budget::new(10));
    assert!(matches!(value, Ok(Value::Int(7))));
}

#[test]
fn variables_may_cost_and_fail() {
    struct Made;
    impl Bindings for Made {
        fn get(&self, _: &str) -> Option<Value> {
            None
        }

        fn make(&self, name: &str, budget: &mut Budget) -> Result<Option<Value>, EvalError> {
            let program = Env::new().compile("[1, 2, 3].all(x, x > 0)").unwrap();
            match name {
                "good" => program.eval(&BTreeMap::<String, Value>::new(), budget).map(Some),
                _ => Err(EvalError::Failed(format!("{name} is broken"))),
            }
        }
    }
    let env = Env::new().with("good", Type::Bool).with("bad", Type::Bool);
    let (mut budget, text) = (Budget::new(1_000), "good || bad");
    assert!(matches!(env.compile(text).unwrap().eval(&Made, &mut budget), Ok(Value::Bool(true))));
    assert!(budget.left() < 990, "it was charged for: {}", budget.left());
    let failed = env.compile("bad").unwrap().eval(&Made, &mut budget).unwrap_err();
    assert_eq!(failed.to_string(), "bad is broken");
}
