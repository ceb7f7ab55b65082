//! What every object's metadata looks like, for objects inside of others.

use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::validate::format;

/// What a field of the metadata holds.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Whole,
    Time,
    Texts,
    TextList,
    Objects,
}

const FIELDS: [(&str, Form); 15] = [
    ("annotations", Form::Texts),
    ("creationTimestamp", Form::Time),
    ("deletionGracePeriodSeconds", Form::Whole),
    ("deletionTimestamp", Form::Time),
    ("finalizers", Form::TextList),
    ("generateName", Form::Text),
    ("generation", Form::Whole),
    ("labels", Form::Texts),
    ("managedFields", Form::Objects),
    ("name", Form::Text),
    ("namespace", Form::Text),
    ("ownerReferences", Form::Objects),
    ("resourceVersion", Form::Text),
    ("selfLink", Form::Text),
    ("uid", Form::Text),
];

/// Takes unknown fields out of the metadata of an embedded object at `path`, and tells what cannot be metadata.
pub(crate) fn coerce(object: &mut Map<String, Value>, path: &str, unknown: &mut Vec<String>, faults: &mut Vec<Fault>) {
    for name in ["apiVersion", "kind"] {
        if let Some(value) = object.get(name).filter(|v| !v.is_string()) {
            faults.push(Fault::invalid(below(path, name), value.clone(), "must be a string"));
        }
    }
    let Some(metadata) = object.get_mut("metadata") else { return };
    let path = below(path, "metadata");
    if metadata.is_null() {
        object.remove("metadata");
        return;
    }
    let Some(metadata) = metadata.as_object_mut() else {
        faults.push(Fault::invalid(path, metadata.clone(), "must be an object"));
        return;
    };
    metadata.retain(|name, value| {
        let Ok(at) = FIELDS.binary_search_by(|(known, _)| (*known).cmp(name)) else {
            unknown.push(below(&path, name));
            return false;
        };
        if !value.is_null()
            && let Some(expected) = FIELDS[at].1.refuses(value)
        {
            faults.push(Fault::invalid(below(&path, name), value.clone(), expected));
        }
        !value.is_null()
    });
}

/// What an embedded object at `path` must have.
pub(crate) fn check(object: &Map<String, Value>, path: &str, faults: &mut Vec<Fault>) {
    for name in ["apiVersion", "kind"] {
        match object.get(name) {
            None | Some(Value::Null) => faults.push(Fault::required(below(path, name), "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                faults.push(Fault::invalid(below(path, name), "", "must not be empty"));
            }
            Some(Value::String(text)) if name == "apiVersion" && text.matches('/').count() > 1 => {
                let why = format!("unexpected GroupVersion string: {text}");
                faults.push(Fault::invalid(below(path, name), text.as_str(), why));
            }
            _ => {}
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Form {
    /// What is expected instead, when a value has another form.
    fn refuses(self, value: &Value) -> Option<&'static str> {
        let (fits, expected) = match self {
            Form::Text => (value.is_string(), "must be a string"),
            Form::Whole => (value.as_i64().is_some(), "must be an integer"),
            Form::Time => {
                (value.as_str().is_some_and(format::is_date_time), "must be a time such as \"2006-01-02T15:04:05Z\"")
            }
            Form::Texts => {
                let fits = value.as_object().is_some_and(|map| map.values().all(Value::is_string));
                (fits, "must be an object of strings")
            }
            Form::TextList => {
                let fits = value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
                (fits, "must be a list of strings")
            }
            Form::Objects => {
                let fits = value.as_array().is_some_and(|list| list.iter().all(Value::is_object));
                (fits, "must be a list of objects")
            }
        };
        (!fits).then_some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(FIELDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
