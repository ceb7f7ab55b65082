//! Variables in values: `$V`, `${V}`, `${V:-default}`, `${V-default}`, `${V:?error}`, `${V?error}`, `${V:+other}`,
//! `${V+other}`, nested, and `$$` for a dollar sign.
//!
//! Source of behaviour: the Compose specification, "Interpolation". Values only, never keys; each file before it is
//! merged, so that a later file cannot change what an earlier one says.

use std::collections::BTreeSet;

use crate::error::{ComposeError, Position, Warning};
use crate::yaml::{Node, Style, Tree};

/// Where variables come from.
pub trait Variables {
    /// The value of a variable, if it is set (an empty value is set).
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// What interpolation noticed.
#[derive(Debug, Default)]
pub struct Noticed {
    /// Variables that were asked for: these alone may leave the user's shell.
    pub used: BTreeSet<String>,
    /// Unset variables that became empty strings.
    pub warnings: Vec<Warning>,
}

/// Replaces the variables in every value of `node`, whose path is `path`.
///
/// # Errors
/// When a substitution is malformed or a required variable is missing; says where.
pub fn interpolate(
    node: &mut Node,
    path: &str,
    variables: &dyn Variables,
    noticed: &mut Noticed,
) -> Result<(), ComposeError> {
    match &mut node.tree {
        Tree::Scalar(text, style) if text.contains('$') => {
            let mut scan = Scan { text, at: 0, variables, noticed, place: (&node.at, path), live: true };
            let replaced = scan.until(None)?;
            // `${EMPTY}` is an empty string, not null; anything else is read as if it had been written there.
            if replaced.is_empty() {
                *style = Style::Quoted;
            }
            *text = replaced;
            Ok(())
        }
        Tree::Scalar(..) => Ok(()),
        Tree::List(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(at, item)| interpolate(item, &format!("{path}[{at}]"), variables, noticed)),
        Tree::Map(entries) => entries.iter_mut().try_for_each(|(name, value)| {
            let path = if path.is_empty() { name.text.clone() } else { format!("{path}.{}", name.text) };
            interpolate(value, &path, variables, noticed)
        }),
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    variables: &'a dyn Variables,
    noticed: &'a mut Noticed,
    place: (&'a Position, &'a str),
    /// False inside an alternative that is not taken: it is parsed, but nothing in it is required or warned of.
    live: bool,
}

impl Scan<'_> {
    /// Replaces up to the end, or up to an unnested `}`.
    fn until(&mut self, end: Option<char>) -> Result<String, ComposeError> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if Some(c) == end {
                return Ok(out);
            }
            self.at += c.len_utf8();
            if c != '$' {
                out.push(c);
                continue;
            }
            match self.peek() {
                Some('$') => {
                    self.at += 1;
                    out.push('$');
                }
                Some('{') => {
                    self.at += 1;
                    out.push_str(&self.braced()?);
                }
                Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                    let name = self.name();
                    let value = self.lookup(&name);
                    out.push_str(&self.or_empty(&name, value));
                }
                _ => {
                    return Err(
                        self.fail("a lone \"$\": write \"$$\" for a dollar sign, or \"${NAME}\" for a variable")
                    );
                }
            }
        }
        match end {
            Some(_) => Err(self.fail("\"${\" without its \"}\"")),
            None => Ok(out),
        }
    }

    fn braced(&mut self) -> Result<String, ComposeError> {
        let name = self.name();
        if name.is_empty() {
            return Err(self.fail("\"${\" needs a variable's name: letters, digits and \"_\""));
        }
        let value = self.lookup(&name);
        let colon = self.eat(':');
        let operator = self.peek();
        if operator == Some('}') && !colon {
            self.at += 1;
            return Ok(self.or_empty(&name, value));
        }
        // With a colon an empty value counts as unset.
        let set = value.as_ref().is_some_and(|v| !colon || !v.is_empty());
        let operator = operator.filter(|o| matches!(o, '-' | '?' | '+')).ok_or_else(|| {
            self.fail(&format!(
                "\"${{{name}\" is followed by neither \"}}\" nor one of \":-\" \"-\" \":?\" \"?\" \":+\" \"+\""
            ))
        })?;
        self.at += 1;
        let live = self.live;
        self.live = live && (set == (operator == '+'));
        let word = self.until(Some('}'));
        self.live = live;
        let word = word?;
        self.at += 1;
        match operator {
            '-' if set => Ok(value.unwrap_or_default()),
            '-' => Ok(word),
            '+' if set => Ok(word),
            '+' => Ok(String::new()),
            _ if set || !self.live => Ok(value.unwrap_or_default()),
            _ => {
                let reason = if word.is_empty() { String::new() } else { format!(": {word}") };
                Err(self.fail(&format!(
                    "the variable {name} is required{reason}; set it in the shell, in .env, or with --env-file"
                )))
            }
        }
    }

    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let length = rest
            .char_indices()
            .find(|(at, c)| !(c.is_ascii_alphanumeric() || *c == '_') || (*at == 0 && c.is_ascii_digit()))
            .map_or(rest.len(), |(at, _)| at);
        self.at += length;
        rest[..length].to_owned()
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        if self.live {
            self.noticed.used.insert(name.to_owned());
        }
        self.variables.get(name)
    }

    fn or_empty(&mut self, name: &str, value: Option<String>) -> String {
        value.unwrap_or_else(|| {
            if self.live {
                let warning = Warning {
                    at: Some(self.place.0.clone()),
                    key: self.place.1.to_owned(),
                    text: format!("the variable {name} is not set: an empty string stands in"),
                };
                if !self.noticed.warnings.contains(&warning) {
                    self.noticed.warnings.push(warning);
                }
            }
            String::new()
        })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn fail(&self, problem: &str) -> ComposeError {
        ComposeError::invalid(self.place.0, self.place.1, format!("{problem} (in {:?})", self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(text: &str) -> Result<(String, Noticed), String> {
        let variables = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut noticed = Noticed::default();
        let mut node = Node::text(text, &Position { file: "f".into(), line: 7, column: 1 });
        interpolate(&mut node, "services.web.image", &variables, &mut noticed).map_err(|e| e.to_string())?;
        Ok((node.as_text().expect("text").to_owned(), noticed))
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$SET-x", "value-x"),
            ("${SET}x", "valuex"),
            ("$$SET", "$SET"),
            ("$${SET}", "${SET}"),
            ("${SET:-d}", "value"),
            ("${UNSET:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${UNSET-d}", "d"),
            ("${SET:+o}", "o"),
            ("${EMPTY:+o}", ""),
            ("${EMPTY+o}", "o"),
            ("${UNSET+o}", ""),
            ("${SET:?e}", "value"),
            ("${EMPTY?e}", ""),
            ("${UNSET:-${SET}}", "value"),
            ("${UNSET:-a${UNSET:-b}c}", "abc"),
            ("${SET:-${UNSET:?never}}", "value"),
            ("${UNSET:-http://x:80/?a=$$1}", "http://x:80/?a=$1"),
            ("한글 $SET 글", "한글 value 글"),
        ] {
            assert_eq!(replace(text).map(|r| r.0).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_unset_variable_is_empty_and_warned_of_once() {
        let (text, noticed) = replace("a${UNSET}b$UNSET").expect("fine");
        assert_eq!(text, "ab");
        assert_eq!(noticed.warnings.len(), 1);
        assert!(noticed.warnings[0].to_string().starts_with("f:7:1: services.web.image: the variable UNSET"));
    }

    #[test]
    fn a_required_variable_is_named_with_its_place() {
        for text in ["${UNSET:?set me}", "${UNSET?set me}", "${EMPTY:?set me}"] {
            let error = replace(text).expect_err(text);
            assert!(error.contains("f:7:1: services.web.image") && error.contains("set me"), "{error}");
        }
    }

    #[test]
    fn malformed_substitutions_are_refused() {
        for text in ["$", "a $ b", "${", "${}", "${SET", "${SET:}", "${SET!x}", "${1}", "$1"] {
            replace(text).expect_err(text);
        }
    }
}
