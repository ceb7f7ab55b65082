//! What an expression may cost, before it is evaluated.
//!
//! The figures are a contract: a definition that one server takes and another refuses is of no use. So the sums are those of
//! the reference checker, step by step, also where they are odd: sizes are looked up by a path from a variable, a path is
//! forgotten by most functions, and what was looked up once stays. Refused: an estimate of our own evaluator's costs, which
//! would be truer and would refuse other rules.

mod calls;
mod cost;
mod path;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::Expr;
use crate::check::Seen;
use crate::types::Type;
use crate::value::Value;
use path::Path;
use tree::{Id, Kind, Loop, SUM, Tree};

pub use cost::Cost;

/// How large values of variables may be.
pub trait Sizes {
    /// The most characters, items or entries that the value at a path has. The path begins with a variable; then come names
    /// of fields, `@items`, `@keys` and `@values`. None where nothing is known of it.
    fn most(&self, path: &[Arc<str>]) -> Option<u64>;
}

/// The cost of an expression that was checked.
pub(crate) fn estimate(expr: &Expr, seen: &Seen, sizes: &dyn Sizes) -> Cost {
    let (tree, root) = Tree::new(expr, seen);
    let count = tree.nodes.len();
    let mut estimator = Estimator {
        tree,
        sizes,
        paths: vec![Path::default(); count],
        computed: vec![None; count],
        entries: vec![None; count],
        locals: HashMap::new(),
    };
    estimator.cost(root)
}

/// What is known of the entries of a list or a map that the expression makes.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Cost,
    value: Cost,
}

impl Entries {
    fn union(self, other: Entries) -> Entries {
        Entries { list: self.list, key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

struct Local {
    path: Path,
    size: Option<Cost>,
    entries: Option<Entries>,
}

struct Estimator<'a> {
    tree: Tree<'a>,
    sizes: &'a dyn Sizes,
    paths: Vec<Path>,
    computed: Vec<Option<Cost>>,
    entries: Vec<Option<Entries>>,
    locals: HashMap<Arc<str>, Vec<Local>>,
}

const NAME: Cost = Cost::fixed(1);
const LIST: Cost = Cost::fixed(10);
const MAP: Cost = Cost::fixed(30);
const OBJECT: Cost = Cost::fixed(40);

/// How the walk sees a node: what it is, without its inside being borrowed.
enum Step {
    Literal,
    Name(Arc<str>),
    Select(Id, Arc<str>, bool),
    Call,
    List(Vec<Id>),
    Map(Vec<(Id, Id)>),
    Object(Vec<Id>),
    Loop,
    Bind(Id, Arc<str>, Id, Id),
    OptMap(Id, Id, Arc<str>, Id, bool),
}

impl Estimator<'_> {
    fn of(&self, id: Id) -> &Type {
        &self.tree.nodes[id].of
    }

    fn step(&self, id: Id) -> Step {
        match &self.tree.nodes[id].kind {
            Kind::Literal(_) => Step::Literal,
            Kind::Name(name) => Step::Name(name.clone()),
            Kind::Select { operand, field, test } => Step::Select(*operand, field.clone(), *test),
            Kind::Call { .. } => Step::Call,
            Kind::List(items) => Step::List(items.clone()),
            Kind::Map(entries) => Step::Map(entries.clone()),
            Kind::Object(fields) => Step::Object(fields.clone()),
            Kind::Loop(_) => Step::Loop,
            Kind::Bind { empty, name, value, body } => Step::Bind(*empty, name.clone(), *value, *body),
            Kind::OptMap { target, empty, name, body, flat } => {
                Step::OptMap(*target, *empty, name.clone(), *body, *flat)
            }
        }
    }

    fn cost(&mut self, id: Id) -> Cost {
        match self.step(id) {
            Step::Literal => Cost::default(),
            Step::Name(name) => {
                self.paths[id] = match self.local(&name) {
                    Some(local) => local.path.clone(),
                    None => Path::variable(name),
                };
                NAME
            }
            Step::Select(operand, field, test) => {
                let cost = self.cost(operand);
                if test {
                    return cost;
                }
                self.paths[id] = self.path(operand).then(field);
                let counts = matches!(self.of(operand), Type::Map(..) | Type::Object(_) | Type::Named(_));
                if counts { cost + NAME } else { cost }
            }
            Step::Call => self.call(id),
            Step::List(items) => {
                let (mut sum, mut size) = (LIST, none(items.is_empty()));
                for item in items {
                    sum = sum + self.cost(item);
                    size = size.union(self.size_or_unknown(item));
                }
                self.entries[id] = Some(Entries { list: true, key: Cost::fixed(1), value: size });
                sum
            }
            Step::Map(entries) => {
                let (mut sum, mut keys, mut values) = (MAP, none(entries.is_empty()), none(entries.is_empty()));
                for (key, value) in entries {
                    sum = sum + self.cost(key) + self.cost(value);
                    keys = keys.union(self.size_or_unknown(key));
                    values = values.union(self.size_or_unknown(value));
                }
                self.entries[id] = Some(Entries { list: false, key: keys, value: values });
                sum
            }
            Step::Object(fields) => fields.into_iter().fold(OBJECT, |sum, field| sum + self.cost(field)),
            Step::Loop => self.repeat(id),
            Step::Bind(empty, name, value, body) => {
                let sum = self.cost(empty) + self.cost(value);
                let (path, size, entries) = (self.path(value), self.size(value), self.entries_of(value));
                let cost = self.within(name, Local { path, size, entries }, |inner| inner.cost(body));
                self.computed[id] = self.size(body);
                self.entries[id] = self.entries_of(body);
                sum + cost
            }
            Step::OptMap(target, empty, name, body, flat) => self.opt_map(id, target, (empty, name, body, flat)),
        }
    }

    /// `target.hasValue() ? optional.of(<value bound, body>) : optional.none()`.
    fn opt_map(&mut self, id: Id, target: Id, (empty, name, body, flat): (Id, Arc<str>, Id, bool)) -> Cost {
        let asked = self.cost(target) + NAME;
        let bound = self.cost(empty) + asked;
        let inside = match self.of(target) {
            Type::Optional(inner) if is_scalar(inner) => Some(Cost::fixed(1)),
            _ => None,
        };
        let local = Local { path: Path::default(), size: inside, entries: None };
        let then = bound + self.within(name, local, |inner| inner.cost(body));
        let (then, size) = match flat {
            true => (then, self.size(body)),
            false => (then + NAME, is_scalar(self.of(id)).then(|| Cost::fixed(1))),
        };
        let none = is_scalar(self.of(id)).then(|| Cost::fixed(1));
        self.computed[id] = Some(size.unwrap_or(Cost::UNKNOWN).union(none.unwrap_or(Cost::UNKNOWN)));
        asked + then.union(NAME)
    }

    fn repeat(&mut self, id: Id) -> Cost {
        let Kind::Loop(repeat) = &self.tree.nodes[id].kind else { return Cost::default() };
        let Loop { range, start, condition, step, result, .. } = **repeat;
        let (first, second) = (repeat.first.clone(), repeat.second.clone());
        let mut sum = self.cost(range) + self.cost(start);
        let local = Local { path: self.path(start), size: self.size(start), entries: self.entries_of(start) };
        self.locals.entry(SUM.into()).or_default().push(local);
        let entries = self.entries_of(range);
        let list = entries.map_or(matches!(self.of(range), Type::List(_)), |entries| entries.list);
        let (keys, values) = if list { ("@indices", "@items") } else { ("@keys", "@values") };
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        let path = self.path(range);
        let local = |step: &str, size| Local { path: path.then(step.into()), size, entries: None };
        match &second {
            Some(second) => {
                self.locals.entry(first.clone()).or_default().push(local(keys, key));
                self.locals.entry(second.clone()).or_default().push(local(values, value));
            }
            None => {
                let one = if list { local(values, value) } else { local(keys, key) };
                self.locals.entry(first.clone()).or_default().push(one);
            }
        }
        let round = self.cost(condition) + self.cost(step);
        for name in [Some(first), second].into_iter().flatten() {
            self.locals.entry(name).or_default().pop();
        }
        sum = sum + self.cost(result);
        self.locals.entry(SUM.into()).or_default().pop();
        let count = self.size_or_unknown(range);
        sum = sum + count.times(round);
        match self.tree.nodes[start].kind {
            Kind::Literal(_) => self.computed[id] = self.size(start),
            _ => {
                self.computed[id] = Some(count);
                self.entries[id] = self.entries_of(step).or(self.entries[id]);
            }
        }
        sum
    }

    fn within<T>(&mut self, name: Arc<str>, local: Local, work: impl FnOnce(&mut Self) -> T) -> T {
        self.locals.entry(name.clone()).or_default().push(local);
        let result = work(self);
        self.locals.entry(name).or_default().pop();
        result
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name)?.last()
    }

    fn path(&self, id: Id) -> Path {
        match &self.tree.nodes[id].kind {
            Kind::Name(name) => self.local(name).map_or_else(|| self.paths[id].clone(), |local| local.path.clone()),
            _ => self.paths[id].clone(),
        }
    }

    fn size_or_unknown(&mut self, id: Id) -> Cost {
        self.size(id).unwrap_or(Cost::UNKNOWN)
    }

    fn size(&mut self, id: Id) -> Option<Cost> {
        if self.computed[id].is_some() {
            return self.computed[id];
        }
        let written = match &self.tree.nodes[id].kind {
            Kind::Literal(Value::String(text)) => Some(text.chars().count()),
            Kind::Literal(Value::Bytes(bytes)) => Some(bytes.len()),
            Kind::Literal(_) => Some(1),
            Kind::List(items) => Some(items.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(size) = written {
            return Some(Cost::fixed(size as u64));
        }
        if let Some(most) = self.path(id).most(self.sizes) {
            self.computed[id] = Some(Cost { min: 0, max: most });
            return self.computed[id];
        }
        if is_scalar(self.of(id)) {
            return Some(Cost::fixed(1));
        }
        match &self.tree.nodes[id].kind {
            Kind::Name(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn entries_of(&self, id: Id) -> Option<Entries> {
        self.entries[id].or_else(|| match &self.tree.nodes[id].kind {
            Kind::Name(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        })
    }
}

/// The size of nothing, which others are united with.
fn none(empty: bool) -> Cost {
    Cost { min: if empty { 0 } else { u64::MAX }, max: 0 }
}

/// Whether all values of a type are of one size.
fn is_scalar(of: &Type) -> bool {
    match of {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
