//! Paths into objects, as definitions write them.
//!
//! Printer columns use the fuller language (`.status.conditions[?(@.type=="Ready")].status`), everything else plain paths of
//! fields. What a path means is decided when the definition is read; looking something up is a walk.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::CharIndices;

use serde_json::Value;

use crate::schema::{Additional, Schema};

/// A path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `.name`, `['name']`.
    Field(Box<str>),
    /// `[0]`, `[-1]`.
    Item(i64),
    /// `.*`, `[*]`.
    All,
    /// `[1:3]`.
    Slice(Option<i64>, Option<i64>),
    /// `..`: here and everywhere below.
    Everywhere,
    /// `[?(@.type=="Ready")]`.
    Filter { path: JsonPath, comparison: Option<(Comparison, Value)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

type Letters<'t> = Peekable<CharIndices<'t>>;

// === impl JsonPath ===

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut letters = inner.char_indices().peekable();
        if letters.peek().is_some_and(|(_, c)| *c == '$') {
            letters.next();
        }
        let path = steps(inner, &mut letters, None).map_err(|why| format!("{text:?} is no path: {why}"))?;
        Ok(path)
    }

    /// The plain path of these fields.
    pub(crate) fn fields(text: &str) -> JsonPath {
        let names = text.trim_start_matches('.').split('.').filter(|name| !name.is_empty());
        JsonPath(names.map(|name| Step::Field(name.into())).collect())
    }

    /// All values that the path leads to, in order.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            found.iter().for_each(|value| step.follow(value, &mut next));
            found = next;
        }
        found
    }

    /// The first value that the path leads to.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.find(value).into_iter().next()
    }

    /// A plain path as it was written: `.spec.replicas`.
    pub fn dotted(&self) -> String {
        let names = self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name),
            _ => None,
        });
        names.fold(String::new(), |path, name| path + "." + name)
    }

    /// Sets the value at a plain path, making the objects on the way. Answers whether it could.
    pub fn set(&self, object: &mut Value, value: Value) -> bool {
        let mut at = object;
        for step in &self.0 {
            let Step::Field(name) = step else { return false };
            if at.is_null() {
                *at = Value::Object(serde_json::Map::new());
            }
            let Some(map) = at.as_object_mut() else { return false };
            at = map.entry(&**name).or_insert(Value::Null);
        }
        *at = value;
        true
    }
}

impl Step {
    fn follow<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) {
        match self {
            Step::Field(name) => out.extend(value.get(&**name)),
            Step::Item(index) => {
                let Some(list) = value.as_array() else { return };
                let at = if *index < 0 { list.len() as i64 + index } else { *index };
                out.extend(usize::try_from(at).ok().and_then(|at| list.get(at)));
            }
            Step::All => match value {
                Value::Array(list) => out.extend(list),
                Value::Object(map) => out.extend(map.values()),
                _ => {}
            },
            Step::Slice(from, to) => {
                let Some(list) = value.as_array() else { return };
                let length = list.len() as i64;
                let place = |at: i64| (if at < 0 { length + at } else { at }).clamp(0, length);
                let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
                out.extend(list.iter().skip(from as usize).take((to - from).max(0) as usize));
            }
            Step::Everywhere => everywhere(value, out),
            Step::Filter { path, comparison } => {
                let Some(list) = value.as_array() else { return };
                out.extend(list.iter().filter(|item| {
                    let found = path.first(item);
                    match comparison {
                        None => found.is_some(),
                        Some((comparison, wanted)) => found.is_some_and(|found| comparison.holds(found, wanted)),
                    }
                }));
            }
        }
    }
}

fn everywhere<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    out.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|item| everywhere(item, out)),
        Value::Object(map) => map.values().for_each(|item| everywhere(item, out)),
        _ => {}
    }
}

impl Comparison {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let order = match (found, wanted) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            _ => None,
        };
        match self {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::Unequal => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

// === reading ===

/// Steps up to the end, or to where a filter's own path ends.
fn steps(text: &str, letters: &mut Letters<'_>, within: Option<&str>) -> Result<JsonPath, String> {
    let mut steps = Vec::new();
    while let Some((at, letter)) = letters.peek().copied() {
        match letter {
            _ if within.is_some_and(|ends| ends.contains(letter)) => break,
            '.' => {
                letters.next();
                if letters.peek().is_some_and(|(_, c)| *c == '.') {
                    letters.next();
                    steps.push(Step::Everywhere);
                }
                if letters.peek().is_some_and(|(_, c)| *c == '[') {
                    continue;
                }
                let name = word(letters, within);
                match name.as_str() {
                    "" if steps.is_empty() && letters.peek().is_none() => {}
                    "" => return Err(format!("a name is missing at {}", at + 1)),
                    "*" => steps.push(Step::All),
                    name => steps.push(Step::Field(name.into())),
                }
            }
            '[' => {
                letters.next();
                steps.push(bracket(text, letters)?);
            }
            other => return Err(format!("unexpected {other:?} at {at}")),
        }
    }
    Ok(JsonPath(steps))
}

/// Letters up to the next step; a backslash takes the next one as it is.
fn word(letters: &mut Letters<'_>, within: Option<&str>) -> String {
    let mut out = String::new();
    while let Some((_, letter)) = letters.peek().copied() {
        if matches!(letter, '.' | '[') || within.is_some_and(|ends| ends.contains(letter)) {
            break;
        }
        letters.next();
        match letter {
            '\\' => out.extend(letters.next().map(|(_, c)| c)),
            letter => out.push(letter),
        }
    }
    out
}

fn bracket(text: &str, letters: &mut Letters<'_>) -> Result<Step, String> {
    match letters.peek().copied() {
        Some((_, quote @ ('\'' | '"'))) => {
            letters.next();
            let name = quoted(letters, quote)?;
            expect(letters, ']')?;
            Ok(Step::Field(name.into()))
        }
        Some((_, '?')) => {
            letters.next();
            expect(letters, '(')?;
            let step = filter(text, letters)?;
            expect(letters, ')')?;
            expect(letters, ']')?;
            Ok(step)
        }
        _ => {
            let mut inner = String::new();
            loop {
                match letters.next() {
                    Some((_, ']')) => break,
                    Some((_, letter)) => inner.push(letter),
                    None => return Err("a bracket is not closed".to_owned()),
                }
            }
            let inner = inner.trim();
            let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("{text:?} is no index"));
            if inner == "*" {
                return Ok(Step::All);
            }
            if let Some((from, to)) = inner.split_once(':') {
                let end = |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
                return Ok(Step::Slice(end(from)?, end(to)?));
            }
            number(inner).map(Step::Item)
        }
    }
}

fn quoted(letters: &mut Letters<'_>, quote: char) -> Result<String, String> {
    let mut out = String::new();
    loop {
        match letters.next() {
            Some((_, '\\')) => out.extend(letters.next().map(|(_, c)| c)),
            Some((_, letter)) if letter == quote => return Ok(out),
            Some((_, letter)) => out.push(letter),
            None => return Err("a quote is not closed".to_owned()),
        }
    }
}

fn expect(letters: &mut Letters<'_>, wanted: char) -> Result<(), String> {
    spaces(letters);
    match letters.next() {
        Some((_, letter)) if letter == wanted => Ok(()),
        Some((at, letter)) => Err(format!("expected {wanted:?} but got {letter:?} at {at}")),
        None => Err(format!("expected {wanted:?} at the end")),
    }
}

fn spaces(letters: &mut Letters<'_>) {
    while letters.peek().is_some_and(|(_, c)| c.is_whitespace()) {
        letters.next();
    }
}

fn filter(text: &str, letters: &mut Letters<'_>) -> Result<Step, String> {
    expect(letters, '@')?;
    let path = steps(text, letters, Some("=!<>) "))?;
    spaces(letters);
    let mut sign = String::new();
    while let Some((_, letter @ ('=' | '!' | '<' | '>'))) = letters.peek().copied() {
        letters.next();
        sign.push(letter);
    }
    let comparison = match sign.as_str() {
        "" => return Ok(Step::Filter { path, comparison: None }),
        "==" => Comparison::Equal,
        "!=" => Comparison::Unequal,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        other => return Err(format!("{other:?} is no comparison")),
    };
    spaces(letters);
    let wanted = match letters.peek().copied() {
        Some((_, quote @ ('\'' | '"'))) => {
            letters.next();
            quoted(letters, quote)?.into()
        }
        _ => {
            let mut word = String::new();
            while let Some((_, letter)) = letters.peek().copied().filter(|(_, c)| *c != ')' && !c.is_whitespace()) {
                letters.next();
                word.push(letter);
            }
            serde_json::from_str(&word).map_err(|_| format!("{word:?} is no value"))?
        }
    };
    Ok(Step::Filter { path, comparison: Some((comparison, wanted)) })
}

/// A path of fields and keys of maps that a schema has (`.spec.names['a.b']`): how error messages write it, and the schema it
/// leads to.
///
/// # Errors
/// With why it leads nowhere.
pub(crate) fn field_path<'s>(schema: &'s Schema, text: &str) -> Result<(String, &'s Schema), String> {
    let (mut rest, mut at, mut shown) = (text, schema, String::new());
    while !rest.is_empty() {
        let (name, after) = if let Some(inner) = rest.strip_prefix('[') {
            let Some(inner) = inner.strip_prefix('\'') else {
                let found = inner.split(']').next().unwrap_or_default();
                return Err(format!("expected single quoted string but got {found}"));
            };
            let mut letters = inner.char_indices().peekable();
            let name = quoted(&mut letters, '\'').map_err(|_| "unexpected end of JSON path".to_owned())?;
            let end = letters.peek().map_or(inner.len(), |(at, _)| *at);
            let after = inner[end..].strip_prefix(']').ok_or_else(|| "unexpected end of JSON path".to_owned())?;
            (name, after)
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(['.', '[', ']']).unwrap_or(inner.len());
            if end == 0 {
                return Err("unexpected end of JSON path".to_owned());
            }
            (inner[..end].to_owned(), &inner[end..])
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        };
        at = match (at.properties.get(&name), &at.additional) {
            (Some(inner), _) => {
                if !shown.is_empty() {
                    shown.push('.');
                }
                shown.push_str(&name);
                inner
            }
            (None, Additional::Of(inner)) if at.properties.is_empty() => {
                shown.push_str(&format!("[{name}]"));
                inner
            }
            _ => return Err("does not refer to a valid field".to_owned()),
        };
        rest = after;
    }
    Ok((shown, at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"spec": {"replicas": 3, "a.b": 1, "list": [1, 2, 3], "deep": {"x": {"name": "n"}}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "n": 1}, {"type": "Live", "status": "False", "n": 2}]}});
        for (path, expected) in [
            (".spec.replicas", json!([3])),
            ("{.spec.replicas}", json!([3])),
            ("$.spec.replicas", json!([3])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[1:]", json!([2, 3])),
            (".spec.list[:-1]", json!([1, 2])),
            (".spec.list[*]", json!([1, 2, 3])),
            (".spec.list[7]", json!([])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type == 'Live')].n", json!([2])),
            (".status.conditions[?(@.n>1)].type", json!(["Live"])),
            (".status.conditions[?(@.type!='Ready')].n", json!([2])),
            (".status.conditions[?(@.gone)].n", json!([])),
            (".status.conditions[*].type", json!(["Ready", "Live"])),
            (".spec..name", json!(["n"])),
            (".nothing.at.all", json!([])),
            (".", json!([object])),
        ] {
            let found: Vec<Value> = JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(json!(found), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_says_why() {
        for path in [".a[", ".a['b", ".a[?(@.b==)]", ".a[x]", "a", ".a[?(b)]", ".a..", ".a[?(@.b=1)]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_plain_path_can_be_set() {
        let path = JsonPath::fields(".spec.replicas");
        let mut object = json!({"kind": "X"});
        assert!(path.set(&mut object, json!(2)));
        assert_eq!(object["spec"]["replicas"], 2);
        assert!(!path.set(&mut json!({"spec": 1}), json!(2)));
    }
}
