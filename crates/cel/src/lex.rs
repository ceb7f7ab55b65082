//! Text to words.

use std::sync::Arc;

use crate::Value;
use crate::error::Problem;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Name(Arc<str>),
    /// A field between backticks.
    Quoted(Arc<str>),
    Literal(Literal),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    /// Without a sign, which belongs to the expression.
    Int(u64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

impl Literal {
    pub fn value(self, negative: bool) -> Option<Value> {
        Some(match self {
            Literal::Int(value) if negative => Value::Int(i64::try_from(-i128::from(value)).ok()?),
            Literal::Int(value) => Value::Int(i64::try_from(value).ok()?),
            Literal::Uint(value) => Value::Uint(value),
            Literal::Double(value) => Value::Double(if negative { -value } else { value }),
            Literal::String(text) => Value::String(text),
            Literal::Bytes(bytes) => Value::Bytes(bytes),
        })
    }
}

/// Longest first, so that none hides another.
const SIGNS: [&str; 28] = [
    "[?", "==", "!=", "<=", ">=", "&&", "||", ".?", "{?", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", "(", ")",
    "[", "]", "{", "}", ",", ".", "=",
];

/// The words of a text, each with where it begins.
pub(crate) fn lex(text: &str) -> Result<Vec<(usize, Token)>, Problem> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let at = lexer.at;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((at, token));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']).len();
            self.at += blank;
            if !self.rest().starts_with("//") {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn fail<T>(&self, at: usize, what: impl Into<String>) -> Result<T, Problem> {
        Err(Problem::new(at, format!("Syntax error: {}", what.into())))
    }

    fn token(&mut self) -> Result<Token, Problem> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        if let Some(literal) = self.quoted()? {
            return Ok(Token::Literal(literal));
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let rest = self.rest();
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += end;
            return Ok(Token::Name(rest[..end].into()));
        }
        let fraction = first == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() || fraction {
            return self.number();
        }
        if first == '`' {
            let rest = &self.rest()[1..];
            let Some(end) = rest.find('`') else { return self.fail(self.at, "a name in backticks has no end") };
            self.at += end + 2;
            return Ok(Token::Quoted(rest[..end].into()));
        }
        match SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => self.fail(self.at, format!("token recognition error at: '{first}'")),
        }
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let (start, rest) = (self.at, self.rest());
        let range = |at| Problem::new(at, "Syntax error: invalid number: it is too large".to_owned());
        if let Some(digits) = rest.strip_prefix("0x") {
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            let value = u64::from_str_radix(&digits[..end], 16).map_err(|_| range(start))?;
            self.at += 2 + end;
            return Ok(self.whole(value));
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let whole = digits(rest);
        let mut end = whole;
        let fraction = rest[end..].strip_prefix('.').map(digits).filter(|count| *count > 0);
        end += fraction.map_or(0, |count| count + 1);
        let exponent = rest[end..].strip_prefix(['e', 'E']).and_then(|text| {
            let sign = usize::from(text.starts_with(['+', '-']));
            let count = digits(&text[sign..]);
            (count > 0).then_some(1 + sign + count)
        });
        end += exponent.unwrap_or(0);
        self.at += end;
        if fraction.is_some() || exponent.is_some() {
            let value = rest[..end].parse().map_err(|_| range(start))?;
            return Ok(Token::Literal(Literal::Double(value)));
        }
        let value = rest[..whole].parse().map_err(|_| range(start))?;
        Ok(self.whole(value))
    }

    fn whole(&mut self, value: u64) -> Token {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return Token::Literal(Literal::Uint(value));
        }
        Token::Literal(Literal::Int(value))
    }

    /// A text or bytes, when one begins here.
    fn quoted(&mut self) -> Result<Option<Literal>, Problem> {
        let rest = self.rest();
        let prefix = rest.find(|c: char| !"rRbB".contains(c)).unwrap_or(rest.len());
        let marks = rest[..prefix].to_ascii_lowercase();
        if !["", "r", "b", "rb", "br"].contains(&&*marks) || !rest[prefix..].starts_with(['"', '\'']) {
            return Ok(None);
        }
        let (raw, bytes) = (marks.contains('r'), marks.contains('b'));
        let body = &rest[prefix..];
        let quote = &body[..1];
        let triple = quote.repeat(3);
        let delimiter = if body.starts_with(&*triple) { &*triple } else { quote };
        let start = self.at;
        self.at += prefix + delimiter.len();
        let mut out: Vec<u8> = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(delimiter) {
                self.at += delimiter.len();
                break;
            }
            let Some(next) = rest.chars().next() else { return self.fail(start, "a text has no end") };
            if next == '\n' && delimiter.len() == 1 {
                return self.fail(start, "a text has no end on its line");
            }
            self.at += next.len_utf8();
            if next == '\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else {
                if next == '\\' && raw && self.rest().starts_with(delimiter) && delimiter.len() == 1 {
                    // In a raw text the mark stays, and the quote does not end it.
                    out.push(b'\\');
                    out.extend_from_slice(delimiter.as_bytes());
                    self.at += 1;
                    continue;
                }
                out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if bytes {
            return Ok(Some(Literal::Bytes(out.into())));
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(Some(Literal::String(text.into()))),
            Err(_) => self.fail(start, "the text is not valid UTF-8"),
        }
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        let start = self.at - 1;
        let Some(kind) = self.peek() else { return self.fail(start, "a text has no end") };
        self.at += kind.len_utf8();
        let simple = match kind {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '?' | '"' | '\'' | '`' => Some(kind as u8),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            return Ok(());
        }
        let (radix, digits) = match kind {
            'x' | 'X' => (16, self.take(2)),
            'u' if !bytes => (16, self.take(4)),
            'U' if !bytes => (16, self.take(8)),
            '0'..='3' => {
                self.at -= 1;
                (8, self.take(3))
            }
            _ => return self.fail(start, format!("\\{kind} is no escape sequence")),
        };
        let code = digits.and_then(|text| u32::from_str_radix(text, radix).ok());
        let Some(code) = code else { return self.fail(start, "an escape sequence lacks digits") };
        if bytes {
            out.push(code as u8);
            return Ok(());
        }
        match char::from_u32(code) {
            Some(letter) => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            None => return self.fail(start, "an escape sequence names no character"),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Option<&'a str> {
        let text = self.rest().get(..count)?;
        self.at += count;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Token {
        let tokens = lex(text).unwrap();
        assert_eq!(tokens.len(), 2, "{tokens:?}");
        tokens[0].1.clone()
    }

    #[test]
    fn literals() {
        assert_eq!(one("42"), Token::Literal(Literal::Int(42)));
        assert_eq!(one("0xFF"), Token::Literal(Literal::Int(255)));
        assert_eq!(one("42u"), Token::Literal(Literal::Uint(42)));
        assert_eq!(one("1.5e3"), Token::Literal(Literal::Double(1500.0)));
        assert_eq!(one(".5"), Token::Literal(Literal::Double(0.5)));
        assert_eq!(one(r#""a\n\x41\u00e9\101""#), Token::Literal(Literal::String("a\nAéA".into())));
        assert_eq!(one(r#"r"a\n""#), Token::Literal(Literal::String("a\\n".into())));
        assert_eq!(one("'''it's\nfine'''"), Token::Literal(Literal::String("it's\nfine".into())));
        assert_eq!(one(r"b'\xff'"), Token::Literal(Literal::Bytes([0xff].into())));
        assert_eq!(one("`a-b`"), Token::Quoted("a-b".into()));
    }

    #[test]
    fn what_is_no_word_is_refused_where_it_stands() {
        for (text, at) in [("a # b", 2), ("'a", 0), ("'a\nb'", 0), (r"'\q'", 1), ("99999999999999999999", 0)] {
            assert_eq!(lex(text).unwrap_err().at, at, "{text}");
        }
        assert_eq!(lex("1 // 2\n").unwrap().len(), 2, "comments are skipped");
    }
}
