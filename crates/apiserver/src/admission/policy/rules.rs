//! What a ValidatingAdmissionPolicy demands, compiled.

use naru_api::Reason;
use naru_cel::{Env, Type};
use serde_json::Value;

use super::read::Demands;
use crate::admission::expression::{Compiled, compile};

/// What an annotation may be: text, or nothing.
pub(super) const TEXT: [Type; 2] = [Type::String, Type::Null];

/// All that one demands, and what it wants the audit log to say.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<Annotation>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) text: String,
    pub(super) program: Compiled,
    pub(super) message: Option<String>,
    pub(super) message_program: Option<Compiled>,
    pub(super) reason: Reason,
}

/// One word for the audit log.
#[derive(Debug)]
pub(super) struct Annotation {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) program: Compiled,
}

// === impl Rules ===

impl Demands for Rules {
    fn scope(env: Env) -> Env {
        env
    }

    fn read(spec: &Value, env: &Env) -> Rules {
        let list = |field: &str| spec[field].as_array().into_iter().flatten();
        Rules {
            validations: list("validations").map(|validation| Validation::read(validation, env)).collect(),
            annotations: list("auditAnnotations").map(|said| Annotation::read(said, env)).collect(),
        }
    }
}

impl Validation {
    fn read(validation: &Value, env: &Env) -> Validation {
        let text = |field: &str| validation[field].as_str().map(str::trim).filter(|text| !text.is_empty());
        let program = |text: &str, of: Type| compile(text, env, &[of]);
        Validation {
            text: text("expression").unwrap_or_default().to_owned(),
            program: program(text("expression").unwrap_or_default(), Type::Bool),
            message: text("message").map(str::to_owned),
            message_program: text("messageExpression").map(|text| program(text, Type::String)),
            reason: match text("reason") {
                Some("Unauthorized") => Reason::Unauthorized,
                Some("Forbidden") => Reason::Forbidden,
                Some("RequestEntityTooLarge") => Reason::RequestEntityTooLarge,
                _ => Reason::Invalid,
            },
        }
    }
}

impl Annotation {
    fn read(said: &Value, env: &Env) -> Annotation {
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        let program = compile(&text("valueExpression"), env, &TEXT);
        Annotation { key: text("key"), text: text("valueExpression"), program }
    }
}
