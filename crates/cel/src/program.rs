//! What callers hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::{Node, check, inspect};
use crate::error::{CompileError, EvalError};
use crate::estimate::{Cost, Sizes, estimate};
use crate::eval::{Bindings, Budget, eval};
use crate::parse::parse;
use crate::types::{ObjectType, Type};
use crate::value::Value;

/// The variables that expressions may name, and the objects that they may make.
#[derive(Clone, Debug, Default)]
pub struct Env {
    pub(crate) variables: BTreeMap<String, Type>,
    objects: BTreeMap<String, Arc<ObjectType>>,
    families: Vec<Arc<str>>,
}

/// An expression that was checked.
#[derive(Clone)]
pub struct Program {
    node: Node,
    result: Type,
}

impl Env {
    /// Without variables.
    pub fn new() -> Env {
        Env::default()
    }

    /// With one more. Its name may have dots: then it is meant before any field of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, of: Type) -> Env {
        self.variables.insert(name.into(), of);
        self
    }

    /// With objects of a type that expressions may make: `Name{field: value}`.
    #[must_use]
    pub fn with_object(mut self, of: Arc<ObjectType>) -> Env {
        self.objects.insert(of.name.clone(), of);
        self
    }

    /// With a family of types of which expressions may make objects with whatever fields: `name`, and all whose names
    /// continue it behind a dot.
    #[must_use]
    pub fn with_family(mut self, name: &str) -> Env {
        self.families.push(name.into());
        self
    }

    /// The type of a name of which objects can be made.
    pub(crate) fn made(&self, name: &Arc<str>) -> Option<Type> {
        if let Some(of) = self.objects.get(&**name) {
            return Some(Type::Object(of.clone()));
        }
        let belongs = |family: &Arc<str>| {
            name.strip_prefix(&**family).is_some_and(|below| below.is_empty() || below.starts_with('.'))
        };
        self.families.iter().any(belongs).then(|| Type::Named(name.clone()))
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// With everything that is wrong, each with its line and a mark below it.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let expr = parse(text).map_err(|problem| CompileError::new(text, &[problem]))?;
        let (node, result) = check(&expr, self).map_err(|problems| CompileError::new(text, &problems))?;
        Ok(Program { node, result })
    }

    /// What evaluating an expression may cost, before there is anything to evaluate it with: `sizes` says how large the
    /// values of variables may be.
    ///
    /// # Errors
    /// As [`Env::compile`].
    pub fn estimate(&self, text: &str, sizes: &dyn Sizes) -> Result<Cost, CompileError> {
        let expr = parse(text).map_err(|problem| CompileError::new(text, &[problem]))?;
        let seen = inspect(&expr, self).map_err(|problems| CompileError::new(text, &problems))?;
        Ok(estimate(&expr, &seen, sizes))
    }
}

impl Program {
    /// The type of what it gives.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// When the values do not allow it, or the budget is spent.
    pub fn eval(&self, bindings: &dyn Bindings, budget: &mut Budget) -> Result<Value, EvalError> {
        eval(&self.node, bindings, budget)
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({})", self.result)
    }
}
