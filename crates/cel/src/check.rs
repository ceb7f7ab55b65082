//! Expressions to what can be evaluated: names are found, types agree, functions are chosen.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Expr, ExprKind, Fold, FoldKind, Member};
use crate::error::Problem;
use crate::functions::{self, Function};
use crate::parse::qualified;
use crate::program::Env;
use crate::types::{Bound, Type};
use crate::value::{Key, Value};

/// An expression, checked.
#[derive(Clone)]
pub(crate) enum Node {
    Const(Value),
    /// A variable that whoever evaluates brings.
    Variable(Arc<str>),
    /// One that the expression itself made; counted from the outermost.
    Local(usize),
    Field {
        operand: Box<Node>,
        key: Key,
        optional: bool,
    },
    Has {
        operand: Box<Node>,
        key: Key,
    },
    Index {
        operand: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    Call {
        function: &'static Function,
        args: Vec<Node>,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<[Node; 3]>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Object {
        name: Arc<str>,
        fields: Vec<(Key, Node, bool)>,
    },
    Fold(Box<FoldNode>),
    Bind(Box<[Node; 2]>),
    OptMap {
        parts: Box<[Node; 2]>,
        flat: bool,
    },
}

#[derive(Clone)]
pub(crate) struct FoldNode {
    pub kind: FoldKind,
    pub range: Node,
    /// Whether the index or key is a variable, too.
    pub two: bool,
    pub filter: Option<Node>,
    pub body: Node,
}

/// Checks an expression; all that is wrong, in the order of the text.
pub(crate) fn check(expr: &Expr, env: &Env) -> Result<(Node, Type), Vec<Problem>> {
    checked(expr, env, None).map(|(checked, _)| checked)
}

/// As [`check`], and what was found out about each part.
pub(crate) fn inspect(expr: &Expr, env: &Env) -> Result<Seen, Vec<Problem>> {
    checked(expr, env, Some(Seen::default())).map(|(_, seen)| seen.unwrap_or_default())
}

fn checked(expr: &Expr, env: &Env, seen: Option<Seen>) -> Result<(Checked, Option<Seen>), Vec<Problem>> {
    let mut checker = Checker { env, locals: Vec::new(), problems: Vec::new(), seen };
    let checked = checker.node(expr);
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| problem.at);
    if problems.is_empty() { Ok((checked, checker.seen)) } else { Err(problems) }
}

/// What was found out about the parts of an expression, which are told apart by where they lie in memory: it is good for as
/// long as the expression stays where it is.
#[derive(Default)]
pub(crate) struct Seen {
    types: HashMap<*const Expr, Type>,
    names: HashMap<*const Expr, Arc<str>>,
    calls: HashMap<*const Expr, (&'static Function, Vec<usize>)>,
}

impl Seen {
    /// The type of a part.
    pub fn type_of(&self, expr: &Expr) -> Type {
        self.types.get(&std::ptr::from_ref(expr)).cloned().unwrap_or(Type::Dyn)
    }

    /// The one name that a row of selections is.
    pub fn name_of(&self, expr: &Expr) -> Option<Arc<str>> {
        self.names.get(&std::ptr::from_ref(expr)).cloned()
    }

    /// What a call calls, and which of its overloads fit.
    pub fn call_of(&self, expr: &Expr) -> Option<(&'static Function, &[usize])> {
        self.calls.get(&std::ptr::from_ref(expr)).map(|(function, fitting)| (*function, &fitting[..]))
    }
}

struct Checker<'a> {
    env: &'a Env,
    locals: Vec<(Arc<str>, Type)>,
    problems: Vec<Problem>,
    seen: Option<Seen>,
}

type Checked = (Node, Type);

fn nothing() -> Checked {
    (Node::Const(Value::Null), Type::Dyn)
}

impl Checker<'_> {
    /// Notes what is wrong; the rest is checked as if anything could be here.
    fn wrong(&mut self, at: usize, what: impl Into<String>) -> Checked {
        self.problems.push(Problem::new(at, what.into()));
        nothing()
    }

    fn node(&mut self, expr: &Expr) -> Checked {
        let checked = self.kind(expr);
        if let Some(seen) = &mut self.seen {
            seen.types.insert(expr, checked.1.clone());
        }
        checked
    }

    fn kind(&mut self, expr: &Expr) -> Checked {
        match &expr.kind {
            ExprKind::Literal(value) => (Node::Const(value.clone()), type_of(value)),
            ExprKind::Name(name) => self.name(expr.at, name),
            ExprKind::Select { operand, field, optional } => self.select(expr, operand, field, *optional),
            ExprKind::Has { operand, field } => {
                let (operand, kind) = self.node(operand);
                self.field_type(expr.at, &kind, field);
                (Node::Has { operand: Box::new(operand), key: Key::String(field.clone()) }, Type::Bool)
            }
            ExprKind::Index { operand, index, optional } => self.index(expr.at, operand, index, *optional),
            ExprKind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            ExprKind::And(left, right) => self.logic(expr.at, "_&&_", left, right, Node::And),
            ExprKind::Or(left, right) => self.logic(expr.at, "_||_", left, right, Node::Or),
            ExprKind::Conditional { test, then, otherwise } => self.conditional(expr.at, [test, then, otherwise]),
            ExprKind::List(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                let mut of: Option<Type> = None;
                for item in items {
                    let (node, kind) = self.node(&item.value);
                    let kind = self.unwrapped(item.value.at, kind, item.optional);
                    of = Some(self.joined(item.value.at, of, kind));
                    nodes.push((node, item.optional));
                }
                (Node::List(nodes), Type::list(of.unwrap_or(Type::Dyn)))
            }
            ExprKind::Map(entries) => {
                let mut nodes = Vec::with_capacity(entries.len());
                let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
                for entry in entries {
                    let ((key, key_type), (value, kind)) = (self.node(&entry.key), self.node(&entry.value));
                    let kind = self.unwrapped(entry.value.at, kind, entry.optional);
                    keys = Some(self.joined(entry.key.at, keys, key_type));
                    values = Some(self.joined(entry.value.at, values, kind));
                    nodes.push((key, value, entry.optional));
                }
                (Node::Map(nodes), Type::map(keys.unwrap_or(Type::Dyn), values.unwrap_or(Type::Dyn)))
            }
            ExprKind::Object { name, fields } => self.object(expr.at, name, fields),
            ExprKind::Fold(fold) => self.fold(fold),
            ExprKind::Bind { name, value, body } => {
                let (value, kind) = self.node(value);
                let (body, result) = self.within(&[(name.clone(), kind)], |checker| checker.node(body));
                (Node::Bind(Box::new([value, body])), result)
            }
            ExprKind::OptMap { target, name, body, flat } => {
                let (node, kind) = self.node(target);
                let inner = self.unwrapped(target.at, kind, true);
                let (body_node, result) = self.within(&[(name.clone(), inner)], |checker| checker.node(body));
                let result = if *flat { result } else { Type::optional(result) };
                (Node::OptMap { parts: Box::new([node, body_node]), flat: *flat }, result)
            }
        }
    }

    fn within<T>(&mut self, locals: &[(Arc<str>, Type)], work: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.locals.len();
        self.locals.extend_from_slice(locals);
        let result = work(self);
        self.locals.truncate(outside);
        result
    }

    /// The inside of an optional, where one is wanted.
    fn unwrapped(&mut self, at: usize, kind: Type, optional: bool) -> Type {
        match kind {
            kind if !optional => kind,
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                self.wrong(at, format!("expected type 'optional_type(dyn)' but found '{other}'"));
                Type::Dyn
            }
        }
    }

    /// Elements of one list are of one type.
    fn joined(&mut self, at: usize, before: Option<Type>, kind: Type) -> Type {
        match before {
            None => kind,
            Some(before) if before.accepts(&kind) => before.either(&kind),
            Some(before) => {
                self.wrong(at, format!("expected type '{before}' but found '{kind}'"));
                before
            }
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| &**local == name)
    }

    fn is_known(&self, name: &str) -> bool {
        self.is_local(name) || self.env.variables.contains_key(name)
    }

    /// An object that is made of these fields.
    fn object(&mut self, at: usize, name: &Arc<str>, members: &[Member]) -> Checked {
        let Some(of) = self.env.made(name) else { return self.wrong(at, undeclared(name)) };
        let mut fields = Vec::with_capacity(members.len());
        for member in members {
            let (node, kind) = self.node(&member.value);
            let kind = self.unwrapped(member.value.at, kind, member.optional);
            let wanted = self.field_type(member.at, &of, &member.name);
            if !wanted.accepts(&kind) {
                let name = &member.name;
                let what = format!("expected type of field '{name}' is '{wanted}' but provided type is '{kind}'");
                self.wrong(member.at, what);
            }
            fields.push((Key::String(member.name.clone()), node, member.optional));
        }
        (Node::Object { name: name.clone(), fields }, of)
    }

    fn name(&mut self, at: usize, name: &Arc<str>) -> Checked {
        if let Some(index) = self.locals.iter().rposition(|(local, _)| local == name) {
            return (Node::Local(index), self.locals[index].1.clone());
        }
        if let Some(kind) = self.env.variables.get(&**name) {
            return (Node::Variable(name.clone()), kind.clone());
        }
        const TYPES: [&str; 11] =
            ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint", "optional_type"];
        match TYPES.contains(&&**name) {
            true => (Node::Const(Value::Type(name.clone())), Type::Type),
            false => self.wrong(at, undeclared(name)),
        }
    }

    fn select(&mut self, whole: &Expr, operand: &Expr, field: &Arc<str>, optional: bool) -> Checked {
        let at = whole.at;
        if let Some(name) = qualified(operand).map(|name| format!("{name}.{field}")).filter(|_| !optional) {
            if ["google.protobuf.Timestamp", "google.protobuf.Duration"].contains(&&*name) {
                self.is_name(whole, &name);
                return (Node::Const(Value::Type(name.into())), Type::Type);
            }
            // A variable's name may have dots.
            let root = name.split('.').next().unwrap_or_default();
            if let Some(kind) = self.env.variables.get(&name).filter(|_| !self.is_local(root)) {
                self.is_name(whole, &name);
                return (Node::Variable(name.into()), kind.clone());
            }
        }
        let (operand, kind) = self.node(operand);
        let found = self.field_type(at, &kind, field);
        let through = matches!(kind, Type::Optional(_));
        let result = match found {
            Type::Optional(_) => found,
            found if optional || through => Type::optional(found),
            found => found,
        };
        (Node::Field { operand: Box::new(operand), key: Key::String(field.clone()), optional }, result)
    }

    fn is_name(&mut self, whole: &Expr, name: &str) {
        if let Some(seen) = &mut self.seen {
            seen.names.insert(whole, name.into());
        }
    }

    fn field_type(&mut self, at: usize, of: &Type, field: &str) -> Type {
        match of {
            Type::Dyn | Type::Named(_) => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(kind) => kind.clone(),
                None => self.wrong(at, format!("undefined field '{field}'")).1,
            },
            Type::Optional(inner) => self.field_type(at, inner, field),
            other => self.wrong(at, format!("type '{other}' does not support field selection")).1,
        }
    }

    fn index(&mut self, at: usize, operand: &Expr, index: &Expr, optional: bool) -> Checked {
        let ((operand, kind), (index, by)) = (self.node(operand), self.node(index));
        let (of, through) = match &kind {
            Type::Optional(inner) => (&**inner, true),
            kind => (kind, false),
        };
        let found = match of {
            Type::Dyn => Some(Type::Dyn),
            Type::List(of) if Type::Int.accepts(&by) => Some((**of).clone()),
            Type::Map(key, value) if key.accepts(&by) => Some((**value).clone()),
            _ => None,
        };
        let Some(found) = found else {
            return self.wrong(at, no_overload(if optional { "_[?_]" } else { "_[_]" }, None, &[kind, by]));
        };
        let result = if optional || through { Type::optional(found) } else { found };
        (Node::Index { operand: Box::new(operand), index: Box::new(index), optional }, result)
    }

    fn logic(
        &mut self,
        at: usize,
        name: &str,
        left: &Expr,
        right: &Expr,
        make: fn(Box<Node>, Box<Node>) -> Node,
    ) -> Checked {
        let ((left, a), (right, b)) = (self.node(left), self.node(right));
        if !Type::Bool.accepts(&a) || !Type::Bool.accepts(&b) {
            return (self.wrong(at, no_overload(name, None, &[a, b])).0, Type::Bool);
        }
        (make(Box::new(left), Box::new(right)), Type::Bool)
    }

    fn conditional(&mut self, at: usize, parts: [&Expr; 3]) -> Checked {
        let [(test, bool), (then, a), (otherwise, b)] = parts.map(|part| self.node(part));
        if !Type::Bool.accepts(&bool) || !a.accepts(&b) {
            return self.wrong(at, no_overload("_?_:_", None, &[bool, a, b]));
        }
        (Node::Conditional(Box::new([test, then, otherwise])), a.either(&b))
    }

    fn call(&mut self, whole: &Expr, name: &Arc<str>, target: Option<&Expr>, args: &[Expr]) -> Checked {
        let at = whole.at;
        let (function, target) = match target {
            None => (functions::find(name, false), None),
            Some(target) => {
                // `sets.contains(…)` is a function of that name, unless there is a variable `sets`.
                let library = qualified(target).filter(|name| !self.is_known(name.split('.').next().unwrap_or(name)));
                let library = library.and_then(|library| functions::find(&format!("{library}.{name}"), false));
                match library {
                    Some(function) => (Some(function), None),
                    None => (functions::find(name, true), Some(target)),
                }
            }
        };
        let (mut nodes, mut types) = (Vec::with_capacity(args.len() + 1), Vec::with_capacity(args.len() + 1));
        for argument in target.into_iter().chain(args) {
            let (node, kind) = self.node(argument);
            nodes.push(node);
            types.push(kind);
        }
        let Some(function) = function else { return self.wrong(at, undeclared(name)) };
        let fitting = function.overloads.iter().enumerate().filter_map(|(at, (wanted, gives))| {
            let mut bound = Bound::default();
            let fits =
                wanted.len() == types.len() && wanted.iter().zip(&types).all(|(sig, kind)| sig.fits(kind, &mut bound));
            fits.then(|| (at, gives.resolve(&bound)))
        });
        let (fitting, results): (Vec<usize>, Vec<Type>) = fitting.unzip();
        if let Some(seen) = &mut self.seen {
            seen.calls.insert(whole, (function, fitting));
        }
        let Some(result) = results.into_iter().reduce(|a, b| a.either(&b)) else {
            let target = target.map(|_| types.remove(0));
            return self.wrong(at, no_overload(name, target.as_ref(), &types));
        };
        self.literals(at, function, &nodes, args);
        (Node::Call { function, args: nodes }, result)
    }

    /// Patterns and times that are written down are looked at before they are used.
    fn literals(&mut self, at: usize, function: &Function, nodes: &[Node], args: &[Expr]) {
        let place = match (function.name, function.member) {
            ("matches", _) | ("find" | "findAll", true) => 1,
            ("timestamp" | "duration", false) => 0,
            _ => return,
        };
        let Some(Node::Const(value @ Value::String(text))) = nodes.get(place) else { return };
        let valid = match function.name {
            "timestamp" | "duration" => (function.call)(std::slice::from_ref(value)).is_ok(),
            _ => crate::functions::pattern(text).is_ok(),
        };
        if !valid {
            let at = args.get(place - usize::from(function.member)).map_or(at, |argument| argument.at);
            self.wrong(at, format!("invalid {} argument", function.name));
        }
    }

    fn fold(&mut self, fold: &Fold) -> Checked {
        let (range, kind) = self.node(&fold.range);
        let (first, second) = match &kind {
            Type::List(of) if fold.second.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let what = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(fold.range.at, what);
                (Type::Dyn, Type::Dyn)
            }
        };
        let key = first.clone();
        let mut locals = vec![(fold.first.clone(), first.clone())];
        locals.extend(fold.second.clone().map(|name| (name, second)));
        let (filter, (body, result)) = self.within(&locals, |checker| {
            let filter = fold.filter.as_ref().map(|filter| checker.test(filter));
            let is_test = !matches!(fold.kind, FoldKind::List | FoldKind::Values | FoldKind::Entries);
            let body = if is_test { (checker.test(&fold.body), Type::Bool) } else { checker.node(&fold.body) };
            (filter, body)
        });
        let result = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
            FoldKind::List => Type::list(result),
            FoldKind::Filter => Type::list(first),
            FoldKind::Values => Type::map(key, result),
            FoldKind::Entries if matches!(result, Type::Map(..) | Type::Dyn) => result,
            FoldKind::Entries => self.wrong(fold.body.at, format!("expected type 'map' but found '{result}'")).1,
        };
        let two = fold.second.is_some();
        (Node::Fold(Box::new(FoldNode { kind: fold.kind, range, two, filter, body })), result)
    }

    fn test(&mut self, expr: &Expr) -> Node {
        let (node, kind) = self.node(expr);
        if !Type::Bool.accepts(&kind) {
            self.wrong(expr.at, format!("expected type 'bool' but found '{kind}'"));
        }
        node
    }
}

fn undeclared(name: &str) -> String {
    format!("undeclared reference to '{name}' (in container '')")
}

fn no_overload(name: &str, target: Option<&Type>, args: &[Type]) -> String {
    let args: Vec<String> = args.iter().map(Type::to_string).collect();
    let target = target.map_or(String::new(), |target| format!("{target}."));
    format!("found no matching overload for '{name}' applied to '{target}({})'", args.join(", "))
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Dyn,
    }
}
