//! Evaluating, and counting what it costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::FoldKind;
use crate::check::{FoldNode, Node};
use crate::error::EvalError;
use crate::value::{Key, List, ListKind, Map, Object, Value};

/// What an evaluation may cost. The unit is that of Kubernetes' limits: looking at a field is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// So much.
    pub fn new(cost: u64) -> Budget {
        Budget { left: cost }
    }

    /// What is left of it.
    pub fn left(self) -> u64 {
        self.left
    }

    fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(EvalError::TooExpensive)
            }
        }
    }
}

// What making something costs besides its parts, and a round of a comprehension besides its body.
const LIST: u64 = 10;
const MAP: u64 = 30;
const OBJECT: u64 = 40;
const ROUND: u64 = 3;

/// Values of the variables that an expression may name.
pub trait Bindings {
    /// The value; asked for when it is needed.
    fn get(&self, name: &str) -> Option<Value>;

    /// As [`Bindings::get`], for values that may cost something to make, or cannot be made.
    ///
    /// # Errors
    /// When it cannot be made, or the budget is spent on it.
    fn make(&self, name: &str, _budget: &mut Budget) -> Result<Option<Value>, EvalError> {
        Ok(self.get(name))
    }
}

impl Bindings for BTreeMap<String, Value> {
    fn get(&self, name: &str) -> Option<Value> {
        BTreeMap::get(self, name).cloned()
    }
}

pub(crate) fn eval(node: &Node, bindings: &dyn Bindings, budget: &mut Budget) -> Result<Value, EvalError> {
    Evaluator { bindings, budget, locals: Vec::new() }.eval(node)
}

struct Evaluator<'a> {
    bindings: &'a dyn Bindings,
    budget: &'a mut Budget,
    locals: Vec<Value>,
}

type Outcome = Result<Value, EvalError>;

impl Evaluator<'_> {
    fn eval(&mut self, node: &Node) -> Outcome {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Variable(name) => {
                self.budget.spend(1)?;
                let value = self.bindings.make(name, self.budget)?;
                value.ok_or_else(|| EvalError::new(format!("no such attribute(s): {name}")))
            }
            Node::Local(index) => {
                self.budget.spend(1)?;
                Ok(self.locals[*index].clone())
            }
            Node::Field { operand, key, optional } => {
                let operand = self.eval(operand)?;
                self.budget.spend(1)?;
                look(&operand, |operand| field(operand, key), *optional, || EvalError::no_such_key(key))
            }
            Node::Has { operand, key } => match self.eval(operand)? {
                Value::Optional(None) => Ok(Value::Bool(false)),
                Value::Optional(Some(inner)) => Ok(Value::Bool(field(&inner, key)?.is_some())),
                operand => Ok(Value::Bool(field(&operand, key)?.is_some())),
            },
            Node::Index { operand, index, optional } => {
                let (operand, index) = (self.eval(operand)?, self.eval(index)?);
                self.budget.spend(1)?;
                look(&operand, |operand| element(operand, &index), *optional, || missing(&operand, &index))
            }
            Node::Call { function, args } => {
                let mut values = Vec::with_capacity(args.len());
                for argument in args {
                    values.push(self.eval(argument)?);
                }
                // What is dear is charged for before it is done, as far as the arguments tell.
                let before = (function.cost)(&values, &Value::Null);
                self.budget.spend(before)?;
                let result = (function.call)(&values)?;
                self.budget.spend((function.cost)(&values, &result).saturating_sub(before))?;
                Ok(result)
            }
            Node::And(left, right) => self.logic(left, right, false),
            Node::Or(left, right) => self.logic(left, right, true),
            Node::Conditional(parts) => {
                let [test, then, otherwise] = &**parts;
                match self.eval(test)? {
                    Value::Bool(true) => self.eval(then),
                    Value::Bool(false) => self.eval(otherwise),
                    _ => Err(EvalError::no_overload()),
                }
            }
            Node::List(items) => {
                self.budget.spend(LIST)?;
                let mut list = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    let value = self.eval(item)?;
                    list.extend(present(value, *optional)?);
                }
                Ok(Value::list(list))
            }
            Node::Map(entries) => {
                self.budget.spend(MAP)?;
                let mut map = Map::new();
                for (key, value, optional) in entries {
                    let (key, value) = (self.eval(key)?, self.eval(value)?);
                    let Some(value) = present(value, *optional)? else { continue };
                    insert(&mut map, &key, value)?;
                }
                Ok(Value::Map(Arc::new(map)))
            }
            Node::Object { name, fields } => {
                self.budget.spend(OBJECT)?;
                let mut made = Map::new();
                for (field, value, optional) in fields {
                    let value = self.eval(value)?;
                    made.extend(present(value, *optional)?.map(|value| (field.clone(), value)));
                }
                Ok(Value::Object(Arc::new(Object { name: name.clone(), fields: made })))
            }
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(parts) => {
                let [value, body] = &**parts;
                let value = self.eval(value)?;
                self.within([value], |evaluator| evaluator.eval(body))
            }
            Node::OptMap { parts, flat } => {
                let [target, body] = &**parts;
                match self.eval(target)? {
                    Value::Optional(None) => Ok(Value::Optional(None)),
                    Value::Optional(Some(inner)) => {
                        let value = self.within([(*inner).clone()], |evaluator| evaluator.eval(body))?;
                        Ok(if *flat { value } else { Value::Optional(Some(Arc::new(value))) })
                    }
                    _ => Err(EvalError::no_overload()),
                }
            }
        }
    }

    fn within<T, const N: usize>(&mut self, locals: [Value; N], work: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.locals.len();
        self.locals.extend(locals);
        let result = work(self);
        self.locals.truncate(outside);
        result
    }

    /// `&&` and `||`: a side that decides does so whatever is wrong with the other one.
    fn logic(&mut self, left: &Node, right: &Node, decides: bool) -> Outcome {
        let first = truth(self.eval(left));
        if let Ok(value) = first
            && value == decides
        {
            return Ok(Value::Bool(decides));
        }
        if first == Err(EvalError::TooExpensive) {
            return Err(EvalError::TooExpensive);
        }
        match (first, truth(self.eval(right))) {
            (_, Ok(value)) if value == decides => Ok(Value::Bool(decides)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!decides)),
        }
    }

    fn fold(&mut self, fold: &FoldNode) -> Outcome {
        let range = self.eval(&fold.range)?;
        let mut sum = Sum::new(fold.kind);
        if matches!(fold.kind, FoldKind::List | FoldKind::Filter) {
            self.budget.spend(LIST)?;
        }
        match &range {
            Value::List(list) => {
                for (index, item) in list.items.iter().enumerate() {
                    let locals =
                        if fold.two { vec![Value::Int(index as i64), item.clone()] } else { vec![item.clone()] };
                    if !self.round(fold, locals, &mut sum)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.iter() {
                    let locals = if fold.two { vec![key.value(), value.clone()] } else { vec![key.value()] };
                    if !self.round(fold, locals, &mut sum)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::no_overload()),
        }
        sum.finish()
    }

    /// One element; `false` when the rest does not matter any more.
    fn round(&mut self, fold: &FoldNode, locals: Vec<Value>, sum: &mut Sum) -> Result<bool, EvalError> {
        self.budget.spend(ROUND)?;
        let first = locals[0].clone();
        let outside = self.locals.len();
        self.locals.extend(locals);
        let result = self.element(fold, &first, sum);
        self.locals.truncate(outside);
        result
    }

    fn element(&mut self, fold: &FoldNode, first: &Value, sum: &mut Sum) -> Result<bool, EvalError> {
        if let Some(filter) = &fold.filter
            && !truth(self.eval(filter))?
        {
            return Ok(true);
        }
        let body = self.eval(&fold.body);
        if matches!(body, Err(EvalError::TooExpensive)) {
            return Err(EvalError::TooExpensive);
        }
        sum.add(first, body)
    }
}

/// What a comprehension has come to.
enum Sum {
    /// `all` and `exists`: which value ends it, and a fault that only counts when no element decides.
    Any {
        decides: bool,
        fault: Option<EvalError>,
        decided: bool,
    },
    One(usize),
    List {
        items: Vec<Value>,
        filter: bool,
    },
    Map {
        map: Map,
        entries: bool,
    },
}

impl Sum {
    fn new(kind: FoldKind) -> Sum {
        match kind {
            FoldKind::All => Sum::Any { decides: false, fault: None, decided: false },
            FoldKind::Exists => Sum::Any { decides: true, fault: None, decided: false },
            FoldKind::ExistsOne => Sum::One(0),
            FoldKind::List => Sum::List { items: Vec::new(), filter: false },
            FoldKind::Filter => Sum::List { items: Vec::new(), filter: true },
            FoldKind::Values => Sum::Map { map: Map::new(), entries: false },
            FoldKind::Entries => Sum::Map { map: Map::new(), entries: true },
        }
    }

    fn add(&mut self, first: &Value, body: Outcome) -> Result<bool, EvalError> {
        match self {
            Sum::Any { decides, fault, decided } => {
                match truth(body) {
                    Ok(value) if value == *decides => *decided = true,
                    Ok(_) => {}
                    Err(error) => *fault = fault.take().or(Some(error)),
                }
                return Ok(!*decided);
            }
            Sum::One(count) => *count += usize::from(truth(body)?),
            Sum::List { items, filter: true } => {
                if truth(body)? {
                    items.push(first.clone());
                }
            }
            Sum::List { items, filter: false } => items.push(body?),
            Sum::Map { map, entries: false } => {
                let key = first.as_key().ok_or_else(EvalError::no_overload)?;
                map.insert(key, body?);
            }
            Sum::Map { map, entries: true } => {
                let Value::Map(made) = body? else { return Err(EvalError::no_overload()) };
                for (key, value) in made.iter() {
                    if map.insert(key.clone(), value.clone()).is_some() {
                        return Err(EvalError::new(format!("insert failed: key {key} already exists")));
                    }
                }
            }
        }
        Ok(true)
    }

    fn finish(self) -> Outcome {
        Ok(match self {
            Sum::Any { decides, decided: true, .. } => Value::Bool(decides),
            Sum::Any { fault: Some(error), .. } => return Err(error),
            Sum::Any { decides, .. } => Value::Bool(!decides),
            Sum::One(count) => Value::Bool(count == 1),
            Sum::List { items, .. } => Value::List(Arc::new(List { items, kind: ListKind::Atomic })),
            Sum::Map { map, .. } => Value::Map(Arc::new(map)),
        })
    }
}

fn truth(value: Outcome) -> Result<bool, EvalError> {
    match value? {
        Value::Bool(value) => Ok(value),
        _ => Err(EvalError::no_overload()),
    }
}

/// A value that may be left out of what is being made.
fn present(value: Value, optional: bool) -> Result<Option<Value>, EvalError> {
    match value {
        value if !optional => Ok(Some(value)),
        Value::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
        _ => Err(EvalError::no_overload()),
    }
}

fn insert(map: &mut Map, key: &Value, value: Value) -> Result<(), EvalError> {
    let key = key.as_key().ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_name())))?;
    match map.insert(key.clone(), value) {
        None => Ok(()),
        Some(_) => Err(EvalError::new(format!("Failed with repeated key: {key}"))),
    }
}

/// Looks into something, also through an optional, and gives an optional where one is wanted.
fn look(
    operand: &Value,
    find: impl Fn(&Value) -> Result<Option<Value>, EvalError>,
    optional: bool,
    missing: impl FnOnce() -> EvalError,
) -> Outcome {
    let wrap = |found: Option<Value>| {
        Value::Optional(match found {
            // What was optional itself stays so once.
            Some(Value::Optional(inner)) => inner,
            found => found.map(Arc::new),
        })
    };
    match operand {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => find(inner).map(wrap),
        operand if optional => find(operand).map(wrap),
        operand => find(operand)?.ok_or_else(missing),
    }
}

fn field(operand: &Value, key: &Key) -> Result<Option<Value>, EvalError> {
    match operand {
        Value::Map(map) => Ok(map.get(key).cloned()),
        Value::Object(object) => Ok(object.fields.get(key).cloned()),
        _ => Err(EvalError::new(format!("no such key: {key}"))),
    }
}

fn element(operand: &Value, index: &Value) -> Result<Option<Value>, EvalError> {
    match operand {
        Value::List(list) => match index.as_key() {
            Some(Key::Int(at)) => Ok(usize::try_from(at).ok().and_then(|at| list.items.get(at)).cloned()),
            _ => Err(EvalError::new(format!("unsupported index type '{}' in list", index.type_name()))),
        },
        Value::Map(map) => match index.as_key() {
            Some(key) => Ok(map.get(&key).cloned()),
            None => Err(EvalError::new(format!("unsupported key type: {}", index.type_name()))),
        },
        _ => Err(EvalError::no_overload()),
    }
}

fn missing(operand: &Value, index: &Value) -> EvalError {
    match (operand, index.as_key()) {
        (Value::List(_), Some(at)) => EvalError::new(format!("index out of bounds: {at}")),
        (_, Some(key)) => EvalError::no_such_key(key),
        (_, None) => EvalError::no_overload(),
    }
}
