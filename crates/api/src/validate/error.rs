//! One broken rule: a field, what is wrong with it, and what would be right.

use std::fmt;

use serde_json::Value;

/// The sort of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldReason {
    /// The field must be given.
    Required,
    /// The value breaks a rule.
    Invalid,
    /// The value is not among the possible ones.
    NotSupported,
    /// The value stands there twice.
    Duplicate,
    /// The field must not be given or changed here.
    Forbidden,
    /// What the value names does not exist.
    NotFound,
    /// The text is too long.
    TooLong,
    /// The list is too long.
    TooMany,
    /// The JSON type is wrong.
    TypeInvalid,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path: `spec.containers[0].name`.
    pub path: String,
    /// The sort of mistake.
    pub reason: FieldReason,
    /// What would be right; may be empty.
    pub detail: String,
    /// The value found, as it is shown; empty where it is not shown.
    pub value: String,
}

impl FieldError {
    /// A field that must be given.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { path: path.into(), reason: FieldReason::Required, detail: detail.into(), value: String::new() }
    }

    /// A value that breaks a rule.
    pub fn invalid(path: impl Into<String>, value: &Value, detail: impl Into<String>) -> FieldError {
        FieldError { path: path.into(), reason: FieldReason::Invalid, detail: detail.into(), value: show(value) }
    }

    /// A value that is not among the possible ones.
    pub fn not_supported(path: impl Into<String>, value: &Value, supported: &[&str]) -> FieldError {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        FieldError {
            path: path.into(),
            reason: FieldReason::NotSupported,
            detail: format!("supported values: {}", list.join(", ")),
            value: show(value),
        }
    }

    /// A value that stands there twice.
    pub fn duplicate(path: impl Into<String>, value: &Value) -> FieldError {
        FieldError { path: path.into(), reason: FieldReason::Duplicate, detail: String::new(), value: show(value) }
    }

    /// A field that must not be given or changed here.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { path: path.into(), reason: FieldReason::Forbidden, detail: detail.into(), value: String::new() }
    }

    /// A name of something that does not exist.
    pub fn not_found(path: impl Into<String>, value: &Value) -> FieldError {
        FieldError { path: path.into(), reason: FieldReason::NotFound, detail: String::new(), value: show(value) }
    }

    /// A text longer than `limit` bytes.
    pub fn too_long(path: impl Into<String>, limit: usize) -> FieldError {
        FieldError {
            path: path.into(),
            reason: FieldReason::TooLong,
            detail: format!("may not be more than {limit} bytes"),
            value: String::new(),
        }
    }

    /// A list longer than `limit` items.
    pub fn too_many(path: impl Into<String>, found: usize, limit: usize) -> FieldError {
        FieldError {
            path: path.into(),
            reason: FieldReason::TooMany,
            detail: format!("must have at most {limit} items"),
            value: found.to_string(),
        }
    }

    /// The sentence without the path.
    pub fn body(&self) -> String {
        let head = match self.reason {
            FieldReason::Required => "Required value",
            FieldReason::Invalid => "Invalid value",
            FieldReason::NotSupported => "Unsupported value",
            FieldReason::Duplicate => "Duplicate value",
            FieldReason::Forbidden => "Forbidden",
            FieldReason::NotFound => "Not found",
            FieldReason::TooLong => "Too long",
            FieldReason::TooMany => "Too many",
            FieldReason::TypeInvalid => "Invalid value",
        };
        let mut text = head.to_owned();
        for part in [&self.value, &self.detail] {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(part);
            }
        }
        text
    }
}

/// What a definition says against an object, or against a definition.
impl From<naru_crd::Fault> for FieldError {
    fn from(fault: naru_crd::Fault) -> FieldError {
        let reason = match fault.reason {
            naru_crd::Reason::Required => FieldReason::Required,
            naru_crd::Reason::Invalid => FieldReason::Invalid,
            naru_crd::Reason::NotSupported => FieldReason::NotSupported,
            naru_crd::Reason::Duplicate => FieldReason::Duplicate,
            naru_crd::Reason::Forbidden => FieldReason::Forbidden,
            naru_crd::Reason::TooLong => FieldReason::TooLong,
            naru_crd::Reason::TooMany => FieldReason::TooMany,
            naru_crd::Reason::TypeInvalid => FieldReason::TypeInvalid,
        };
        FieldError {
            // Clients know the missing path in this form.
            path: if fault.path.is_empty() { "<nil>".to_owned() } else { fault.path },
            reason,
            detail: fault.detail,
            value: fault.value.as_ref().map(show).unwrap_or_default(),
        }
    }
}

/// The value as people read it; long ones are cut.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 400 {
        return text;
    }
    let mut end = 400;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}
