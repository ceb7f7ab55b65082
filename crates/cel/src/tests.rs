//! Expressions and what comes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::*;

mod objects;

fn variables() -> BTreeMap<String, Value> {
    let object = json!({
        "name": "web", "replicas": 3, "minReplicas": 1, "big": 9007199254740993_i64, "ratio": 0.5,
        "labels": {"app": "web", "tier": "front"}, "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
        "tags": ["a", "b", "c"], "empty": [], "nothing": null,
    });
    BTreeMap::from([("self".to_owned(), Value::from_json(&object))])
}

fn env() -> Env {
    Env::new().with("self", Type::Dyn)
}

fn run(text: &str) -> Result<Value, String> {
    let program = env().compile(text).map_err(|error| error.to_string())?;
    program.eval(&variables(), &mut Budget::new(1_000_000)).map_err(|error| error.to_string())
}

#[track_caller]
fn holds(text: &str) {
    match run(text) {
        Ok(Value::Bool(true)) => {}
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
fn fails(text: &str, with: &str) {
    let error = run(text).expect_err(text);
    assert!(error.contains(with), "{text}: {error}");
}

#[test]
fn arithmetic_and_comparison() {
    for text in [
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3",
        "1.5 + 1.5 == 3.0",
        "-9223372036854775808 < 0",
        "1u + 2u == 3u",
        "1 < 2.5 && 2u > 1 && 1.0 <= 1",
        "'a' + 'b' == 'ab' && 'a' < 'b'",
        "b'a' + b'b' == b'ab'",
        "[1, 2] + [3] == [1, 2, 3]",
        "!(1 > 2) && !!true",
        "true ? 1 == 1 : false",
        "1 == 1 ? true : 1 / 0 == 0",
        "2 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1}",
        "self.big == 9007199254740993",
        "dyn(1) == dyn(1u) && dyn(1) == dyn(1.0) && dyn(1) != dyn('1')",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1}",
        "type(1) == int && type('a') == string && type([]) == list && type(timestamp('2020-01-01T00:00:00Z')) == google.protobuf.Timestamp",
    ] {
        holds(text);
    }
    fails("9223372036854775807 + 1 > 0", "integer overflow");
    fails("1 / (self.replicas - 3) == 0", "division by zero");
    fails("1 % 0 == 0", "modulus by zero");
    fails("0u - 1u == 0u", "unsigned integer overflow");
}

#[test]
fn fields_and_elements() {
    for text in [
        "self.name == 'web' && self['name'] == 'web'",
        "self.ports[1].port == 443",
        "has(self.name) && !has(self.missing)",
        "self.nothing == null",
        "self.labels.app == 'web' && 'tier' in self.labels",
        "self.?missing.orValue('x') == 'x' && self.?name.orValue('x') == 'web'",
        "!self.?a.b.c.hasValue()",
        "self.tags[?7].orValue('none') == 'none' && self.tags[?0] == optional.of('a')",
        "[1, ?self.?missing, ?optional.of(2)] == [1, 2]",
        "{'a': 1, ?'b': self.?missing} == {'a': 1}",
        "self.?name.optMap(n, n + '!').value() == 'web!'",
        "self.?name.optFlatMap(n, optional.none()).hasValue() == false",
        "optional.ofNonZeroValue(0).or(optional.of(5)).value() == 5",
    ] {
        holds(text);
    }
    fails("self.missing == 1", "no such key: missing");
    fails("self.tags[5] == 'a'", "index out of bounds: 5");
    fails("self.name.first == 1", "no such key: first");
    fails("optional.none().value() == 1", "optional.none() dereference");
}

#[test]
fn what_is_wrong_on_one_side_does_not_matter_when_the_other_decides() {
    holds("true || 1 / 0 == 0");
    holds("1 / 0 == 0 || true");
    holds("!(false && 1 / 0 == 0) && !(1 / 0 == 0 && false)");
    fails("1 / 0 == 0 || false", "division by zero");
    holds("[0, 2].exists(x, 4 / x == 2)");
    holds("![0, 2].all(x, 4 / x == 1)");
    fails("[0, 1].all(x, 4 / x == 4)", "division by zero");
}

#[test]
fn comprehensions() {
    for text in [
        "self.ports.all(p, p.port > 0) && self.ports.exists(p, p.name == 'http')",
        "self.ports.exists_one(p, p.port == 80) && !self.tags.existsOne(t, t < 'c')",
        "self.tags.map(t, t + '1') == ['a1', 'b1', 'c1']",
        "self.ports.map(p, p.port > 100, p.name) == ['https']",
        "self.tags.filter(t, t != 'b') == ['a', 'c']",
        "self.labels.all(k, k in ['app', 'tier'])",
        "self.empty.all(x, false) && !self.empty.exists(x, true)",
        "self.tags.all(i, t, self.tags[i] == t)",
        "self.labels.exists(k, v, k == 'app' && v == 'web')",
        "[1, 2].transformList(i, v, v * 10 + i) == [10, 21]",
        "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 2) == {'b': 4}",
        "{'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}",
        "[1, 2].map(x, [x].map(y, x + y)) == [[2], [4]]",
        "cel.bind(x, self.replicas * 2, x + x == 12)",
    ] {
        holds(text);
    }
}

#[test]
fn conversions_and_times() {
    for text in [
        "int('42') == 42 && uint(1) == 1u && double(1) == 1.0 && string(1.5) == '1.5' && bool('true')",
        "int(3.9) == 3 && int(-3.9) == -3",
        "string(b'abc') == 'abc' && bytes('é').size() == 2 && 'é'.size() == 1 && size([1, 2]) == 2",
        "timestamp('2023-05-06T07:08:09.010Z').getFullYear() == 2023",
        "timestamp('2023-05-06T07:08:09Z').getMonth() == 4 && timestamp('2023-05-06T07:08:09Z').getDate() == 6",
        "timestamp('2023-05-07T00:00:00Z').getDayOfWeek() == 0",
        "timestamp('2023-05-06T23:30:00Z').getHours('+01:00') == 0",
        "timestamp('2023-01-01T00:00:00Z') + duration('24h') == timestamp('2023-01-02T00:00:00Z')",
        "timestamp('2023-01-02T00:00:00Z') - timestamp('2023-01-01T00:00:00Z') == duration('86400s')",
        "duration('1h30m').getMinutes() == 90 && string(duration('1.5s')) == '1.5s'",
        "duration('1m') > duration('59s')",
        "string(timestamp('2023-01-01T00:00:00Z')) == '2023-01-01T00:00:00Z'",
    ] {
        holds(text);
    }
    fails("int('x') == 1", "invalid syntax");
    fails("int(1e30) == 1", "integer overflow");
}

#[test]
fn strings_and_patterns() {
    for text in [
        "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
        "'hello'.charAt(1) == 'e' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3 && 'hello'.indexOf('z') == -1",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && ['a', 'b'].join('-') == 'a-b'",
        "'Hello'.lowerAscii() == 'hello' && 'hello'.upperAscii() == 'HELLO' && ' a '.trim() == 'a' && 'abc'.reverse() == 'cba'",
        "'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 2) == 'bba'",
        "'hello'.substring(1, 3) == 'el' && 'hello'.substring(3) == 'lo'",
        "strings.quote('a\"b') == '\"a\\\\\"b\"'",
        "'%s has %d of %.2f, %x'.format([dyn('web'), 3, 1.5, 255]) == 'web has 3 of 1.50, ff'",
        "'web-12'.matches('^[a-z]+-[0-9]+$') && 'ab12'.find('[0-9]+') == '12' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "'a1b2'.findAll('[0-9]', 1) == ['1']",
    ] {
        holds(text);
    }
    fails("'abc'.substring(2, 1) == ''", "invalid substring range");
    fails("'abc'.charAt(9) == ''", "index out of range: 9");
}

#[test]
fn the_functions_that_kubernetes_adds() {
    for text in [
        "[1, 2, 3].isSorted() && [1, 2, 3].sum() == 6 && [3, 1].min() == 1 && ['a', 'b'].max() == 'b' && ['a', 'b'].indexOf('b') == 1",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('500m')) == quantity('1')",
        "isQuantity('10Mi') && !isQuantity('ten') && quantity('2').asInteger() == 2 && quantity('1').compareTo(quantity('2')) == -1",
        "quantity('50k').sub(20000).isInteger() && quantity('-1').sign() == -1",
        "isIP('10.0.0.1') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback() && !isIP('::ffff:10.0.0.1')",
        "ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1') && string(ip('10.0.0.1')) == '10.0.0.1'",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "cidr('fd00::/8').prefixLength() == 8 && cidr('10.0.0.1/32').ip() == ip('10.0.0.1') && !isCIDR('10.0.0.0/33')",
        "url('https://user@example.com:8080/a%20b?k=1&k=2').getHost() == 'example.com:8080'",
        "url('https://[::1]:80/x').getHostname() == '::1' && url('https://a/b?k=1&k=2').getQuery()['k'] == ['1', '2'] && url('/a/b').getScheme() == ''",
        "isURL('https://example.com') && !isURL('not a url') && url('https://example.com:80/').getPort() == '80'",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2 && !isSemver('1.2')",
        "!format.dns1123Label().validate('web-1').hasValue() && format.dns1123Label().validate('Web').value()[0].contains('RFC 1123')",
        "format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000') == optional.none()",
    ] {
        holds(text);
    }
}

fn typed() -> Env {
    let port = Type::Object(Arc::new(ObjectType {
        name: "Port".into(),
        fields: [("name".to_owned(), Type::String), ("port".to_owned(), Type::Int)].into(),
    }));
    let object = ObjectType {
        name: "Object".into(),
        fields: [
            ("replicas".to_owned(), Type::Int),
            ("name".to_owned(), Type::String),
            ("ports".to_owned(), Type::list(port)),
            ("labels".to_owned(), Type::map(Type::String, Type::String)),
        ]
        .into(),
    };
    Env::new().with("self", Type::Object(Arc::new(object)))
}

#[test]
fn types_are_checked_before_anything_is_evaluated() {
    for (text, result) in [
        ("self.replicas + 1", "int"),
        ("self.ports.map(p, p.port)", "list(int)"),
        ("self.ports.filter(p, p.port > 1)", "list(Port)"),
        ("self.labels['a']", "string"),
        ("self.?labels.?a", "optional_type(string)"),
        ("self.replicas > 1 ? 'a' : 'b'", "string"),
        ("[1, dyn('a')]", "list(dyn)"),
        ("{'a': 1}", "map(string, int)"),
        ("self.labels.transformMap(k, v, v.size())", "map(string, int)"),
        ("optional.of(1).orValue(2)", "int"),
    ] {
        let program = typed().compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(program.result().to_string(), result, "{text}");
    }
    for (text, wrong) in [
        ("self.missing", "undefined field 'missing'"),
        ("self.replicas + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.name.foo()", "undeclared reference to 'foo'"),
        ("self.name.charAt('a')", "found no matching overload for 'charAt' applied to 'string.(string)'"),
        ("other > 1", "undeclared reference to 'other' (in container '')"),
        ("self.name.first", "type 'string' does not support field selection"),
        ("self.name.all(x, true)", "cannot be range of a comprehension"),
        ("self.ports.all(p, p.port)", "expected type 'bool' but found 'int'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("self.replicas && true", "found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("self.name.matches('[')", "invalid matches argument"),
        ("duration('5')", "invalid duration argument"),
        ("timestamp('yesterday')", "invalid timestamp argument"),
        ("self.ports[0].nme == 'a'", "undefined field 'nme'"),
        ("Port{name: 'a'}", "undeclared reference to 'Port'"),
    ] {
        let error = typed().compile(text).expect_err(text).to_string();
        assert!(error.contains(wrong), "{text}: {error}");
    }
}

#[test]
fn faults_are_shown_with_their_line() {
    let error = typed().compile("self.replicas > 1 &&\n  self.missing").unwrap_err();
    assert_eq!(error.to_string(), "ERROR: <input>:2:7: undefined field 'missing'\n |   self.missing\n | ......^");
}

#[test]
fn an_evaluation_ends_when_its_budget_is_spent() {
    let program = env().compile("self.tags.all(a, self.tags.all(b, self.tags.all(c, a + b + c != '')))").unwrap();
    let mut budget = Budget::new(10_000);
    program.eval(&variables(), &mut budget).unwrap();
    assert!(budget.left() > 9_000, "{budget:?}");
    assert_eq!(program.eval(&variables(), &mut Budget::new(50)).unwrap_err(), EvalError::TooExpensive);
    // Not even a side that decides hides it.
    let hidden = env().compile("self.tags.all(a, self.tags.all(b, a + b != '')) || true").unwrap();
    assert_eq!(hidden.eval(&variables(), &mut Budget::new(20)).unwrap_err(), EvalError::TooExpensive);
    let long = "x".repeat(100_000);
    let variables = BTreeMap::from([("self".to_owned(), Value::text(long))]);
    let search = env().compile("self.matches('(a|b|c|d|e|f)*y')").unwrap();
    assert_eq!(search.eval(&variables, &mut Budget::new(10_000)).unwrap_err(), EvalError::TooExpensive);
}

mod whatever_is_written {
    use proptest::prelude::*;

    use super::*;

    /// Words that lie close to expressions, so that many of them are some.
    const WORDS: [&str; 52] = [
        "self",
        ".",
        "name",
        "tags",
        "ports",
        "labels",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "<",
        "&&",
        "||",
        "!",
        "in",
        "1",
        "2u",
        "1.5",
        "'a'",
        "b'x'",
        "true",
        "null",
        "x",
        "all",
        "map",
        "exists",
        "filter",
        "has",
        "size",
        "[?",
        ".?",
        "matches",
        "quantity",
        "ip",
        "format",
        "-9223372036854775808",
        "9223372036854775807",
        "timestamp",
        "duration",
        "cel.bind",
        "'\u{e9}'",
    ];

    proptest! {
        #[test]
        fn nothing_panics(words in prop::collection::vec(prop::sample::select(&WORDS[..]), 1..24)) {
            for text in [words.join(" "), words.concat()] {
                if let Ok(program) = env().compile(&text) {
                    let _ = program.eval(&variables(), &mut Budget::new(100_000));
                }
                let _ = typed().compile(&text);
            }
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,60}") {
            let _ = env().compile(&text);
        }
    }
}
