//! A value and the way to it.

use std::fmt;

use serde_json::Value;

use super::error::{FieldError, FieldReason};

static NULL: Value = Value::Null;

/// A value inside an object, or null where there is none. Paths are only written out for errors.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    parent: Option<&'a Spot<'a>>,
    step: Step<'a>,
    pub(super) value: &'a Value,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Item(usize),
}

impl<'a> Spot<'a> {
    pub(super) fn root(value: &'a Value) -> Spot<'a> {
        Spot { parent: None, step: Step::Root, value }
    }

    /// A field of an object.
    pub(super) fn field<'s>(&'s self, name: &'s str) -> Spot<'s> {
        Spot { parent: Some(self), step: Step::Field(name), value: self.value.get(name).unwrap_or(&NULL) }
    }

    /// An entry of a map with free keys.
    pub(super) fn key<'s>(&'s self, name: &'s str, value: &'s Value) -> Spot<'s> {
        Spot { parent: Some(self), step: Step::Key(name), value }
    }

    /// The items of a list.
    pub(super) fn items<'s>(&'s self) -> impl Iterator<Item = Spot<'s>> {
        let list = self.value.as_array().map_or(&[] as &[Value], Vec::as_slice);
        list.iter().enumerate().map(|(i, value)| Spot { parent: Some(self), step: Step::Item(i), value })
    }

    /// The entries of a map.
    pub(super) fn entries<'s>(&'s self) -> impl Iterator<Item = (&'s str, Spot<'s>)> {
        self.value.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), self.key(k, v)))
    }

    /// The text, or empty.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The number.
    pub(super) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// Whether it is `true`.
    pub(super) fn is_true(&self) -> bool {
        *self.value == Value::Bool(true)
    }

    /// Whether there is nothing: null, empty text, empty list.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        }
    }

    /// Whether there is a value, even an empty one.
    pub(super) fn exists(&self) -> bool {
        !self.value.is_null()
    }

    /// Which of the fields `names` exist.
    pub(super) fn present<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|n| self.value.get(n).is_some_and(|v| !v.is_null())).collect()
    }

    pub(super) fn required(&self, detail: &str) -> FieldError {
        FieldError::required(self.to_string(), detail)
    }

    pub(super) fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(self.to_string(), self.value, detail)
    }

    pub(super) fn unsupported(&self, supported: &[&str]) -> FieldError {
        FieldError::not_supported(self.to_string(), self.value, supported)
    }

    pub(super) fn duplicate(&self) -> FieldError {
        FieldError::duplicate(self.to_string(), self.value)
    }

    pub(super) fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(self.to_string(), detail)
    }

    pub(super) fn not_found(&self) -> FieldError {
        FieldError::not_found(self.to_string(), self.value)
    }

    /// An error whose value is not the one of this spot.
    pub(super) fn invalid_value(&self, value: impl fmt::Display, detail: impl Into<String>) -> FieldError {
        FieldError {
            path: self.to_string(),
            reason: FieldReason::Invalid,
            detail: detail.into(),
            value: value.to_string(),
        }
    }
}

impl fmt::Display for Spot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let nested = self.parent.is_some_and(|p| !matches!(p.step, Step::Root));
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if nested => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Key(name) => write!(f, "[{name}]"),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}
