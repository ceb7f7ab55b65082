//! Environment files (`.env`, `env_file`): the dialect that Compose reads.
//!
//! `KEY=value`, `export KEY=value`, `KEY` alone (taken from the surrounding variables), comments, single quotes
//! (literal, over several lines), double quotes (with `\n` and kin, and variables), and unquoted values (trimmed, an
//! inline comment needs a space before `#`, variables are replaced).

use std::collections::BTreeMap;

use crate::error::{ComposeError, Position};
use crate::interpolate::{Noticed, Variables, interpolate};
use crate::yaml::Node;

/// How the values of an environment file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The dialect of the module's description.
    Compose,
    /// `format: raw`: everything after `=`, as it stands.
    Raw,
}

/// Reads `text`, which came from `file`. A value refers to earlier keys of the same file, then to `variables`.
/// `None` means the key stands alone and `variables` does not have it.
///
/// # Errors
/// When a line is not an assignment or a quote is not closed; names the line.
pub fn parse(
    file: &str,
    text: &str,
    format: Format,
    variables: &dyn Variables,
) -> Result<Vec<(String, Option<String>)>, ComposeError> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let text = text.trim_start_matches('\u{feff}');
    let mut rest = text;
    while !rest.is_empty() {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let at = Position { file: file.into(), line: line as u32, column: 1 };
        let end = rest.find('\n').unwrap_or(rest.len());
        let raw = rest[..end].trim_end_matches('\r').trim_start();
        if raw.is_empty() || raw.starts_with('#') {
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        }
        let raw = raw.strip_prefix("export ").map_or(raw, str::trim_start);
        let Some(split) = raw.find(['=', ':']).filter(|_| format == Format::Compose).or_else(|| raw.find('=')) else {
            let name = raw.split(" #").next().unwrap_or(raw).trim();
            check_name(name, &at)?;
            let value = variables.get(name);
            found.push((name.to_owned(), value));
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        };
        let name = raw[..split].trim();
        check_name(name, &at)?;
        if format == Format::Raw {
            found.push((name.to_owned(), Some(raw[split + 1..].to_owned())));
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        }
        let start = (raw.as_ptr() as usize - rest.as_ptr() as usize) + split + 1;
        let (value, used) = value(&rest[start..], name, &at, &known, variables)?;
        rest = &rest[start + used..];
        rest = rest.get(rest.find('\n').map_or(rest.len(), |n| n + 1)..).unwrap_or_default();
        known.insert(name.to_owned(), value.clone());
        found.push((name.to_owned(), Some(value)));
    }
    Ok(found)
}

/// The value at the start of `text`, and how much of the text it took.
fn value(
    text: &str,
    name: &str,
    at: &Position,
    known: &BTreeMap<String, String>,
    variables: &dyn Variables,
) -> Result<(String, usize), ComposeError> {
    let line_end = text.find('\n').unwrap_or(text.len());
    let lead = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[lead..];
    let expand = |raw: String| {
        let lookup = |key: &str| variables.get(key).or_else(|| known.get(key).cloned());
        let mut node = Node::text(raw, at);
        interpolate(&mut node, name, &lookup, &mut Noticed::default())?;
        Ok::<_, ComposeError>(node.as_text().unwrap_or_default().to_owned())
    };
    match body.chars().next() {
        Some('\'') => match body[1..].find('\'') {
            Some(end) => Ok((body[1..=end].to_owned(), lead + end + 2)),
            None => Err(ComposeError::invalid(at, name, "the quote ' is never closed")),
        },
        Some('"') => {
            let end = closing_quote(&body[1..])
                .ok_or_else(|| ComposeError::invalid(at, name, "the quote \" is never closed"))?;
            Ok((expand(unescape(&body[1..=end]))?, lead + end + 2))
        }
        _ => {
            let raw = text[..line_end].trim_end_matches('\r');
            let comment = if raw.trim_start().starts_with('#') { Some(0) } else { raw.find(" #") };
            Ok((expand(raw[..comment.unwrap_or(raw.len())].trim().to_owned())?, line_end))
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some(c @ ('"' | '\\'))) => out.push(c),
            ('\\', Some('$')) => out.push_str("$$"),
            ('\\', Some(other)) => out.extend(['\\', other]),
            (c, _) => out.push(c),
        }
    }
    out
}

fn check_name(name: &str, at: &Position) -> Result<(), ComposeError> {
    let valid =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'));
    if valid {
        return Ok(());
    }
    let problem = format!("expected NAME=value, found {name:?}: a name has letters, digits, \"_\", \".\" and \"-\"");
    Err(ComposeError::invalid(at, "environment file", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>)> {
        parse(".env", text, Format::Compose, &|name: &str| (name == "HOME").then(|| "/root".to_owned())).expect("fine")
    }

    fn pair(name: &str, value: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn the_dialect() {
        let text = "# comment\nA=1\nexport B = two words # note\nC='$A #x'\nD=\"${A}\\n\\\"q\\\" \\$A\"\nE=$HOME/x\nHOME\nGONE\nF=\nG=a#b\nH: yaml\nM='a\nb'\nN=\"x\ny\"\r\nO=last";
        assert_eq!(
            read(text),
            [
                pair("A", "1"),
                pair("B", "two words"),
                pair("C", "$A #x"),
                pair("D", "1\n\"q\" $A"),
                pair("E", "/root/x"),
                pair("HOME", "/root"),
                ("GONE".to_owned(), None),
                pair("F", ""),
                pair("G", "a#b"),
                pair("H", "yaml"),
                pair("M", "a\nb"),
                pair("N", "x\ny"),
                pair("O", "last"),
            ]
        );
    }

    #[test]
    fn raw_takes_everything() {
        let raw = parse("f", "A='x' # y\nB=$HOME\n", Format::Raw, &|_: &str| None).expect("fine");
        assert_eq!(raw, [pair("A", "'x' # y"), pair("B", "$HOME")]);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line) in [("A=1\nB='x\n", 2), ("A=1\n\n=x\n", 3), ("A B=1\n", 1)] {
            let error = parse(".env", text, Format::Compose, &|_: &str| None).expect_err(text).to_string();
            assert!(error.starts_with(&format!(".env:{line}:")), "{text:?}: {error}");
        }
    }
}
