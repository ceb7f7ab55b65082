//! Values of any shape that the table of types tells, without regard to rules.

use std::cell::RefCell;
use std::collections::HashMap;

use naru_api::schema::{Shape, TypeId, Types};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use serde_json::{Map, Value, json};

/// Words of many kinds: names, addresses, paths, numbers, expressions.
pub const TEXTS: &[&str] = &[
    "web",
    "a-1",
    "example.com/c",
    "d.example.com",
    "v1",
    "/x",
    "x/y",
    "1",
    "true",
    "10.0.0.1",
    "10.0.0.0/24",
    "fd00::1",
    "0 3 * * *",
    "50%",
    "Always",
    "None",
    "https://example.com/x",
    "example.com/v1",
    "a=b",
    "YQ==",
    "pods",
];
/// Numbers on both sides of most limits.
pub const NUMBERS: &[i64] = &[1, 0, 2, 30, 443, 8080, 100_000, -1];
const FRACTIONS: &[f64] = &[0.5, 2.0, -1.0];
const QUANTITIES: &[&str] = &["1", "100m", "1Gi", "0", "2000m", "1.5", "1e3", "0.5Ki"];
const TIMES: &[&str] = &["2026-01-01T00:00:00Z", "2026-06-01T12:30:00+02:00"];
const KEYS: &[&str] = &["a", "example.com/b", "cpu", "memory", "c.txt"];
/// Metadata that a client may write; the rest is the server's.
const METADATA: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];
/// How many objects lie in one another at most.
const DEPTH: u8 = 8;

/// Makes strategies for the types of a table; each is made once.
pub struct Generator<'t> {
    types: &'t Types,
    made: RefCell<HashMap<(TypeId, u8), BoxedStrategy<Value>>>,
}

impl<'t> Generator<'t> {
    pub fn new(types: &'t Types) -> Self {
        Generator { types, made: RefCell::default() }
    }

    /// Whole objects of a type.
    pub fn object(&self, id: TypeId) -> BoxedStrategy<Value> {
        self.fields(id, DEPTH)
    }

    fn fields(&self, id: TypeId, depth: u8) -> BoxedStrategy<Value> {
        if let Some(known) = self.made.borrow().get(&(id, depth)) {
            return known.clone();
        }
        let made = self.make(id, depth);
        self.made.borrow_mut().insert((id, depth), made.clone());
        made
    }

    fn make(&self, id: TypeId, depth: u8) -> BoxedStrategy<Value> {
        let of = self.types.get(id);
        if of.any {
            return anything();
        }
        if depth == 0 {
            return Just(json!({})).boxed();
        }
        let is_metadata = of.name.ends_with(".ObjectMeta");
        let mut names = Vec::new();
        let mut values: Vec<BoxedStrategy<Option<Value>>> = Vec::new();
        for field in &of.fields {
            let name = field.name.as_ref();
            if is_metadata && !METADATA.contains(&name) || depth == DEPTH && matches!(name, "apiVersion" | "kind") {
                continue;
            }
            // Large types have many fields: some of each are enough.
            let chance = if field.required || depth == DEPTH { 0.95 } else { (6.0 / of.fields.len() as f64).min(0.6) };
            names.push(name.to_owned());
            values.push(prop::option::weighted(chance, self.shape(&field.shape, depth - 1)).boxed());
        }
        let together = move |values: Vec<Option<Value>>| {
            let present = names.iter().zip(values).filter_map(|(name, value)| Some((name.clone(), value?)));
            Value::Object(present.collect())
        };
        values.prop_map(together).boxed()
    }

    fn shape(&self, shape: &Shape, depth: u8) -> BoxedStrategy<Value> {
        let words = |words: &'static [&'static str]| prop::sample::select(words).prop_map(Value::from).boxed();
        match shape {
            Shape::Any => anything(),
            Shape::Open => Just(json!({"free": {"form": [1, "a", true]}})).boxed(),
            Shape::String => words(TEXTS),
            Shape::Bytes => words(&["", "YQ==", "YWJj"]),
            Shape::Int32 | Shape::Int64 => prop::sample::select(NUMBERS).prop_map(Value::from).boxed(),
            Shape::Number => prop::sample::select(FRACTIONS).prop_map(Value::from).boxed(),
            Shape::Bool => any::<bool>().prop_map(Value::from).boxed(),
            Shape::Quantity => words(QUANTITIES),
            Shape::Time => words(TIMES),
            Shape::MicroTime => words(&["2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00Z"]),
            Shape::IntOrString => {
                prop_oneof![Just(json!(1)), Just(json!(8080)), Just(json!("50%")), Just(json!("http"))].boxed()
            }
            Shape::Object(id) => self.fields(*id, depth),
            Shape::List(inner) => prop::collection::vec(self.shape(inner, depth), 1..3).prop_map(Value::Array).boxed(),
            Shape::Map(inner) => {
                let entry = (prop::sample::select(KEYS), self.shape(inner, depth));
                let together = |entries: Vec<(&str, Value)>| {
                    Value::Object(
                        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
                    )
                };
                prop::collection::vec(entry, 1..3).prop_map(together).boxed()
            }
        }
    }
}

fn anything() -> BoxedStrategy<Value> {
    let simple = prop_oneof![Just(json!(1)), Just(json!("a")), Just(json!(true)), Just(json!([1, {"b": "c"}]))];
    simple.prop_map(|value| json!({"any": value})).boxed()
}
