//! Where decoding stands and what it found.

use std::cell::RefCell;
use std::fmt::Write;

use crate::schema::Types;

/// How many findings are told; a file full of mistakes is told in part.
const LIMIT: usize = 64;

/// What decoding found besides the object.
#[derive(Default)]
pub(super) struct Findings {
    /// Unknown and repeated fields.
    pub(super) warnings: Vec<String>,
    /// The value of the wrong type that ended it.
    pub(super) failure: Option<String>,
}

#[derive(Default)]
struct State {
    path: String,
    findings: Findings,
}

/// Shared by all seeds of one pass.
pub(super) struct Context<'t> {
    pub(super) types: &'t Types,
    state: RefCell<State>,
}

impl<'t> Context<'t> {
    pub(super) fn new(types: &'t Types) -> Context<'t> {
        Context { types, state: RefCell::default() }
    }

    pub(super) fn finish(self) -> Findings {
        self.state.into_inner().findings
    }

    /// Steps into a field; answers where to step back to.
    pub(super) fn enter(&self, name: &str) -> usize {
        let path = &mut self.state.borrow_mut().path;
        let back = path.len();
        if back > 0 {
            path.push('.');
        }
        path.push_str(name);
        back
    }

    /// Steps into an item of a list.
    pub(super) fn item(&self, index: usize) -> usize {
        let path = &mut self.state.borrow_mut().path;
        let back = path.len();
        // Writing to a string does not fail.
        let _ = write!(path, "[{index}]");
        back
    }

    /// Steps back.
    pub(super) fn leave(&self, back: usize) {
        self.state.borrow_mut().path.truncate(back);
    }

    /// Notes a field that the schema does not know, or that stands there twice.
    pub(super) fn warn(&self, what: &str, name: &str) {
        let mut state = self.state.borrow_mut();
        if state.findings.warnings.len() < LIMIT {
            let dot = if state.path.is_empty() { "" } else { "." };
            let text = format!("{what} field \"{}{dot}{name}\"", state.path);
            if !state.findings.warnings.contains(&text) {
                state.findings.warnings.push(text);
            }
        }
    }

    /// Notes a value of the wrong type; decoding ends.
    pub(super) fn fail(&self, what: &str) {
        let mut state = self.state.borrow_mut();
        if state.findings.failure.is_none() {
            let path = if state.path.is_empty() { "the object" } else { &state.path };
            state.findings.failure = Some(format!("{path}: {what}"));
        }
    }
}
