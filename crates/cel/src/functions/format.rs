//! Kubernetes' forms of text, such as labels of DNS: `format.dns1123Label().validate(text)` tells what is wrong.

use std::any::Any;
use std::sync::Arc;

use super::{Function, Outcome, one, walk_twice};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{List, Opaque as Of, Optional, String as Str};
use crate::value::{Opaque, Value};

const NAME: &str = "kubernetes.NamedFormat";
const FORMAT: Sig = Of(NAME);
const MADE: &[(&[Sig], Sig)] = &[(&[], FORMAT)];

macro_rules! named {
    ($function:literal, $form:expr) => {
        Function { name: $function, member: false, overloads: MADE, call: |_| Ok(made($form)), cost: one }
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "format.named",
        member: false,
        overloads: &[(&[Str], Optional(&FORMAT))],
        call: by_name,
        cost: one,
    },
    Function {
        name: "validate",
        member: true,
        overloads: &[(&[FORMAT, Str], Optional(&List(&Str)))],
        call: validate,
        cost: walk_twice,
    },
    named!("format.dns1123Label", Form::Dns1123Label(false)),
    named!("format.dns1123LabelPrefix", Form::Dns1123Label(true)),
    named!("format.dns1123Subdomain", Form::Dns1123Subdomain(false)),
    named!("format.dns1123SubdomainPrefix", Form::Dns1123Subdomain(true)),
    named!("format.dns1035Label", Form::Dns1035Label(false)),
    named!("format.dns1035LabelPrefix", Form::Dns1035Label(true)),
    named!("format.qualifiedName", Form::QualifiedName),
    named!("format.labelValue", Form::LabelValue),
    named!("format.uri", Form::Uri),
    named!("format.uuid", Form::Uuid),
    named!("format.byte", Form::Byte),
    named!("format.date", Form::Date),
    named!("format.datetime", Form::DateTime),
];

/// A form; `true` for one of which only the beginning is given, with a dash at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Dns1123Label(bool),
    Dns1123Subdomain(bool),
    Dns1035Label(bool),
    QualifiedName,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    DateTime,
}

impl Opaque for Form {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref::<Form>() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn made(form: Form) -> Value {
    Value::Opaque(Arc::new(form))
}

fn by_name(args: &[Value]) -> Outcome {
    let Value::String(name) = &args[0] else { return Err(EvalError::no_overload()) };
    let form = match &**name {
        "dns1123Label" => Form::Dns1123Label(false),
        "dns1123LabelPrefix" => Form::Dns1123Label(true),
        "dns1123Subdomain" => Form::Dns1123Subdomain(false),
        "dns1123SubdomainPrefix" => Form::Dns1123Subdomain(true),
        "dns1035Label" => Form::Dns1035Label(false),
        "dns1035LabelPrefix" => Form::Dns1035Label(true),
        "qualifiedName" => Form::QualifiedName,
        "labelValue" => Form::LabelValue,
        "uri" => Form::Uri,
        "uuid" => Form::Uuid,
        "byte" => Form::Byte,
        "date" => Form::Date,
        "datetime" => Form::DateTime,
        _ => return Ok(Value::Optional(None)),
    };
    Ok(Value::Optional(Some(Arc::new(made(form)))))
}

fn validate(args: &[Value]) -> Outcome {
    let form = match &args[0] {
        Value::Opaque(value) => value.as_any().downcast_ref::<Form>(),
        _ => None,
    };
    let (Some(form), Value::String(text)) = (form, &args[1]) else { return Err(EvalError::no_overload()) };
    let faults = form.faults(text);
    if faults.is_empty() {
        return Ok(Value::Optional(None));
    }
    let faults = faults.into_iter().map(Value::text).collect();
    Ok(Value::Optional(Some(Arc::new(Value::list(faults)))))
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const OLD_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";

impl Form {
    fn faults(self, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        // A beginning may end with the dash after which more is put.
        let whole = |prefix: bool| if prefix { text.strip_suffix('-').unwrap_or(text) } else { text };
        let label = |text: &str| {
            let bytes = text.as_bytes();
            !bytes.is_empty()
                && bytes.iter().all(|byte| lower(*byte) || *byte == b'-')
                && lower(bytes[0])
                && lower(bytes[bytes.len() - 1])
        };
        match self {
            Form::Dns1123Label(prefix) => {
                check(text.len() <= 63, "must be no more than 63 characters");
                check(label(whole(prefix)), LABEL);
            }
            Form::Dns1123Subdomain(prefix) => {
                check(text.len() <= 253, "must be no more than 253 characters");
                check(whole(prefix).split('.').all(label), SUBDOMAIN);
            }
            Form::Dns1035Label(prefix) => {
                check(text.len() <= 63, "must be no more than 63 characters");
                let text = whole(prefix);
                check(label(text) && text.as_bytes()[0].is_ascii_lowercase(), OLD_LABEL);
            }
            Form::QualifiedName => {
                let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
                if let Some(prefix) = prefix {
                    check(!prefix.is_empty(), "prefix part must be non-empty");
                    check(prefix.len() <= 253 && prefix.split('.').all(label), &format!("prefix part {SUBDOMAIN}"));
                }
                check(!name.is_empty(), "name part must be non-empty");
                check(name.len() <= 63, "name part must be no more than 63 characters");
                check(
                    is_word(name),
                    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                );
            }
            Form::LabelValue => {
                check(text.len() <= 63, "must be no more than 63 characters");
                check(
                    text.is_empty() || is_word(text),
                    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                );
            }
            Form::Uri => {
                let found = super::find("isURL", false).map(|is| (is.call)(&[Value::text(text)]));
                check(matches!(found, Some(Ok(Value::Bool(true)))), "must be a valid URI");
            }
            Form::Uuid => {
                let parts: Vec<_> = text
                    .split('-')
                    .map(|part| (part.len(), part.bytes().all(|byte| byte.is_ascii_hexdigit())))
                    .collect();
                let groups = [8, 4, 4, 4, 12].map(|length| (length, true));
                check(parts == groups, "does not match the UUID format");
            }
            Form::Byte => {
                let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text);
                check(decoded.is_ok(), "invalid base64");
            }
            Form::Date => check(text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10, "invalid date"),
            Form::DateTime => check(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
        }
        faults
    }
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && ends(bytes.first())
        && ends(bytes.last())
}
