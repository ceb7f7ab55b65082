//! Field selectors: `spec.nodeName=a,status.phase!=Running`.

use serde_json::Value;

use crate::kind::Kind;
use crate::meta;

/// Conditions on fields that must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    path: String,
    value: String,
    equal: bool,
}

/// The text is no field selector, or names a field that cannot be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A part is no condition.
    #[error("invalid field selector {part:?}: expected field=value or field!=value")]
    Syntax {
        /// The part.
        part: String,
    },
    /// The kind's objects cannot be selected by the field.
    #[error("field label not supported: {path} (supported: {supported})")]
    Unsupported {
        /// The field.
        path: String,
        /// The fields that can be used.
        supported: String,
    },
}

impl FieldSelector {
    /// Parses the text form. A backslash makes the next `,`, `=` or `\` part of the value.
    pub fn parse(text: &str) -> Result<FieldSelector, FieldSelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let syntax = || FieldSelectorError::Syntax { part: part.to_owned() };
            let at = part.find('=').ok_or_else(syntax)?;
            let (path, equal) = match part[..at].strip_suffix('!') {
                Some(path) => (path, false),
                None => (&part[..at], true),
            };
            let value = part[at + 1..].strip_prefix('=').unwrap_or(&part[at + 1..]);
            terms.push(Term { path: path.trim().to_owned(), value: unescape(value).ok_or_else(syntax)?, equal });
        }
        Ok(FieldSelector { terms })
    }

    /// Refuses fields that the objects of `kind` cannot be selected by.
    pub fn check(&self, kind: &Kind) -> Result<(), FieldSelectorError> {
        for term in &self.terms {
            let known = term.path == "metadata.name"
                || (term.path == "metadata.namespace" && kind.is_namespaced())
                || kind.selectable.iter().any(|f| *f == term.path.as_str());
            if !known {
                let mut supported = vec!["metadata.name"];
                if kind.is_namespaced() {
                    supported.push("metadata.namespace");
                }
                supported.extend(kind.selectable.iter().map(AsRef::as_ref));
                return Err(FieldSelectorError::Unsupported {
                    path: term.path.clone(),
                    supported: supported.join(", "),
                });
            }
        }
        Ok(())
    }

    /// Whether `object` fulfils every condition. An absent field is empty text, as in Kubernetes.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (field(object, &term.path) == term.value) == term.equal)
    }

    /// Whether it has no condition.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it demands one value, which is not empty, for `path` and nothing else.
    pub fn is_exactly(&self, path: &str) -> bool {
        matches!(&self.terms[..], [only] if only.equal && only.path == path && !only.value.is_empty())
    }

    /// The single value that it demands for `path`, for callers with an index.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.path == path).map(|t| t.value.as_str())
    }
}

/// The selectable text of a field: flags and numbers are written, some fields have another home or a default.
fn field(object: &Value, path: &str) -> String {
    let value = match path {
        "source" if meta::kind(object) == "Event" && is_builtin(object) => match meta::text(object, "source.component")
        {
            "" => meta::at(object, "reportingComponent"),
            _ => meta::at(object, "source.component"),
        },
        _ => meta::at(object, path),
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        _ => match path {
            "spec.hostNetwork" | "spec.unschedulable" if is_builtin(object) => "false".to_owned(),
            "status.replicas" | "status.successful" if is_builtin(object) => "0".to_owned(),
            _ => String::new(),
        },
    }
}

/// Whether these fields mean what they mean in Kubernetes: kinds that users define may have fields of the same names.
fn is_builtin(object: &Value) -> bool {
    matches!(meta::api_version(object), "" | "v1" | "apps/v1" | "batch/v1")
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ (',' | '=' | '\\') => out.push(c),
                _ => return None,
            },
            '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}
