//! Figures that the reference records.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cost, Sizes};
use crate::{Env, Type};

struct Hints(BTreeMap<&'static str, u64>);

impl Sizes for Hints {
    fn most(&self, path: &[Arc<str>]) -> Option<u64> {
        self.0.get(&*path.join(".")).copied()
    }
}

#[track_caller]
fn costs(variables: &[(&str, Type)], hints: &[(&'static str, u64)], text: &str, min: u64, max: u64) {
    let env = variables.iter().fold(Env::new(), |env, (name, of)| env.with(*name, of.clone()));
    let cost = env.estimate(text, &Hints(hints.iter().copied().collect())).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(cost, Cost { min, max }, "{text}");
}

#[test]
fn constants_and_operators() {
    for (text, cost) in [
        ("\"Hello World!\"", 0),
        ("[1, 2, 3]", 10),
        ("{\"a\": 1, \"b\": 2, \"c\": 3}", 30),
        ("[1, 2, 3].all(x, true)", 20),
        ("'123'.matches('[0-9]')", 2),
        ("true || false", 0),
        ("1 < 2", 1),
        ("1 == 2", 1),
        ("2 in [1, 2, 3]", 13),
        ("1 + 1", 1),
        ("true ? 1 : 2", 0),
        ("size(\"123\")", 1),
        ("string(1)", 1),
    ] {
        costs(&[], &[], text, cost, cost);
    }
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| (name, Type::Bool));
    costs(&[a.clone(), b.clone(), c.clone(), d.clone()], &[], "a || b || c || d", 1, 4);
    costs(&[a, b, c, d], &[], "a && b && c && d", 1, 4);
}

#[test]
fn text_and_lists() {
    let text = [("input", Type::String), ("arg1", Type::String)];
    let large = [("input", 500), ("arg1", 500)];
    costs(&text, &large, "input.matches('[0-9]')", 3, 103);
    costs(&text, &large, "bytes(input)", 1, 51);
    costs(&text, &large, "bytes(input) == bytes(input)", 3, 302);
    costs(&text, &large, "input.contains(arg1)", 2, 2502);
    costs(&text, &large, "input.startsWith(arg1)", 2, 52);
    let bytes = [("input", Type::Bytes)];
    costs(&bytes, &large, "string(input) == string(input)", 3, 152);
    let map = Type::map(Type::String, Type::Int);
    costs(&[("input", Type::list(map.clone()))], &[("input", 100)], "input.all(x, true)", 2, 302);
    let nested = [("input", Type::list(Type::list(map)))];
    costs(&nested, &[("input", 50), ("input.@items", 10)], "input.all(x, x.all(y, true))", 2, 1752);
    costs(&[("input", Type::map(Type::String, Type::String))], &[], "input['key']", 2, 2);
}
