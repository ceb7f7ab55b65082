//! The Common Expression Language (CEL) with the functions that Kubernetes adds to it.
//!
//! An expression is read (`lex`, `parse`), checked against the types of the variables it may name (`check`), and then
//! evaluated as often as wanted (`eval`). Functions and operators are one table (`functions`) from which checking learns
//! their types and evaluating what they do and cost; an evaluation ends when its [`Budget`] is spent.
//!
//! Why our own: the implementations there are have no types before evaluation and no account of cost, and Kubernetes
//! promises both: a rule with a fault is refused when it is written, and one that would run too long is ended.
//!
//! Everything is pure: no clock, no I/O, no knowledge of Kubernetes' objects beyond how names are escaped ([`escape`]).

mod ast;
mod check;
mod error;
mod estimate;
mod eval;
mod functions;
mod lex;
mod parse;
mod program;
mod types;
mod value;

pub use error::{CompileError, EvalError};
pub use estimate::{Cost, Sizes};
pub use eval::{Bindings, Budget};
pub use functions::authorizer::{Decision, Judge, Question};
pub use functions::time::parse_duration;
pub use program::{Env, Program};
pub use types::{ObjectType, RESERVED, Type, escape};
pub use value::{Key, List, ListKind, Map, Object, Opaque, Value};

#[cfg(test)]
mod tests;
