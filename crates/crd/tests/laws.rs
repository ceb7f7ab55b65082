//! Laws that hold for every schema and every object.

use naru_crd::{Definition, Version, faults};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A schema of a value, with what a controller's author would write.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0..4u64, proptest::option::of("[a-c]{0,3}")).prop_map(|(least, default)| {
            let mut schema = json!({"type": "string", "maxLength": 4});
            // A default must keep the schema's own rules.
            match default {
                Some(text) => schema["default"] = text.into(),
                None => schema["minLength"] = least.into(),
            }
            schema
        }),
        any::<bool>().prop_map(|nullable| json!({"type": "integer", "minimum": 0, "maximum": 9, "nullable": nullable})),
        Just(json!({"type": "boolean", "default": true})),
        Just(json!({"type": "string", "enum": ["a", "b"]})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]})),
        Just(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}})),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[a-d]", inner.clone(), 0..4).prop_map(|properties| {
                let required: Vec<&String> = properties.keys().take(1).collect();
                json!({"type": "object", "properties": properties, "required": required})
            }),
            inner.clone().prop_map(|items| json!({"type": "array", "maxItems": 3, "items": items})),
            inner.prop_map(|values| json!({"type": "object", "additionalProperties": values})),
        ]
    })
}

/// Any value at all, over the same few names, so that some of them fit.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1..12i64).prop_map(Value::from),
        "[a-c]{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-e]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A value that a schema describes; may still break its bounds.
fn fitting(schema: &Value) -> BoxedStrategy<Value> {
    if schema["x-kubernetes-int-or-string"] == true {
        return prop_oneof![Just(json!(1)), Just(json!("1"))].boxed();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "string" if schema["enum"].is_array() => prop_oneof![Just(json!("a")), Just(json!("b"))].boxed(),
        "string" => "[a-c]{3,4}".prop_map(Value::from).boxed(),
        "integer" => (0..5i64).prop_map(Value::from).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "array" if schema["x-kubernetes-list-type"] == "set" => {
            proptest::collection::btree_set("[a-c]", 0..3).prop_map(|set| json!(set)).boxed()
        }
        "array" => proptest::collection::vec(fitting(&schema["items"]), 0..3).prop_map(Value::from).boxed(),
        _ if schema["additionalProperties"].is_object() => {
            let values = fitting(&schema["additionalProperties"]);
            let map = proptest::collection::btree_map("[a-d]", values, 0..3);
            map.prop_map(|map| Value::Object(map.into_iter().collect())).boxed()
        }
        _ => {
            let fields = schema["properties"].as_object().cloned().unwrap_or_default();
            let each: Vec<BoxedStrategy<(String, Value)>> = fields
                .into_iter()
                .map(|(name, schema)| fitting(&schema).prop_map(move |value| (name.clone(), value)).boxed())
                .collect();
            each.prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())).boxed()
        }
    }
}

/// The words of schemas and definitions, in places and with values that make no sense.
fn nonsense() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(vec![
        "type",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "default",
        "enum",
        "anyOf",
        "allOf",
        "oneOf",
        "not",
        "pattern",
        "format",
        "maximum",
        "multipleOf",
        "nullable",
        "spec",
        "names",
        "versions",
        "schema",
        "openAPIV3Schema",
        "a",
        "status",
        "conditions",
        "storedVersions",
        "subresources",
        "scale",
        "x-kubernetes-validations",
        "rule",
        "messageExpression",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "fieldPath",
        "selectableFields",
        "additionalPrinterColumns",
        "jsonPath",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        (-3..3i64).prop_map(Value::from),
        proptest::sample::select(vec![
            "object",
            "array",
            "string",
            "integer",
            "a",
            "[",
            "(",
            ".a['b",
            "self.a > 0",
            "map",
            "set",
            "date",
            ""
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => proptest::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn definition(spec: &Value) -> Value {
    json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": spec}}}}]}})
}

fn version(spec: &Value) -> Version {
    let crd = definition(spec);
    let faults = faults(&crd, None);
    assert!(faults.is_empty(), "{spec}: {faults:?}");
    Definition::read(&crd).versions.remove(0)
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": spec})
}

/// Whether every value of `part` is in `whole`; nulls may be missing.
fn within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|other| within(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(a, b)| within(a, b))
        }
        (part, whole) => part == whole,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shaping_twice_is_shaping_once(schema in schema(), value in value()) {
        let version = version(&schema);
        let mut once = object(value);
        version.shape(&mut once);
        let mut twice = once.clone();
        let again = version.shape(&mut twice);
        prop_assert_eq!(&once, &twice);
        prop_assert!(again.unknown.is_empty());
    }

    #[test]
    fn pruning_only_takes_away_and_filling_keeps_what_is_there(schema in schema(), value in value()) {
        let version = version(&schema);
        let whole = object(value);
        let mut part = whole.clone();
        version.schema.prune(&mut part);
        prop_assert!(within(&part, &whole), "{part} is not in {whole}");
    }

    #[test]
    fn what_fits_is_accepted_and_reads_back_equal((schema, value) in schema().prop_flat_map(|s| (Just(s.clone()), fitting(&s)))) {
        let version = version(&schema);
        let mut shaped = object(value);
        let pruned = version.shape(&mut shaped);
        prop_assert!(pruned.unknown.is_empty(), "{:?}", pruned.unknown);
        let found = version.faults(&shaped, None);
        prop_assert!(found.is_empty(), "{schema} {shaped}: {found:?}");
        let mut again = shaped.clone();
        version.shape(&mut again);
        prop_assert_eq!(&again, &shaped);
        prop_assert!(version.faults(&again, Some(&shaped)).is_empty());
    }

    #[test]
    fn whatever_was_there_may_stay(schema in schema(), value in value()) {
        let version = version(&schema);
        let mut shaped = object(value);
        version.shape(&mut shaped);
        let found = version.faults(&shaped, Some(&shaped));
        prop_assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn nothing_that_is_no_schema_breaks_the_reader(anything in nonsense(), value in value()) {
        let crd = definition(&anything);
        let _ = faults(&crd, None);
        let version = Definition::read(&crd).versions.remove(0);
        let mut object = object(value);
        version.shape(&mut object);
        let _ = version.faults(&object, None);
        let _ = Definition::read(&anything);
        let _ = faults(&anything, Some(&crd));
    }
}
