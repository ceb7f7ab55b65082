//! One broken rule: where, what is wrong, and what would be right, in the words that users of Kubernetes know.

use std::fmt;

use serde_json::Value;

/// The sort of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The field must be given.
    Required,
    /// The value breaks a rule.
    Invalid,
    /// The value is not among the possible ones.
    NotSupported,
    /// The value stands there twice.
    Duplicate,
    /// The field must not be given here.
    Forbidden,
    /// The text is too long.
    TooLong,
    /// The list or map has too many entries.
    TooMany,
    /// The JSON type is wrong.
    TypeInvalid,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The field's path (`spec.ports[0].name`); empty for the object as a whole.
    pub path: String,
    /// The sort of mistake.
    pub reason: Reason,
    /// The value found, where it is shown.
    pub value: Option<Value>,
    /// What would be right; may be empty.
    pub detail: String,
}

// === impl Fault ===

impl Fault {
    /// A field that must be given.
    pub fn required(path: impl fmt::Display, detail: impl Into<String>) -> Fault {
        Fault { path: path.to_string(), reason: Reason::Required, value: None, detail: detail.into() }
    }

    /// A value that breaks a rule.
    pub fn invalid(path: impl fmt::Display, value: impl Into<Value>, detail: impl Into<String>) -> Fault {
        Fault { path: path.to_string(), reason: Reason::Invalid, value: Some(value.into()), detail: detail.into() }
    }

    /// A field that must not be given here.
    pub fn forbidden(path: impl fmt::Display, detail: impl Into<String>) -> Fault {
        Fault { path: path.to_string(), reason: Reason::Forbidden, value: None, detail: detail.into() }
    }

    /// A value that stands there twice.
    pub fn duplicate(path: impl fmt::Display, value: impl Into<Value>) -> Fault {
        let value = Some(value.into());
        Fault { path: path.to_string(), reason: Reason::Duplicate, value, detail: String::new() }
    }

    /// A value that is not among the possible ones.
    pub fn not_supported<'v>(
        path: impl fmt::Display,
        value: impl Into<Value>,
        supported: impl IntoIterator<Item = &'v str>,
    ) -> Fault {
        let list: Vec<String> = supported.into_iter().map(|s| format!("{s:?}")).collect();
        Fault {
            path: path.to_string(),
            reason: Reason::NotSupported,
            value: Some(value.into()),
            detail: format!("supported values: {}", list.join(", ")),
        }
    }

    /// A text of more than `limit` characters.
    pub fn too_long(path: impl fmt::Display, limit: u64) -> Fault {
        let detail = format!("may not be more than {limit} bytes");
        Fault { path: path.to_string(), reason: Reason::TooLong, value: None, detail }
    }

    /// A list or map of more than `limit` entries.
    pub fn too_many(path: impl fmt::Display, found: usize, limit: u64) -> Fault {
        let detail = format!("must have at most {limit} items");
        Fault { path: path.to_string(), reason: Reason::TooMany, value: Some(found.into()), detail }
    }

    /// The sentence without the path.
    pub fn body(&self) -> String {
        let mut text = self.reason.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&show(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl Reason {
    /// How messages begin.
    fn words(self) -> &'static str {
        match self {
            Reason::Required => "Required value",
            Reason::Invalid | Reason::TypeInvalid => "Invalid value",
            Reason::NotSupported => "Unsupported value",
            Reason::Duplicate => "Duplicate value",
            Reason::Forbidden => "Forbidden",
            Reason::TooLong => "Too long",
            Reason::TooMany => "Too many",
        }
    }

    /// The word that clients switch on, in the causes of a refusal.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// The value as people read it; long ones are cut.
fn show(value: &Value) -> String {
    const LONGEST: usize = 400;
    let text = value.to_string();
    if text.len() <= LONGEST {
        return text;
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clients know the missing path in this form.
        let path = if self.path.is_empty() { "<nil>" } else { &self.path };
        write!(f, "{path}: {}", self.body())
    }
}

impl std::error::Error for Fault {}
