//! What can be wrong with an expression, and with its evaluation.

use std::fmt;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// In bytes from the beginning.
    pub at: usize,
    pub what: String,
}

impl Problem {
    pub fn new(at: usize, what: String) -> Problem {
        Problem { at, what }
    }
}

/// An expression that cannot be used. Its text shows every fault with its line, as other implementations do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    text: String,
}

impl CompileError {
    pub(crate) fn new(source: &str, problems: &[Problem]) -> CompileError {
        let shown: Vec<String> = problems.iter().map(|problem| show(source, problem)).collect();
        CompileError { text: shown.join("\n") }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CompileError {}

fn show(source: &str, problem: &Problem) -> String {
    let before = &source[..problem.at.min(source.len())];
    let line = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[start..].chars().count();
    let text = source[start..].lines().next().unwrap_or("");
    format!("ERROR: <input>:{}:{}: {}\n | {text}\n | {}^", line + 1, column + 1, problem.what, ".".repeat(column))
}

/// An evaluation that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// What was computed with does not allow it.
    #[error("{0}")]
    Failed(String),
    /// It costs more than is allowed.
    #[error("operation cancelled: actual cost limit exceeded")]
    TooExpensive,
}

impl EvalError {
    pub(crate) fn new(what: impl Into<String>) -> EvalError {
        EvalError::Failed(what.into())
    }

    pub(crate) fn no_such_key(key: impl fmt::Display) -> EvalError {
        EvalError::Failed(format!("no such key: {key}"))
    }

    pub(crate) fn no_overload() -> EvalError {
        EvalError::new("no such overload")
    }
}
