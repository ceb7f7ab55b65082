//! An expression with its macros written out: what an estimate adds up.
//!
//! The published limits are those of trees in which `all`, `exists` and the like are loops with an accumulator, and optional
//! selections are calls; so the same trees are made here.

use std::sync::Arc;

use crate::ast::{Expr, ExprKind, Fold, FoldKind};
use crate::check::Seen;
use crate::types::{Sig, Type};
use crate::value::Value;

/// The place of a node.
pub(super) type Id = usize;

/// A node and its type.
pub(super) struct Node {
    pub of: Type,
    pub kind: Kind,
}

pub(super) enum Kind {
    Literal(Value),
    Name(Arc<str>),
    Select {
        operand: Id,
        field: Arc<str>,
        test: bool,
    },
    Call {
        function: Arc<str>,
        target: Option<Id>,
        args: Vec<Id>,
        overloads: Vec<&'static [Sig]>,
    },
    List(Vec<Id>),
    Map(Vec<(Id, Id)>),
    Object(Vec<Id>),
    Loop(Box<Loop>),
    Bind {
        empty: Id,
        name: Arc<str>,
        value: Id,
        body: Id,
    },
    /// Both calls look at the same target.
    OptMap {
        target: Id,
        empty: Id,
        name: Arc<str>,
        body: Id,
        flat: bool,
    },
}

/// A walk over a list or a map.
pub(super) struct Loop {
    pub range: Id,
    pub first: Arc<str>,
    pub second: Option<Arc<str>>,
    pub start: Id,
    pub condition: Id,
    pub step: Id,
    pub result: Id,
}

/// What an accumulator is called; no expression can name it.
pub(super) const SUM: &str = "@result";

/// All nodes of an expression.
pub(super) struct Tree<'a> {
    seen: &'a Seen,
    pub nodes: Vec<Node>,
}

impl Tree<'_> {
    /// Writes out an expression that was checked.
    pub(super) fn new<'a>(expr: &Expr, seen: &'a Seen) -> (Tree<'a>, Id) {
        let mut tree = Tree { seen, nodes: Vec::new() };
        let root = tree.add(expr);
        (tree, root)
    }

    fn push(&mut self, of: Type, kind: Kind) -> Id {
        self.nodes.push(Node { of, kind });
        self.nodes.len() - 1
    }

    fn literal(&mut self, of: Type, value: Value) -> Id {
        self.push(of, Kind::Literal(value))
    }

    fn call(&mut self, of: Type, function: &str, args: Vec<Id>) -> Id {
        self.push(of, Kind::Call { function: function.into(), target: None, args, overloads: vec![&[]] })
    }

    fn add(&mut self, expr: &Expr) -> Id {
        let of = self.seen.type_of(expr);
        if let Some(name) = self.seen.name_of(expr) {
            return self.push(of, Kind::Name(name));
        }
        let kind = match &expr.kind {
            ExprKind::Literal(value) => Kind::Literal(value.clone()),
            ExprKind::Name(name) => Kind::Name(name.clone()),
            ExprKind::Select { operand, field, optional: true } => {
                let field = Value::text(&**field);
                let args = vec![self.add(operand), self.literal(Type::String, field)];
                return self.call(of, "_?._", args);
            }
            ExprKind::Select { operand, field, .. } => {
                Kind::Select { operand: self.add(operand), field: field.clone(), test: false }
            }
            ExprKind::Has { operand, field } => {
                Kind::Select { operand: self.add(operand), field: field.clone(), test: true }
            }
            ExprKind::Index { operand, index, optional } => {
                let args = vec![self.add(operand), self.add(index)];
                return self.call(of, if *optional { "_[?_]" } else { "_[_]" }, args);
            }
            ExprKind::Call { function, target, args } => {
                return self.function(expr, of, function, target.as_deref(), args);
            }
            ExprKind::And(left, right) => {
                let args = vec![self.add(left), self.add(right)];
                return self.call(of, "_&&_", args);
            }
            ExprKind::Or(left, right) => {
                let args = vec![self.add(left), self.add(right)];
                return self.call(of, "_||_", args);
            }
            ExprKind::Conditional { test, then, otherwise } => {
                let args = vec![self.add(test), self.add(then), self.add(otherwise)];
                return self.call(of, "_?_:_", args);
            }
            ExprKind::List(items) => Kind::List(items.iter().map(|item| self.add(&item.value)).collect()),
            ExprKind::Map(entries) => {
                Kind::Map(entries.iter().map(|entry| (self.add(&entry.key), self.add(&entry.value))).collect())
            }
            ExprKind::Object { fields, .. } => {
                Kind::Object(fields.iter().map(|field| self.add(&field.value)).collect())
            }
            ExprKind::Fold(fold) => return self.fold(of, fold),
            ExprKind::Bind { name, value, body } => {
                let (value, body) = (self.add(value), self.add(body));
                let empty = self.push(Type::list(Type::Dyn), Kind::List(Vec::new()));
                Kind::Bind { empty, name: name.clone(), value, body }
            }
            ExprKind::OptMap { target, name, body, flat } => {
                let (target, body) = (self.add(target), self.add(body));
                let empty = self.push(Type::list(Type::Dyn), Kind::List(Vec::new()));
                Kind::OptMap { target, empty, name: name.clone(), body, flat: *flat }
            }
        };
        self.push(of, kind)
    }

    fn function(&mut self, expr: &Expr, of: Type, name: &Arc<str>, target: Option<&Expr>, args: &[Expr]) -> Id {
        let Some((function, fitting)) = self.seen.call_of(expr) else { return self.call(of, name, Vec::new()) };
        let overloads = fitting.iter().map(|at| function.overloads[*at].0).collect();
        let target = target.filter(|_| function.member).map(|target| self.add(target));
        let args = args.iter().map(|argument| self.add(argument)).collect();
        self.push(of, Kind::Call { function: function.name.into(), target, args, overloads })
    }

    fn fold(&mut self, of: Type, fold: &Fold) -> Id {
        let range = self.add(&fold.range);
        let sum_type = if fold.kind == FoldKind::ExistsOne { Type::Int } else { of.clone() };
        let start = match fold.kind {
            FoldKind::All | FoldKind::Exists => self.literal(Type::Bool, Value::Bool(fold.kind == FoldKind::All)),
            FoldKind::ExistsOne => self.literal(Type::Int, Value::Int(0)),
            FoldKind::List | FoldKind::Filter => self.push(of.clone(), Kind::List(Vec::new())),
            FoldKind::Values | FoldKind::Entries => self.push(of.clone(), Kind::Map(Vec::new())),
        };
        let sum = |tree: &mut Self| tree.push(sum_type.clone(), Kind::Name(SUM.into()));
        let condition = match fold.kind {
            FoldKind::All => {
                let args = vec![sum(self)];
                self.call(Type::Bool, "@not_strictly_false", args)
            }
            FoldKind::Exists => {
                let args = vec![sum(self)];
                let args = vec![self.call(Type::Bool, "!_", args)];
                self.call(Type::Bool, "@not_strictly_false", args)
            }
            _ => self.literal(Type::Bool, Value::Bool(true)),
        };
        let filter = match fold.kind {
            FoldKind::Filter | FoldKind::ExistsOne => Some(&fold.body),
            _ => fold.filter.as_ref(),
        };
        let filter = filter.map(|filter| self.add(filter));
        let before = sum(self);
        let step = match fold.kind {
            FoldKind::All | FoldKind::Exists => {
                let args = vec![before, self.add(&fold.body)];
                self.call(Type::Bool, if fold.kind == FoldKind::All { "_&&_" } else { "_||_" }, args)
            }
            FoldKind::ExistsOne => {
                let args = vec![before, self.literal(Type::Int, Value::Int(1))];
                self.call(Type::Int, "_+_", args)
            }
            FoldKind::List | FoldKind::Filter => {
                let item = match fold.kind {
                    FoldKind::List => self.add(&fold.body),
                    _ => {
                        let item = element(&of);
                        self.push(item, Kind::Name(fold.first.clone()))
                    }
                };
                let list = self.push(of.clone(), Kind::List(vec![item]));
                let overloads: Vec<&'static [Sig]> = vec![&[Sig::List(&Sig::Dyn), Sig::List(&Sig::Dyn)]];
                let kind = Kind::Call { function: "_+_".into(), target: None, args: vec![before, list], overloads };
                self.push(of.clone(), kind)
            }
            FoldKind::Values => {
                let key = self.push(Type::Dyn, Kind::Name(fold.first.clone()));
                let args = vec![before, key, self.add(&fold.body)];
                self.call(of.clone(), "cel.@mapInsert", args)
            }
            FoldKind::Entries => {
                let args = vec![before, self.add(&fold.body)];
                self.call(of.clone(), "cel.@mapInsert", args)
            }
        };
        let step = match filter {
            Some(filter) => {
                let args = vec![filter, step, sum(self)];
                self.call(sum_type.clone(), "_?_:_", args)
            }
            None => step,
        };
        let mut result = sum(self);
        if fold.kind == FoldKind::ExistsOne {
            let args = vec![result, self.literal(Type::Int, Value::Int(1))];
            result = self.call(Type::Bool, "_==_", args);
        }
        let (first, second) = (fold.first.clone(), fold.second.clone());
        self.push(of, Kind::Loop(Box::new(Loop { range, first, second, start, condition, step, result })))
    }
}

fn element(of: &Type) -> Type {
    match of {
        Type::List(of) => (**of).clone(),
        _ => Type::Dyn,
    }
}
