//! Expressions that nobody meant: they are refused with words, or end, within their budget, with the same every time.

#[path = "../../api/tests/fuzz/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;
use std::sync::Arc;

use naru_cel::{Budget, Env, ObjectType, Type, Value, escape, parse_duration};
use serde_json::json;

/// What expressions are made of.
const WORDS: &[&str] = &[
    "self",
    "oldSelf",
    ".",
    "?",
    ":",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    " in ",
    "'",
    "\"",
    "'''",
    "r'",
    "b'",
    "\\",
    "\\x",
    "\\U00110000",
    "0",
    "1",
    "-1",
    "1u",
    "0x",
    "1e999",
    "9223372036854775808",
    ".?",
    "[?",
    "{?",
    "null",
    "true",
    "has(",
    ".all(x, ",
    ".exists(",
    ".map(i, ",
    ".filter(",
    ".exists_one(",
    ".transformMap(k, v, ",
    ".size()",
    ".matches(",
    "(a+)+$",
    ".format([",
    "%s",
    "%.99f",
    "%e",
    ".split('')",
    ".replace('', 'aaaaaaaa')",
    ".join(",
    "dyn(",
    "type(",
    "string(",
    "int(",
    "duration(",
    "timestamp(",
    "quantity(",
    "ip(",
    "cidr(",
    "url(",
    "semver(",
    "optional.of(",
    ".orValue(",
    ".optMap(x, ",
    "cel.bind(v, ",
    "sets.contains(",
    ".substring(",
    ".indexOf(",
    ".sum()",
    ".find(",
    ".name",
    ".list",
    ".labels",
    "//",
    "é",
    "\u{0}",
    "\n",
];

const SAMPLES: &[&str] = &[
    "self.name.startsWith('a') && self.list.all(x, x > 0) || !has(self.labels)",
    "self.list.map(x, x * 2).filter(y, y > 3).exists(z, z == 4) ? 'yes' : \"no\"",
    "self.labels.all(k, self.labels[k].matches('^[a-z]+$') && k.size() < 10)",
    "self.?name.orValue('x') + string(self.list[0]) == 'a1'",
    "has(oldSelf.name) && oldSelf.name == self.name",
    "{'a': 1, 'b': 2}.transformMap(k, v, v + 1) == {'a': 2, 'b': 3}",
    "'%s is %d and %.2f'.format([self.name, 3, 1.5])",
    "'a,b,c'.split(',').join('-').replace('-', '+').upperAscii().lastIndexOf('B')",
    "duration('1h30m') + duration('5s') > duration('90m') && timestamp('2026-01-02T03:04:05Z').getFullYear() == 2026",
    "quantity('1.5Gi').add(quantity('1')).isGreaterThan(quantity('1Gi')) && isQuantity('x')",
    "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && ip.isCanonical('::1')",
    "url('https://a.b:80/c?d=e').getHostname() == 'a.b' && semver('1.2.3').isLessThan(semver('2.0.0'))",
    "sets.contains([1, 2], [1]) && [3, 1].isSorted() && [1, 2].sum() == 3 && [1u, 2u].max() == 2u",
    "[1, 2, 3].exists_one(i, i % 2 == 0) && !(4 in [1, 2]) && 'k' in {'k': null}",
    "cel.bind(v, self.list, v.size() + v.size()) > 2 || b'abc'.size() == 3",
    "optional.of(1).optMap(x, x + 1).hasValue() && [?self.?name, 'b'].size() == 2",
    "'aaaaaaaaaaaaaaaaaaaaaaaa!'.matches('(a+)+$') || 'abc'.find('[b-c]+') == 'bc'",
    "format.named('dns1123Label').value().validate('a.b').hasValue() || type(self) == type({})",
    "-9223372036854775808 / -1 == 0 || 1.0 / 0.0 > 1e308 || 18446744073709551615u + 1u > 0u",
];

fn variables() -> BTreeMap<String, Value> {
    let object =
        json!({"name": "web", "list": [1, 2, 3], "labels": {"app": "web", "tier": "front"}, "deep": [[[["x"]]]]});
    let value = Value::from_json(&object);
    BTreeMap::from([("self".to_owned(), value.clone()), ("oldSelf".to_owned(), value)])
}

/// Once of any type, once of a declared one: the second finds faults that the first leaves to the evaluation.
fn environments() -> [Env; 2] {
    let fields = BTreeMap::from([
        ("name".to_owned(), Type::String),
        ("list".to_owned(), Type::list(Type::Int)),
        ("labels".to_owned(), Type::map(Type::String, Type::String)),
    ]);
    let object = Type::Object(Arc::new(ObjectType { name: "self".to_owned(), fields }));
    [Type::Dyn, object].map(|of| Env::new().with("self", of.clone()).with("oldSelf", of))
}

#[test]
fn expressions() {
    let (environments, variables) = (environments(), variables());
    mutate::text("expressions", SAMPLES, WORDS, move |text| {
        for environment in &environments {
            let program = match environment.compile(text) {
                Ok(program) => program,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    continue;
                }
            };
            let run = || {
                let mut budget = Budget::new(100_000);
                let result = program.eval(&variables, &mut budget);
                (result, budget.left())
            };
            let (first, left) = run();
            if let Err(error) = &first {
                assert!(!error.to_string().is_empty());
            }
            assert!(left <= 100_000);
            let (second, again) = run();
            // NaN differs from itself, but is shown as itself.
            assert_eq!((format!("{first:?}"), left), (format!("{second:?}"), again));
        }
    });
}

/// Expressions that lie in one another as deep as they may, and deeper.
#[test]
fn deep_expressions() {
    let mut samples = Vec::new();
    for deep in [10, 50, 61, 62, 63, 100, 248, 249, 250, 251, 3000] {
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1: ", "1", "}"),
            ("!(", "true", ")"),
            ("true ? ", "1", " : 1"),
            ("dyn(", "1", ")"),
            ("[1].map(x, ", "x", ")"),
            ("[1].all(x, ", "true", ")"),
            ("cel.bind(v, ", "1", ", v)"),
            ("optional.of(", "1", ").optMap(x, x)"),
            ("", "1", " + 1"),
            ("", "self", ".a"),
            ("", "self", "[0]"),
            ("", "'a'", ".trim()"),
            ("true && ", "true", ""),
        ] {
            samples.push(format!("{}{middle}{}", open.repeat(deep), close.repeat(deep)));
        }
    }
    let samples: Vec<&str> = samples.iter().map(String::as_str).collect();
    let (environments, variables) = (environments(), variables());
    mutate::text("deep_expressions", &samples, &["(", "[", "{1: ", "!(", ")", "]"], move |text| {
        for environment in &environments {
            if let Ok(program) = environment.compile(text) {
                let _ = program.eval(&variables, &mut Budget::new(100_000));
            }
        }
    });
}

#[test]
fn names_and_durations() {
    let samples = ["a-b/c.d", "namespace", "1h30m0.5s", "-1.5us", "__a__", "9223372036854775807ns", "-1h1m1s1ms1us1ns"];
    let words = &["h", "m", "s", "ns", "µs", "-", ".", "_", "__", "/", "999999999999999999999", "0", "é"];
    mutate::text("names_and_durations", &samples, words, |text| {
        if let Some(escaped) = escape(text) {
            assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{escaped}");
        }
        let _ = parse_duration(text);
    });
}
