//! The forms of names, labels and keys.

use crate::kind::NameRule;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let b = text.as_bytes();
    matches!((b.first(), b.last()), (Some(f), Some(l)) if lower(*f) && lower(*l))
        && b.iter().all(|c| lower(*c) || *c == b'-')
}

fn at_most(text: &str, limit: usize) -> Result<(), String> {
    if text.len() > limit { Err(format!("must be no more than {limit} characters")) } else { Ok(()) }
}

/// Checks a DNS label (RFC 1123). The error says what would be right.
pub fn dns_label(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if is_label(text) { Ok(()) } else { Err(LABEL.to_owned()) }
}

/// Checks a DNS label that begins with a letter (RFC 1035).
pub fn dns_1035_label(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    let letter = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if letter && is_label(text) { Ok(()) } else { Err(LABEL_1035.to_owned()) }
}

/// Checks a DNS subdomain (RFC 1123).
pub fn dns_subdomain(text: &str) -> Result<(), String> {
    at_most(text, 253)?;
    if text.split('.').all(is_label) { Ok(()) } else { Err(SUBDOMAIN.to_owned()) }
}

/// Checks a name that stands as a path segment.
pub fn path_segment(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text == "." || text == ".." {
        return Err(format!("may not be '{text}'"));
    }
    match text.chars().find(|c| matches!(c, '/' | '%')) {
        Some(c) => Err(format!("may not contain '{c}'")),
        None => Ok(()),
    }
}

/// Checks an object's name by its kind's rule.
pub fn object_name(rule: NameRule, text: &str) -> Result<(), String> {
    match rule {
        NameRule::Subdomain => dns_subdomain(text),
        NameRule::Label => dns_label(text),
        NameRule::ServiceLabel => dns_1035_label(text),
        NameRule::PathSegment => path_segment(text),
    }
}

fn is_qualified(text: &str) -> bool {
    let b = text.as_bytes();
    matches!((b.first(), b.last()), (Some(f), Some(l)) if f.is_ascii_alphanumeric() && l.is_ascii_alphanumeric())
        && b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// Checks a label or annotation key: an optional DNS prefix and a name.
pub fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Err("prefix part must be non-empty".to_owned());
        }
        dns_subdomain(prefix).map_err(|e| format!("prefix part {e}"))?;
    }
    if name.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    at_most(name, 63).map_err(|e| format!("name part {e}"))?;
    if is_qualified(name) { Ok(()) } else { Err(QUALIFIED.to_owned()) }
}

/// Checks a label's value.
pub fn label_value(text: &str) -> Result<(), String> {
    at_most(text, 63)?;
    if text.is_empty() || is_qualified(text) { Ok(()) } else { Err(VALUE.to_owned()) }
}
