//! The way to a value, written out only when something is wrong there.

use std::fmt;

/// A way of steps, each pointing at the one before.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// Where the way begins; may be nowhere.
    Start(&'a str),
    /// A field: `.name`.
    Field(&'a str),
    /// An entry of a map: `[name]`.
    Key(&'a str),
    /// An item of a list: `[0]`.
    Item(usize),
}

impl<'a> Path<'a> {
    /// The way that begins at `start`; empty at the object itself.
    pub(crate) fn start(start: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Start(start) }
    }

    pub(crate) fn field<'s>(&'s self, name: &'s str) -> Path<'s> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    pub(crate) fn key<'s>(&'s self, name: &'s str) -> Path<'s> {
        Path { parent: Some(self), step: Step::Key(name) }
    }

    pub(crate) fn item<'s>(&'s self, index: usize) -> Path<'s> {
        Path { parent: Some(self), step: Step::Item(index) }
    }

    fn is_nowhere(&self) -> bool {
        matches!(self.step, Step::Start(""))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nested = match self.parent {
            Some(parent) => {
                parent.fmt(f)?;
                !parent.is_nowhere()
            }
            None => false,
        };
        match self.step {
            Step::Start(text) => f.write_str(text),
            Step::Field(name) if nested => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Key(name) => write!(f, "[{name}]"),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}
