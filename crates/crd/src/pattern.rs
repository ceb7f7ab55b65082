//! Patterns as Go reads them.
//!
//! Both engines take time in proportion to the text, but they differ in three points: what `\d`, `\w`, `\s` and `\b`
//! mean beyond ASCII, a bracket inside brackets, and doubled signs inside brackets. A pattern is rewritten so that it means
//! here what its author saw it mean there.

use regex::{Regex, RegexBuilder};

/// How large a compiled pattern may be, in bytes.
const LARGEST: usize = 1 << 20;

/// A compiled pattern together with its own words.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(crate) fn compile(text: &str) -> Result<Pattern, String> {
        let built = RegexBuilder::new(&translate(text)).size_limit(LARGEST).build();
        match built {
            Ok(regex) => Ok(Pattern { text: text.into(), regex }),
            Err(error) => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
                Err(format!("error parsing regexp: {last}: `{text}`"))
            }
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut letters = text.chars().peekable();
    // Where brackets began in `out`; a `]` as their first letter is one like any other.
    let mut bracket: Option<usize> = None;
    while let Some(letter) = letters.next() {
        match (letter, bracket) {
            ('\\', inside) => {
                let Some(next) = letters.next() else {
                    out.push('\\');
                    break;
                };
                match class(next, inside.is_some()) {
                    Some(class) => out.push_str(class),
                    None => out.extend(['\\', next]),
                }
            }
            ('[', None) => {
                out.push('[');
                if letters.peek() == Some(&'^') {
                    letters.next();
                    out.push('^');
                }
                bracket = Some(out.len());
            }
            ('[', Some(_)) if letters.peek() == Some(&':') => out.push('['),
            ('[', Some(_)) => out.push_str("\\["),
            (']', Some(begin)) if out.len() == begin => out.push_str("\\]"),
            (']', Some(begin)) if out[begin..].ends_with(':') && out[begin..].contains("[:") => {
                // The end of `[:alpha:]`.
                out.push(']');
                // Whatever follows belongs to the outer brackets, which are no longer at their first letter.
                bracket = Some(begin.saturating_sub(1));
            }
            (']', Some(_)) => {
                out.push(']');
                bracket = None;
            }
            // Doubled, they would be operations on sets.
            ('&' | '~', Some(_)) => out.extend(['\\', letter]),
            (letter, _) => out.push(letter),
        }
    }
    out
}

/// What a class of letters is, in ASCII.
fn class(letter: char, inside: bool) -> Option<&'static str> {
    Some(match (letter, inside) {
        ('d', false) => "[0-9]",
        ('D', false) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('W', false) => "[^0-9A-Za-z_]",
        ('s', false) => "[\\t\\n\\x0C\\r ]",
        ('S', false) => "[^\\t\\n\\x0C\\r ]",
        ('d', true) => "[:digit:]",
        ('D', true) => "[:^digit:]",
        ('w', true) => "[:word:]",
        ('W', true) => "[:^word:]",
        ('s', true) => "[:space:]",
        ('S', true) => "[:^space:]",
        ('b', false) => "(?-u:\\b)",
        ('z', false) => "\\z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "१२", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[\w.-]+$", "é", false),
            (r"^[^\s]+$", "ab", true),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "web-1", true),
            (r"^[[]x[]]$", "[x]", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]+$", "b", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^[[:alpha:]]+[0-9]$", "ab1", true),
            (r"^[&&x]+$", "&x", true),
            (r"^(\*|a)$", "*", true),
            (r"^[\[\]]+$", "[]", true),
            (r"^.{2,3}$", "äöü", true),
            ("", "anything", true),
        ] {
            let compiled = Pattern::compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(compiled.matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_said_so() {
        for pattern in ["(", "[a", "a{2,1}", "(?=a)", r"(a)\1", "((((a{100}){100}){100}){100})"] {
            let error = Pattern::compile(pattern).expect_err(pattern);
            assert!(error.contains(pattern), "{error}");
        }
    }
}
