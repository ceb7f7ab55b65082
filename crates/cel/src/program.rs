//! What callers hold.

use std::collections::BTreeMap;

use crate::check::{Node, check};
use crate::error::{CompileError, EvalError};
use crate::eval::{Bindings, Budget, eval};
use crate::parse::parse;
use crate::types::Type;
use crate::value::Value;

/// The variables that expressions may name.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<String, Type>,
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

    /// With one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, of: Type) -> Env {
        self.variables.insert(name.into(), of);
        self
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// With everything that is wrong, each with its line and a mark below it.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let expr = parse(text).map_err(|problem| CompileError::new(text, &[problem]))?;
        let (node, result) = check(&expr, &self.variables).map_err(|problems| CompileError::new(text, &problems))?;
        Ok(Program { node, result })
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
