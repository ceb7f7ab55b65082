//! Expressions after reading: macros are forms of their own, everything else is calls.

use std::sync::Arc;

use crate::Value;

/// An expression and where it stands in the text, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub at: usize,
    /// How many expressions lie in one another here.
    pub depth: usize,
    pub kind: ExprKind,
}

impl Expr {
    pub fn new(at: usize, kind: ExprKind) -> Expr {
        let depth = 1 + kind.children().into_iter().map(|child| child.depth).max().unwrap_or(0);
        Expr { at, depth, kind }
    }
}

impl ExprKind {
    fn children(&self) -> Vec<&Expr> {
        match self {
            ExprKind::Literal(_) | ExprKind::Name(_) => Vec::new(),
            ExprKind::Object { fields, .. } => fields.iter().map(|field| &field.value).collect(),
            ExprKind::Select { operand, .. } | ExprKind::Has { operand, .. } => vec![operand],
            ExprKind::Index { operand, index, .. } => vec![operand, index],
            ExprKind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            ExprKind::And(left, right) | ExprKind::Or(left, right) => vec![left, right],
            ExprKind::Conditional { test, then, otherwise } => vec![test, then, otherwise],
            ExprKind::List(items) => items.iter().map(|item| &item.value).collect(),
            ExprKind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            ExprKind::Fold(fold) => [&fold.range, &fold.body].into_iter().chain(&fold.filter).collect(),
            ExprKind::Bind { value, body, .. } => vec![value, body],
            ExprKind::OptMap { target, body, .. } => vec![target, body],
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Literal(Value),
    Name(Arc<str>),
    /// `operand.field`, and `operand.?field` when optional.
    Select {
        operand: Box<Expr>,
        field: Arc<str>,
        optional: bool,
    },
    /// `has(operand.field)`.
    Has {
        operand: Box<Expr>,
        field: Arc<str>,
    },
    /// `operand[index]`, and `operand[?index]` when optional.
    Index {
        operand: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    /// A function, an operator (`_+_`), or a member function.
    Call {
        function: Arc<str>,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Conditional {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    /// `Name{field: value}`.
    Object {
        name: Arc<str>,
        fields: Vec<Member>,
    },
    Fold(Box<Fold>),
    /// `cel.bind(name, value, body)`.
    Bind {
        name: Arc<str>,
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// `target.optMap(name, body)`; the flat one's body is an optional itself.
    OptMap {
        target: Box<Expr>,
        name: Arc<str>,
        body: Box<Expr>,
        flat: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub value: Expr,
    /// `[?x]`: left out when it is missing.
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// One field of an object that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Where it stands in the text, in bytes.
    pub at: usize,
    pub name: Arc<str>,
    pub value: Expr,
    /// `{?field: x}`: left out when it is missing.
    pub optional: bool,
}

/// A macro that walks a list or a map.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub kind: FoldKind,
    pub range: Expr,
    /// The element; or the index or key, when there are two.
    pub first: Arc<str>,
    pub second: Option<Arc<str>>,
    pub filter: Option<Expr>,
    pub body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// `map` and `transformList`.
    List,
    /// `filter`.
    Filter,
    /// `transformMap`: same keys, other values.
    Values,
    /// `transformMapEntry`: the body is a map with one entry.
    Entries,
}
