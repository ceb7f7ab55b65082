//! Where decoding stands and what it found.

use std::cell::RefCell;
use std::fmt::{self, Write};

use crate::schema::Types;

/// How many findings are told; a file full of mistakes is told in part.
const LIMIT: usize = 64;

/// What is wrong with a field that does not end decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// The schema does not know it.
    Unknown,
    /// It stands there twice.
    Duplicate,
}

/// A field that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: Oddity,
    pub(super) path: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Oddity::Unknown => "unknown",
            Oddity::Duplicate => "duplicate",
        };
        write!(f, "{what} field \"{}\"", self.path)
    }
}

/// What decoding found besides the object.
#[derive(Default)]
pub(super) struct Findings {
    /// Unknown and repeated fields.
    pub(super) odd: Vec<Finding>,
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
    /// Whether the object is of a kind that was added at run time: what the table says nothing of is then looked at all
    /// the same, as a schema of its own will judge it.
    pub(super) custom: bool,
    state: RefCell<State>,
}

impl<'t> Context<'t> {
    pub(super) fn new(types: &'t Types, custom: bool) -> Context<'t> {
        Context { types, custom, state: RefCell::default() }
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
    pub(super) fn note(&self, what: Oddity, name: &str) {
        let mut state = self.state.borrow_mut();
        if state.findings.odd.len() < LIMIT {
            let dot = if state.path.is_empty() { "" } else { "." };
            let finding = Finding { what, path: format!("{}{dot}{name}", state.path) };
            if !state.findings.odd.contains(&finding) {
                state.findings.odd.push(finding);
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
