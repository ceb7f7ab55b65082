//! Figures that the reference records.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cost, Sizes};
use crate::{Env, ObjectType, Type};

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

/// As a schema says them: lengths in bytes, numbers and objects without a size.
const SCHEMA: &[(&str, u64)] = &[
    ("", 0),
    ("name", 40),
    ("free", 3_145_726),
    ("list", 5),
    ("list.@items", 12),
    ("objs", 4),
    ("objs.@items", 0),
    ("objs.@items.k", 8),
    ("objs.@items.v", 0),
    ("objs.@items.l", 3),
    ("objs.@items.l.@items", 0),
    ("map", 6),
    ("map.@keys", 0),
    ("map.@values", 28),
    ("n", 0),
    ("wait", 32),
    ("kind", 3_145_726),
    ("apiVersion", 3_145_726),
    ("metadata", 0),
    ("metadata.name", 3_145_726),
    ("metadata.generateName", 3_145_726),
];

struct Declared;

impl Sizes for Declared {
    fn most(&self, path: &[Arc<str>]) -> Option<u64> {
        let path = path[1..].join(".");
        SCHEMA.iter().find(|(known, _)| *known == path).map(|(_, most)| *most)
    }
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

/// What a Kubernetes 1.36 API server says of rules of one schema.
#[test]
fn rules_cost_what_they_cost_elsewhere() {
    let item = object("item", &[("k", Type::String), ("v", Type::Int), ("l", Type::list(Type::Int))]);
    let metadata = object("metadata", &[("name", Type::String), ("generateName", Type::String)]);
    let of = object(
        "self",
        &[
            ("name", Type::String),
            ("free", Type::String),
            ("list", Type::list(Type::String)),
            ("objs", Type::list(item)),
            ("map", Type::map(Type::String, Type::String)),
            ("n", Type::Int),
            ("wait", Type::Duration),
            ("kind", Type::String),
            ("apiVersion", Type::String),
            ("metadata", metadata),
        ],
    );
    let env = Env::new().with("self", of.clone()).with("oldSelf", of);
    let mut wrong = Vec::new();
    for (rule, cost) in [
        ("self.name == 'abc'", 3),
        ("self.free == self.name", 8),
        ("self.free.startsWith('a')", 3),
        ("self.name.contains(self.free)", 1258296),
        ("self.name.matches('^[a-z]+$')", 12),
        ("self.list.all(x, x == 'a')", 28),
        ("self.list.exists(x, x.startsWith('a') && x.size() > 2)", 48),
        ("self.list.exists_one(x, x in ['a', 'b'])", 79),
        ("self.list.map(x, x + 'abc').all(y, y == self.name)", 119),
        ("self.list.filter(x, x != 'a').size() == 2", 90),
        ("self.list.map(x, x.size() > 1, x).size() == 0", 95),
        ("self.objs.all(o, o.k == o.k && o.v > 1)", 47),
        ("self.objs.all(o, self.objs.exists(p, p.k == o.k))", 171),
        ("self.objs.all(o, o.l.all(i, i == o.v))", 27),
        ("self.map.all(k, self.map[k] == 'x')", 51),
        ("self.map['a'].size() > 1", 5),
        ("self.list[0] == self.name", 7),
        ("has(self.name) && has(self.n)", 2),
        ("!has(self.name) || self.n > 5 ? self.name == 'a' : self.free == 'b'", 8),
        ("self.?name.orValue('x') == 'y'", 4),
        ("self.?name.optMap(v, v + 'a').orValue('c') == 'd'", 1844674407370955284),
        ("self.objs[?0].hasValue()", 4),
        ("self.name.lowerAscii().trim() == 'a'", 11),
        ("self.name.replace('a', 'bbb') == self.free", 24),
        ("self.name.split(',').all(p, p == 'a')", 171),
        ("self.name.split(',', 2).size() == 2", 12),
        ("self.list.join(',') == 'a,b'", 10),
        ("self.list.join() == self.free", 16),
        ("self.name.find('a+') == 'aa'", 8),
        ("self.name.findAll('a+').all(f, f == 'b')", 168),
        ("isQuantity(self.name) && quantity(self.name).isGreaterThan(quantity('1'))", 14),
        ("quantity(self.name) == quantity('1')", 8),
        ("ip(self.name) == ip('1.2.3.4')", 8),
        ("cidr('10.0.0.0/8').containsIP(self.name)", 11),
        ("cidr('10.0.0.0/8').containsCIDR(cidr(self.name))", 14),
        ("cidr('10.0.0.0/8').ip().family() == 4", 4),
        ("ip.isCanonical(self.name)", 10),
        ("url(self.name).getHost() == 'a'", 8),
        ("url(self.name) == url('http://a')", 8),
        ("semver('1.2.3').isLessThan(semver(self.name))", 8),
        ("format.dns1123Label().validate(self.name).hasValue()", 132),
        ("sets.contains(self.list, ['a'])", 18),
        ("sets.equivalent(self.list, ['a', 'b'])", 33),
        ("self.list.isSorted()", 17),
        ("self.list.max() == 'a'", 18),
        ("self.list.indexOf('a') == 1", 18),
        ("self.name.indexOf('a') == 1", 7),
        ("self.objs.map(o, o.v).sum() == 3", 74),
        ("type(self.n) == int", 4),
        ("dyn(self.name) == 'a'", 4),
        ("dyn(self.n) + 1 == 2", 5),
        ("'%s'.format([self.name]) == 'a'", 14),
        ("string(self.n) == 'a'", 4),
        ("bytes(self.name) == b'a'", 7),
        ("self.wait < duration('1h')", 4),
        ("self.map.transformMap(k, v, v + 'x').size() == 1", 77),
        ("self.map.transformList(k, v, k + v).all(t, t == 'a')", 140),
        ("self.list.transformList(i, v, i > 0, v).size() == 1", 90),
        ("self.map.exists(k, v, v == 'a')", 39),
        ("self == oldSelf", 2),
        ("self.name == oldSelf.name", 8),
        ("[self.name, 'a'].all(x, x == 'b')", 21),
        ("{'a': self.name}.all(k, k == 'a')", 37),
        ("(self.list + ['a', 'bb']).all(x, x == 'c')", 42),
        ("self.metadata.name.size() < 10 && self.kind == 'A'", 8),
        ("self.name < 'b' || self.name in self.map", 8),
        ("self.name in self.list", 9),
        ("self.n in [1, 2]", 14),
        ("size(self.list) > 1 && size(self.map) < 3", 8),
        ("-self.n < 3 && !(self.n == 2)", 7),
        ("self.objs.filter(o, o.k == 'a').map(o, o.k).exists(k, k == 'b')", 165),
        ("self.objs.all(o, o.l.all(i, o.l.exists(j, i == j)))", 315),
        ("[[1], [2, 3]].all(l, l.all(i, i > 0))", 41),
        ("self.free.upperAscii().substring(1) == self.free.charAt(0)", 943724),
    ] {
        let found = env.estimate(rule, &Declared).unwrap_or_else(|error| panic!("{error}")).max;
        if found != cost {
            wrong.push(format!("{rule}: {found} instead of {cost}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
