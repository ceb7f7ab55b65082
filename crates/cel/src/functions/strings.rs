//! Text. Positions count characters.

use super::core::double_text;
use super::{Function, Outcome, one, tenth, walk, walk_twice};
use crate::error::EvalError;
use crate::types::Sig;
use crate::types::Sig::{Any, Bool, Dyn, Int, List, String as Str};
use crate::value::Value;

const A: Sig = Any(0);
const PART: &[(&[Sig], Sig)] = &[(&[Str, Str], Bool)];
const SAME: &[(&[Sig], Sig)] = &[(&[Str], Str)];
const PLACE: &[(&[Sig], Sig)] = &[(&[Str, Str], Int), (&[Str, Str, Int], Int), (&[List(&A), A], Int)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "contains",
        member: true,
        overloads: PART,
        call: |args| part(args, |text, part| text.contains(part)),
        cost: both,
    },
    Function {
        name: "startsWith",
        member: true,
        overloads: PART,
        call: |args| part(args, |text, part| text.starts_with(part)),
        cost: second,
    },
    Function {
        name: "endsWith",
        member: true,
        overloads: PART,
        call: |args| part(args, |text, part| text.ends_with(part)),
        cost: second,
    },
    Function {
        name: "jsonpatch.escapeKey",
        member: false,
        overloads: SAME,
        call: |args| Ok(Value::text(text(&args[0])?.replace('~', "~0").replace('/', "~1"))),
        cost: walk_twice,
    },
    Function { name: "charAt", member: true, overloads: &[(&[Str, Int], Str)], call: char_at, cost: one },
    Function { name: "indexOf", member: true, overloads: PLACE, call: index_of, cost: walk },
    Function { name: "lastIndexOf", member: true, overloads: PLACE, call: last_index_of, cost: walk },
    Function {
        name: "lowerAscii",
        member: true,
        overloads: SAME,
        call: |args| map(args, str::to_ascii_lowercase),
        cost: walk,
    },
    Function {
        name: "upperAscii",
        member: true,
        overloads: SAME,
        call: |args| map(args, str::to_ascii_uppercase),
        cost: walk,
    },
    Function {
        name: "trim",
        member: true,
        overloads: SAME,
        call: |args| map(args, |text| text.trim().to_owned()),
        cost: walk,
    },
    Function {
        name: "reverse",
        member: true,
        overloads: SAME,
        call: |args| map(args, |text| text.chars().rev().collect()),
        cost: walk,
    },
    Function { name: "strings.quote", member: false, overloads: SAME, call: |args| map(args, quote), cost: walk },
    Function {
        name: "replace",
        member: true,
        overloads: &[(&[Str, Str, Str], Str), (&[Str, Str, Str, Int], Str)],
        call: replace,
        cost: walk_twice,
    },
    Function {
        name: "split",
        member: true,
        overloads: &[(&[Str, Str], List(&Str)), (&[Str, Str, Int], List(&Str))],
        call: split,
        cost: walk_twice,
    },
    Function {
        name: "substring",
        member: true,
        overloads: &[(&[Str, Int], Str), (&[Str, Int, Int], Str)],
        call: substring,
        cost: walk,
    },
    Function {
        name: "join",
        member: true,
        overloads: &[(&[List(&Str)], Str), (&[List(&Str), Str], Str)],
        call: join,
        cost: |_, result| tenth(2 * result.size()),
    },
    Function {
        name: "format",
        member: true,
        overloads: &[(&[Str, List(&Dyn)], Str)],
        call: format,
        cost: |args, result| walk(args, result) + tenth(result.size()),
    },
];

fn both(args: &[Value], _: &Value) -> u64 {
    tenth(args[0].size()) * tenth(args[1].size()).max(1)
}

fn second(args: &[Value], _: &Value) -> u64 {
    tenth(args[1].size())
}

fn text(value: &Value) -> Result<&str, EvalError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(EvalError::no_overload()),
    }
}

fn number(value: &Value) -> Result<i64, EvalError> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => Err(EvalError::no_overload()),
    }
}

fn part(args: &[Value], holds: fn(&str, &str) -> bool) -> Outcome {
    Ok(Value::Bool(holds(text(&args[0])?, text(&args[1])?)))
}

fn map(args: &[Value], with: fn(&str) -> String) -> Outcome {
    Ok(Value::text(with(text(&args[0])?)))
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

fn char_at(args: &[Value]) -> Outcome {
    let (text, index) = (text(&args[0])?, number(&args[1])?);
    let at = usize::try_from(index).map_err(|_| out_of_range(index))?;
    match text.chars().nth(at) {
        Some(letter) => Ok(Value::text(letter.to_string())),
        None if at == text.chars().count() => Ok(Value::text("")),
        None => Err(out_of_range(index)),
    }
}

fn index_of(args: &[Value]) -> Outcome {
    if let Value::List(list) = &args[0] {
        let found = list.items.iter().position(|item| item.equals(&args[1]));
        return Ok(Value::Int(found.map_or(-1, |at| at as i64)));
    }
    let (text, part) = (characters(&args[0])?, characters(&args[1])?);
    let from = match args.get(2) {
        None => 0,
        Some(from) => {
            let from = number(from)?;
            usize::try_from(from).ok().filter(|from| *from <= text.len()).ok_or_else(|| out_of_range(from))?
        }
    };
    let found = (from..=text.len()).find(|at| text[*at..].starts_with(&part));
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn last_index_of(args: &[Value]) -> Outcome {
    if let Value::List(list) = &args[0] {
        let found = list.items.iter().rposition(|item| item.equals(&args[1]));
        return Ok(Value::Int(found.map_or(-1, |at| at as i64)));
    }
    let (text, part) = (characters(&args[0])?, characters(&args[1])?);
    let last = match args.get(2) {
        None => text.len(),
        Some(last) => {
            let last = number(last)?;
            usize::try_from(last).ok().filter(|last| *last <= text.len()).ok_or_else(|| out_of_range(last))?
        }
    };
    let found = (0..=last).rev().find(|at| text[*at..].starts_with(&part));
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn characters(value: &Value) -> Result<Vec<char>, EvalError> {
    Ok(text(value)?.chars().collect())
}

fn replace(args: &[Value]) -> Outcome {
    let (whole, from, to) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    let most = args.get(3).map_or(Ok(-1), number)?;
    Ok(Value::text(match usize::try_from(most) {
        Ok(most) => whole.replacen(from, to, most),
        Err(_) => whole.replace(from, to),
    }))
}

fn split(args: &[Value]) -> Outcome {
    let (whole, by) = (text(&args[0])?, text(&args[1])?);
    let most = usize::try_from(args.get(2).map_or(Ok(-1), number)?).unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if by.is_empty() {
        let mut letters: Vec<String> = whole.chars().map(String::from).collect();
        if letters.len() > most {
            let rest = letters.split_off(most - 1).concat();
            letters.push(rest);
        }
        return Ok(Value::list(letters.into_iter().map(Value::text).collect()));
    }
    Ok(Value::list(whole.splitn(most, by).map(Value::text).collect()))
}

fn substring(args: &[Value]) -> Outcome {
    let letters = characters(&args[0])?;
    let bound =
        |value: i64| usize::try_from(value).ok().filter(|at| *at <= letters.len()).ok_or_else(|| out_of_range(value));
    let start = bound(number(&args[1])?)?;
    let end = args.get(2).map_or(Ok(letters.len()), |end| bound(number(end)?))?;
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    Ok(Value::text(letters[start..end].iter().collect::<String>()))
}

fn join(args: &[Value]) -> Outcome {
    let Value::List(list) = &args[0] else { return Err(EvalError::no_overload()) };
    let by = args.get(1).map_or(Ok(""), text)?;
    let parts = list.items.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::text(parts.join(by)))
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%o`, `%x`, `%X` and `%%`, with a precision where it means something.
fn format(args: &[Value]) -> Outcome {
    let (pattern, Value::List(list)) = (text(&args[0])?, &args[1]) else { return Err(EvalError::no_overload()) };
    let (mut out, mut values) = (String::new(), list.items.iter());
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut precision = None;
        if letters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().filter(|precision| *precision <= 100);
        }
        let Some(verb) = letters.next() else { return Err(EvalError::new("unexpected end of string")) };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            return Err(EvalError::new(format!("index {} out of range", list.items.len())));
        };
        out.push_str(&clause(verb, precision, value)?);
    }
    Ok(Value::text(out))
}

fn clause(verb: char, precision: Option<usize>, value: &Value) -> Result<String, EvalError> {
    let wrong = || {
        let name = value.type_name();
        EvalError::new(format!("error during formatting: %{verb} cannot show a value of type {name}"))
    };
    let digits = precision.unwrap_or(6);
    Ok(match (verb, value) {
        ('s', value) => shown(value).ok_or_else(wrong)?,
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('f', Value::Double(value)) => format!("{value:.digits$}"),
        ('f', Value::Int(value)) => format!("{:.digits$}", *value as f64),
        ('f', Value::Uint(value)) => format!("{:.digits$}", *value as f64),
        ('e', Value::Double(value)) => {
            let text = format!("{value:.digits$e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            let power: i32 = power.parse().unwrap_or(0);
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('o', Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('x', Value::Int(value)) => signed(*value, |value| format!("{value:x}")),
        ('X', Value::Int(value)) => signed(*value, |value| format!("{value:X}")),
        ('x', Value::Uint(value)) => format!("{value:x}"),
        ('X', Value::Uint(value)) => format!("{value:X}"),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('x', Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        _ => return Err(wrong()),
    })
}

fn signed(value: i64, write: impl Fn(u64) -> String) -> String {
    let text = write(value.unsigned_abs());
    if value < 0 { format!("-{text}") } else { text }
}

fn shown(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(length) => super::time::duration_text(*length),
        Value::Type(name) => name.to_string(),
        Value::List(list) => {
            let items = list.items.iter().map(shown).collect::<Option<Vec<_>>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entry = |(key, value): (&crate::value::Key, &Value)| Some(format!("{key}: {}", shown(value)?));
            format!("{{{}}}", map.iter().map(entry).collect::<Option<Vec<_>>>()?.join(", "))
        }
        Value::Object(_) | Value::Optional(_) | Value::Opaque(_) => return None,
    })
}
