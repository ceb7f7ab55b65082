//! What calls cost, by their function and the sizes of what they are given, and how large what they give may be.

use std::sync::Arc;

use super::cost::Cost;
use super::path::Path;
use super::tree::{Id, Kind};
use super::{Entries, Estimator};
use crate::types::{Sig, Type};
use crate::value::Value;

/// Walking ten characters costs one.
const WALK: f64 = 0.1;
/// A pattern has a state every four characters.
const STATE: f64 = 0.25;
const ONE: Cost = Cost::fixed(1);

/// A call: its parts, and what its arguments cost and how large they are.
struct Call {
    function: Arc<str>,
    target: Option<Id>,
    args: Vec<Id>,
    costs: Vec<Cost>,
}

/// What a call costs without its arguments, and the size of what it gives.
type Answer = (Cost, Option<Cost>);

impl Estimator<'_> {
    pub(super) fn call(&mut self, id: Id) -> Cost {
        let Kind::Call { function, target, args, overloads } = &self.tree.nodes[id].kind else { return ONE };
        let (function, target, args, overloads) = (function.clone(), *target, args.clone(), overloads.clone());
        if &*function == "dyn" && args.len() == 1 {
            let cost = self.cost(args[0]);
            self.computed[id] = self.size(args[0]);
            self.entries[id] = self.entries_of(args[0]);
            return cost + ONE;
        }
        let mut costs = Vec::with_capacity(args.len());
        for argument in &args {
            costs.push(self.cost(*argument));
            // Looked up now, and so for good.
            self.size(*argument);
        }
        let mut sum = Cost::default();
        if let Some(target) = target {
            sum = self.cost(target);
            self.size(target);
        }
        if &*function == "_[_]" {
            return sum + self.index(id, &args, &costs);
        }
        let call = Call { function, target, args, costs };
        let (mut all, mut size): (Option<Cost>, Option<Cost>) = (None, None);
        for overload in overloads {
            let (cost, result) = self.overload(id, &call, overload);
            all = Some(all.map_or(cost, |all| all.union(cost)));
            size = match (size, result) {
                (Some(size), Some(result)) => Some(size.union(result)),
                (size, result) => size.or(result),
            };
            if size.is_none() {
                size = self.size(id);
            }
        }
        self.computed[id] = size.or(self.computed[id]);
        sum + all.unwrap_or_default()
    }

    fn index(&mut self, id: Id, args: &[Id], costs: &[Cost]) -> Cost {
        let of = match self.of(args[0]) {
            Type::Optional(_) => return plain(costs),
            of => of.clone(),
        };
        let mut size = None;
        for (fits, step) in
            [(matches!(of, Type::List(_) | Type::Dyn), "@items"), (matches!(of, Type::Map(..) | Type::Dyn), "@values")]
        {
            if fits {
                size = self.entries_of(args[0]).map(|entries| entries.value);
                self.paths[id] = self.path(args[0]).then(step.into());
                size = size.or_else(|| self.size(id));
            }
        }
        self.computed[id] = size.or(self.computed[id]);
        plain(costs)
    }

    fn overload(&mut self, id: Id, call: &Call, overload: &[Sig]) -> Answer {
        let arguments = call.costs.iter().fold(Cost::default(), |sum, cost| sum + *cost);
        match &*call.function {
            "_&&_" | "_||_" => {
                let [left, right] = call.costs[..] else { return (arguments, None) };
                // The second one need not be looked at.
                return (Cost { min: left.min, max: (left + right).max }, None);
            }
            "_?_:_" => {
                let ([_, then, otherwise], [test, a, b]) = (&call.args[..], &call.costs[..]) else {
                    return (arguments, None);
                };
                let size = self.size_or_unknown(*then).union(self.size_or_unknown(*otherwise));
                self.join(id, *then, *otherwise);
                return (*test + a.union(*b), Some(size));
            }
            _ => {}
        }
        let answer = self.library(call, overload).or_else(|| self.standard(id, call, overload));
        let (cost, size) = answer.unwrap_or((ONE, None));
        (cost + arguments, size)
    }

    /// The entries of what is made of two lists or maps.
    fn join(&mut self, id: Id, one: Id, other: Id) {
        let both: Option<Entries> =
            self.entries_of(one).zip(self.entries_of(other)).map(|(one, other)| one.union(other));
        self.entries[id] = both.or(self.entries[id]);
    }

    /// Functions of the language itself.
    fn standard(&mut self, id: Id, call: &Call, overload: &[Sig]) -> Option<Answer> {
        let (args, text) = (&call.args[..], matches!(overload.first(), Some(Sig::String | Sig::Bytes)));
        Some(match (&*call.function, call.target, args) {
            ("format", Some(target), _) => (self.size_or_unknown(target).scaled(WALK), None),
            ("bytes", None, [of]) if matches!(overload, [Sig::String]) => {
                let size = self.size_or_unknown(*of);
                (size.scaled(WALK), Some(Cost { min: size.min, max: size.max.wrapping_mul(4) }))
            }
            ("string", None, [of]) if matches!(overload, [Sig::Bytes]) => {
                let size = self.size_or_unknown(*of);
                (size.scaled(WALK), Some(Cost { min: size.min / 4, max: size.max }))
            }
            ("strings.quote", None, [of]) => {
                let size = self.size_or_unknown(*of);
                let quoted = Cost { min: size.min.wrapping_add(2), max: size.max.wrapping_mul(2).wrapping_add(2) };
                (size.scaled(WALK), Some(quoted))
            }
            ("startsWith" | "endsWith", Some(_), [of]) => (self.size_or_unknown(*of).scaled(WALK), None),
            ("@in", None, [_, of]) if matches!(overload, [_, Sig::List(_)]) => {
                (self.size_or_unknown(*of).scaled(1.0), None)
            }
            ("matches", Some(target), [pattern]) => {
                let text = (self.size_or_unknown(target) + ONE).scaled(WALK);
                (text.times(self.size_or_unknown(*pattern).scaled(STATE)), None)
            }
            ("contains", Some(target), [of]) => {
                let (text, part) = (self.size_or_unknown(target).scaled(WALK), self.size_or_unknown(*of).scaled(WALK));
                (text.times(part), None)
            }
            ("_+_", None, [one, other]) if text || matches!(overload.first(), Some(Sig::List(_))) => {
                let size = self.size_or_unknown(*one) + self.size_or_unknown(*other);
                self.join(id, *one, *other);
                (if text { size.scaled(WALK) } else { ONE }, Some(size))
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", None, [one, other]) if text => (self.compare(*one, *other), None),
            ("_==_" | "_!=_", None, [one, other]) => (self.compare(*one, *other), None),
            _ => return None,
        })
    }

    fn compare(&mut self, one: Id, other: Id) -> Cost {
        let most = self.size_or_unknown(one).max.min(self.size_or_unknown(other).max);
        Cost { min: u64::from(most > 0), max: most }.scaled(WALK)
    }

    /// Functions of Kubernetes' libraries, and of those it takes over.
    fn library(&mut self, call: &Call, overload: &[Sig]) -> Option<Answer> {
        let first = call.args.first().copied();
        Some(match (&*call.function, call.target, first) {
            ("check", ..) => (Cost::fixed(350_000), None),
            (
                "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed"
                | "reason" | "error" | "errored",
                ..,
            )
            | (
                "masked"
                | "prefixLength"
                | "family"
                | "isUnspecified"
                | "isLoopback"
                | "isLinkLocalMulticast"
                | "isLinkLocalUnicast"
                | "isGlobalUnicast"
                | "format.named"
                | "sign"
                | "asInteger"
                | "isInteger"
                | "asApproximateFloat"
                | "isGreaterThan"
                | "isLessThan"
                | "compareTo"
                | "add"
                | "sub"
                | "major"
                | "minor"
                | "patch"
                | "getScheme"
                | "getHostname"
                | "getHost"
                | "getPort"
                | "getEscapedPath"
                | "getQuery",
                ..,
            ) => (ONE, None),
            ("fieldSelector" | "labelSelector", _, Some(of)) => {
                let size = self.size_or_unknown(of);
                (Cost::fixed(10) + size.scaled(WALK) + size.scaled(0.5).scaled(50.0), None)
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let size = self.size_or_unknown(target);
                match self.element(target) {
                    Some((of, most)) => {
                        let text = matches!(of, Type::String | Type::Bytes);
                        let each = if text { ONE + most.scaled(WALK) } else { ONE };
                        (size.times(each), None)
                    }
                    None => (size.scaled(WALK), None),
                }
            }
            ("url" | "jsonpatch.escapeKey", None, Some(of))
            | ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(of), _) => {
                let size = self.size_or_unknown(of);
                (size.scaled(WALK), Some(size))
            }
            ("replace", Some(target), _) if call.args.len() >= 2 => self.replace(target, call.args[0], call.args[1]),
            ("split", Some(target), _) => {
                let size = self.size_or_unknown(target);
                let most = match call.args.get(1).map(|at| &self.tree.nodes[*at].kind) {
                    Some(Kind::Literal(Value::Int(most))) => *most as u64,
                    _ => size.max,
                };
                (size.scaled(2.0 * WALK), Some(Cost { min: 0, max: most }))
            }
            ("join", Some(target), between) => self.join_texts(target, between),
            ("find" | "findAll", Some(target), Some(pattern)) => {
                let size = self.size_or_unknown(target);
                let cost = (size + ONE).scaled(WALK).times(self.size_or_unknown(pattern).scaled(STATE));
                (cost, Some(Cost { min: 0, max: size.max }))
            }
            ("ip", Some(_), _) => (ONE, None),
            ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", _, Some(of)) => {
                (self.size_or_unknown(of).scaled(WALK), None)
            }
            ("ip.isCanonical", _, Some(of)) => (self.size_or_unknown(of).scaled(2.0 * WALK), None),
            ("containsIP" | "containsCIDR", Some(_), Some(of)) => {
                let address = Cost { min: 4, max: 16 };
                let mut cost = (address + address).scaled(WALK);
                if &*call.function == "containsCIDR" {
                    cost = cost + address.scaled(WALK) + ONE;
                }
                if matches!(overload, [_, Sig::String]) {
                    cost = cost + self.size_or_unknown(of).scaled(WALK);
                }
                (cost, None)
            }
            ("validate", _, Some(of)) => (self.size_or_unknown(of).scaled(WALK).scaled(128.0 * STATE), None),
            ("sets.contains" | "sets.intersects" | "sets.equivalent", None, _) if call.args.len() == 2 => {
                let factor = if &*call.function == "sets.equivalent" { 2.0 } else { 1.0 };
                let (one, other) = (self.size_or_unknown(call.args[0]), self.size_or_unknown(call.args[1]));
                (one.times(other).scaled(factor) + ONE, None)
            }
            ("_==_", None, Some(one)) if call.args.len() == 2 => return self.same(one, call.args[1]),
            _ => return None,
        })
    }

    /// Values of libraries are compared as a whole.
    fn same(&mut self, one: Id, other: Id) -> Option<Answer> {
        let Type::Opaque(name) = *self.of(one) else { return None };
        if self.of(one) != self.of(other) {
            return None;
        }
        if name == "kubernetes.URL" {
            let size = self.size(other).map_or(ONE, |size| size);
            return Some((Cost { min: 1, max: size.max }.scaled(WALK), None));
        }
        if name == "kubernetes.NamedFormat" {
            return Some((Cost { min: 1, max: 64 }.scaled(WALK), None));
        }
        Some((ONE, None))
    }

    fn replace(&mut self, target: Id, old: Id, new: Id) -> Answer {
        let size = self.size_or_unknown(target);
        let (old, new) = (self.size_or_unknown(old), self.size_or_unknown(new));
        let (mut count, mut kept) = (Cost::default(), Cost::default());
        if old.min == 0 {
            // Nothing stands between all characters.
            count.max = size.max.saturating_add(1);
            kept.max = size.max;
        } else if new.max <= old.min {
            kept.max = size.max;
        } else {
            count.max = (size.max as f64 / old.min as f64).ceil() as u64;
        }
        if old.max == 0 {
            count.min = size.min.saturating_add(1);
            kept.min = size.min;
        } else if old.max <= new.min {
            kept.min = size.min;
        } else {
            count.min = (size.min as f64 / old.max as f64).ceil() as u64;
        }
        (size.scaled(2.0 * WALK), Some(count.times(new) + kept))
    }

    fn join_texts(&mut self, target: Id, between: Option<Id>) -> Answer {
        let list = self.size_or_unknown(target);
        let mut size = self.element(target).map_or(Cost::default(), |(_, each)| list.times(each));
        if let Some(between) = between {
            let gaps = Cost { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
            size = size + self.size_or_unknown(between).times(gaps);
        }
        (size.scaled(WALK), Some(size))
    }

    /// The type and size of a list's items, as far as its path tells.
    fn element(&self, list: Id) -> Option<(Type, Cost)> {
        let of = match self.of(list) {
            Type::List(of) | Type::Optional(of) | Type::Map(of, _) => (**of).clone(),
            _ => return None,
        };
        let path = self.path(list);
        let items: Path = if path.is_empty() { path } else { path.apart("@items".into()) };
        let most = items.most(self.sizes);
        Some((of, most.map_or(Cost::UNKNOWN, |max| Cost { min: 0, max })))
    }
}

fn plain(costs: &[Cost]) -> Cost {
    costs.iter().fold(ONE, |sum, cost| sum + *cost)
}
