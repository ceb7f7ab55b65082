use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::decode::{self, FieldValidation};
use crate::kind::{Kind, Registry};
use crate::schema::{Schema, Shape, TypeId};
use crate::{FieldReason, admit, apply, table, validate};

#[test]
fn pods_round_trip_with_their_kind() {
    let pod = Pod::from_json(br#"{"metadata":{"name":"a","namespace":"b"},"spec":{"containers":[{"name":"c"}]}}"#)
        .expect("a pod");
    assert_eq!((pod.name(), pod.namespace()), ("a", "b"));
    let value = pod.to_value();
    assert_eq!((&value["kind"], &value["apiVersion"]), (&"Pod".into(), &"v1".into()));
    assert_eq!(Pod::from_value(&value).expect("a pod"), pod);
    assert!(Pod::from_json(br#"{"metadata":{"name":3}}"#).is_err());
}

#[test]
fn every_view_is_a_registered_kind() {
    let registry = Registry::builtin();
    for (group, version, kind, plural, namespaced) in list::ALL {
        let entry = registry.by_kind(group, version, kind).unwrap_or_else(|| panic!("{group}/{kind}"));
        assert_eq!((entry.plural.as_ref(), entry.is_namespaced()), (*plural, *namespaced), "{kind}");
    }
    for kind in registry.iter() {
        let own = kind.group == crate::naru::names::GROUP;
        let found = own || list::ALL.iter().any(|v| v.0 == kind.group && v.2 == kind.kind);
        assert!(found, "{} has no view", kind.group_kind());
    }
}

/// A source of choices that shrinks to nothing.
struct Dice<'d>(std::slice::Iter<'d, u8>);

impl Dice<'_> {
    fn roll(&mut self, sides: u8) -> u8 {
        self.0.next().map_or(0, |b| b % sides)
    }
}

/// An object that mostly follows the schema; `wrong` lets values of other types in.
fn object(schema: &Schema, id: TypeId, dice: &mut Dice<'_>, depth: u8, wrong: bool) -> Value {
    let mut map = Map::new();
    for field in &schema.types().get(id).fields {
        let chosen = dice.roll(4) == 1 || (field.required && dice.roll(8) != 1) || depth == 0;
        if chosen && depth < 9 && !matches!(field.name.as_ref(), "apiVersion" | "kind") {
            map.insert(field.name.to_string(), value(schema, &field.shape, dice, depth + 1, wrong));
        }
    }
    Value::Object(map)
}

fn value(schema: &Schema, shape: &Shape, dice: &mut Dice<'_>, depth: u8, wrong: bool) -> Value {
    if wrong && dice.roll(40) == 7 {
        return [json!(null), json!("x"), json!(-3), json!([1]), json!({"x": {}}), json!(true), json!(1.5)]
            [usize::from(dice.roll(7))]
        .clone();
    }
    let word = ["a", "", "b-1", "Always", "10.0.0.1", "A b", "x/y", "*/5 * * * *", "50%"][usize::from(dice.roll(9))];
    let number = [1, 0, -1, 80, 70_000, 420][usize::from(dice.roll(6))];
    match shape {
        Shape::String => word.into(),
        Shape::Bytes => ["", "YWI="][usize::from(dice.roll(2))].into(),
        Shape::Int32 | Shape::Int64 => number.into(),
        Shape::Number => json!(0.5),
        Shape::Bool => (dice.roll(2) == 1).into(),
        Shape::Quantity => ["1", "100m", "1Gi", "0", "-1"][usize::from(dice.roll(5))].into(),
        Shape::Time | Shape::MicroTime => "2026-01-01T00:00:00.5Z".into(),
        Shape::IntOrString if dice.roll(2) == 1 => number.into(),
        Shape::IntOrString => word.into(),
        Shape::Any | Shape::Open => json!({"x": [1, null]}),
        Shape::Object(id) => object(schema, *id, dice, depth, wrong),
        Shape::List(inner) => (0..dice.roll(3)).map(|_| value(schema, inner, dice, depth, wrong)).collect(),
        Shape::Map(inner) => {
            let entries = ["a", "b.c/d", "E f"].into_iter().take(usize::from(dice.roll(4)));
            Value::Object(entries.map(|k| (k.to_owned(), value(schema, inner, dice, depth, wrong))).collect())
        }
    }
}

/// Sends one object along the whole path of a write.
fn write(kind: &Kind, object: Value) {
    let Ok(decoded) = decode::value(kind, object, FieldValidation::Warn) else { return };
    let again = decode::value(kind, decoded.object.clone(), FieldValidation::Strict).expect("what was decoded is fine");
    assert_eq!(again.object, decoded.object, "decoding twice is decoding once");
    let mut object = decoded.object;
    let config = object.clone();
    admit::default(kind, &mut object);
    admit::prepare_create(kind, &mut object);
    admit::stamp(kind, &mut object, "u", jiff::Timestamp::UNIX_EPOCH);
    let missing = validate::create(kind, &object).iter().any(|e| e.reason == FieldReason::Required);
    let text = object.to_string();
    let parsed = list::parses(&kind.group, &kind.kind, text.as_bytes());
    assert!(missing || parsed.is_ok(), "{}: {:?}\n{text}", kind.group_kind(), parsed.map_err(|e| e.source.to_string()));
    assert_eq!(table::row(kind, &object, jiff::Timestamp::UNIX_EPOCH).len(), table::columns(kind).len());
    let mut new = object.clone();
    admit::prepare_update(kind, &object, &mut new);
    assert_eq!(new, object, "an update that changes nothing changes nothing");
    let errors = validate::update(kind, &object, &new);
    let fixed = errors.iter().any(|e| e.detail.contains("immutable"));
    assert!(!fixed, "{}: {errors:?}", kind.group_kind());
    let writer = apply::Writer { manager: "m", subresource: "", now: jiff::Timestamp::UNIX_EPOCH };
    let _ = apply::apply(kind, Some(&object), &config, writer, true, &|_, _| None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_object_takes_the_path_of_a_write(which in any::<prop::sample::Index>(), bytes in proptest::collection::vec(any::<u8>(), 0..600), wrong in any::<bool>()) {
        let registry = Registry::builtin();
        let kinds: Vec<_> = registry.iter().collect();
        let kind = kinds[which.index(kinds.len())];
        let schema = kind.schema();
        write(kind, object(&schema, schema.root_id(), &mut Dice(bytes.iter()), 0, wrong));
    }
}
