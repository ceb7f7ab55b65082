//! Label selectors, in the text form of queries and in the object form of specs.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::{Map, Value};

use crate::validate::names;

/// Something that has labels: JSON metadata or a typed view's map.
pub trait LabelSet {
    /// The value of the label `key`.
    fn label(&self, key: &str) -> Option<&str>;
}

impl LabelSet for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl LabelSet for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<T: LabelSet> LabelSet for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl<T: LabelSet + ?Sized> LabelSet for &T {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// One of the values.
    In(Vec<String>),
    /// Absent or none of the values.
    NotIn(Vec<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// A whole number greater than this.
    GreaterThan(i64),
    /// A whole number less than this.
    LessThan(i64),
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// The condition.
    pub operator: Operator,
}

/// Conditions that must all hold. Without any, everything matches; see [`LabelSelector::nothing`] for the opposite.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// The text or object is no label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unable to parse label selector {selector:?}: {what}; expected conditions such as a=b, a!=b, a in (b,c), a, !a"
)]
pub struct LabelSelectorError {
    /// The selector as written.
    pub selector: String,
    /// What is wrong.
    pub what: String,
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Matches everything.
    pub fn everything() -> LabelSelector {
        LabelSelector::default()
    }

    /// Matches nothing, as an absent selector does in a spec.
    pub fn nothing() -> LabelSelector {
        LabelSelector { requirements: Vec::new(), nothing: true }
    }

    /// Parses the text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>3,m<4`.
    pub fn parse(text: &str) -> Result<LabelSelector, LabelSelectorError> {
        let fail = |what: String| LabelSelectorError { selector: text.to_owned(), what };
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text).map_err(|what| fail(what.to_owned()))? {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(fail("a condition is empty".to_owned()));
            }
            requirements.push(requirement(part).map_err(fail)?);
        }
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// Reads the object form: `{"matchLabels": {..}, "matchExpressions": [..]}`. Null or absent matches nothing, an
    /// empty object everything.
    pub fn from_object(object: &Value) -> Result<LabelSelector, LabelSelectorError> {
        if object.is_null() {
            return Ok(LabelSelector::nothing());
        }
        let fail = |what: &str| LabelSelectorError { selector: object.to_string(), what: what.to_owned() };
        let mut requirements = Vec::new();
        if let Some(labels) = object.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().ok_or_else(|| fail("matchLabels has a value that is no text"))?;
                requirements.push(Requirement { key: key.clone(), operator: Operator::In(vec![value.to_owned()]) });
            }
        }
        for entry in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let values = entry.get("values").and_then(Value::as_array).into_iter().flatten();
            let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let operator = operator(text("operator"), values).map_err(|what| fail(&what))?;
            requirements.push(Requirement { key: text("key").to_owned(), operator });
        }
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// Reads the typed object form.
    pub fn from_typed(selector: Option<&meta::LabelSelector>) -> Result<LabelSelector, LabelSelectorError> {
        let Some(selector) = selector else { return Ok(LabelSelector::nothing()) };
        let mut all = LabelSelector::from_map(selector.match_labels.as_ref());
        all.nothing = false;
        for entry in selector.match_expressions.iter().flatten() {
            let operator = operator(&entry.operator, entry.values.clone().unwrap_or_default()).map_err(|what| {
                LabelSelectorError { selector: format!("{} {} …", entry.key, entry.operator), what }
            })?;
            all.requirements.push(Requirement { key: entry.key.clone(), operator });
        }
        Ok(all)
    }

    /// A map of labels that must all be equal (a Service's selector). Absent or empty matches nothing.
    pub fn from_map(labels: Option<&BTreeMap<String, String>>) -> LabelSelector {
        match labels {
            None => LabelSelector::nothing(),
            Some(labels) => {
                let requirements = labels
                    .iter()
                    .map(|(key, value)| Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) });
                LabelSelector { requirements: requirements.collect(), nothing: labels.is_empty() }
            }
        }
    }

    /// Whether `labels` fulfil every condition.
    pub fn matches(&self, labels: &dyn LabelSet) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it matches nothing whatever the labels.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The single value that it demands for `key`, for callers with an index.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.requirements.iter().find_map(|r| match &r.operator {
            Operator::In(values) if r.key == key && values.len() == 1 => values.first().map(String::as_str),
            _ => None,
        })
    }
}

impl Requirement {
    /// Whether `labels` fulfil the condition.
    pub fn matches(&self, labels: &dyn LabelSet) -> bool {
        let value = labels.label(&self.key);
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Operator::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(than) => number().is_some_and(|v| v > *than),
            Operator::LessThan(than) => number().is_some_and(|v| v < *than),
        }
    }
}

fn operator(name: &str, values: Vec<String>) -> Result<Operator, String> {
    match name {
        "In" | "NotIn" if values.is_empty() => Err(format!("operator {name} needs values")),
        "In" => Ok(Operator::In(values)),
        "NotIn" => Ok(Operator::NotIn(values)),
        "Exists" | "DoesNotExist" if !values.is_empty() => Err(format!("operator {name} takes no values")),
        "Exists" => Ok(Operator::Exists),
        "DoesNotExist" => Ok(Operator::DoesNotExist),
        "Gt" | "Lt" => {
            let number = values.first().and_then(|v| v.parse().ok()).filter(|_| values.len() == 1);
            let number = number.ok_or_else(|| format!("operator {name} needs one whole number"))?;
            Ok(if name == "Gt" { Operator::GreaterThan(number) } else { Operator::LessThan(number) })
        }
        other => Err(format!("{other:?} is not a valid label selector operator")),
    }
}

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, &'static str> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            '(' if open => return Err("a parenthesis opens inside another"),
            '(' => open = true,
            ')' if !open => return Err("a parenthesis closes that never opened"),
            ')' => open = false,
            ',' if !open => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err("a parenthesis is not closed");
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let (key, operator) = parse_condition(part)?;
    names::label_key(key).map_err(|e| format!("{key:?} is no label key: {e}"))?;
    if let Operator::In(values) | Operator::NotIn(values) = &operator {
        for value in values {
            names::label_value(value).map_err(|e| format!("{value:?} is no label value: {e}"))?;
        }
    }
    Ok(Requirement { key: key.to_owned(), operator })
}

fn parse_condition(part: &str) -> Result<(&str, Operator), String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok((key.trim(), Operator::DoesNotExist));
    }
    if let Some(list) = part.strip_suffix(')') {
        let (head, list) = list.split_once('(').ok_or("a list has no opening parenthesis")?;
        let values: Vec<String> = list.split(',').map(|v| v.trim().to_owned()).collect();
        let (key, word) = head.trim_end().rsplit_once(char::is_whitespace).ok_or("expected in or notin")?;
        return match word {
            "in" => Ok((key.trim(), Operator::In(values))),
            "notin" => Ok((key.trim(), Operator::NotIn(values))),
            other => Err(format!("expected in or notin, found {other:?}")),
        };
    }
    let one = |value: &str| vec![value.trim().to_owned()];
    let number = |value: &str| value.trim().parse().map_err(|_| format!("{value:?} is no whole number"));
    if let Some((key, value)) = part.split_once("!=") {
        Ok((key.trim(), Operator::NotIn(one(value))))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Ok((key.trim(), Operator::In(one(value))))
    } else if let Some((key, value)) = part.split_once('>') {
        Ok((key.trim(), Operator::GreaterThan(number(value)?)))
    } else if let Some((key, value)) = part.split_once('<') {
        Ok((key.trim(), Operator::LessThan(number(value)?)))
    } else {
        Ok((part, Operator::Exists))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{r}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(v) if v.len() == 1 => write!(f, "{key}={}", v[0]),
            Operator::NotIn(v) if v.len() == 1 => write!(f, "{key}!={}", v[0]),
            Operator::In(v) => write!(f, "{key} in ({})", v.join(",")),
            Operator::NotIn(v) => write!(f, "{key} notin ({})", v.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan(n) => write!(f, "{key}>{n}"),
            Operator::LessThan(n) => write!(f, "{key}<{n}"),
        }
    }
}
