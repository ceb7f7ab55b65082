//! Owners as they are kept: a short text, a fraction of the JSON that clients are shown.
//!
//! Owners say little in many words: the names of fields, most of which are names of built-in types. Each of those is two
//! letters here, by its place in a list of words that only ever grows; what is not in the list is written out. The text
//! needs no escapes in JSON, begins with the length of what is shown for it (lists announce theirs), and is shown without
//! building anything. Refused: general compression, which costs more than it saves on texts of this size, and a table of
//! the sets that are in use, which every server over one store would have to share.
//!
//! ```text
//! owners = length ";" entry*          length of the JSON, in bytes
//! entry  = ("A" | "U") manager "|" apiVersion "|" subresource "|" time "|" step* "!"
//! step   = word below                 word: two letters, or "~" text "|"
//! below  = "" | "{" step* "}" | "[" step* "]"      "[": the place itself belongs to the set as well
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::entry::Entry;
use super::set::FieldSet;

/// The words, one a line. Kept owners say them by their place: words are added at the end, and never change or go.
const WORDS: &str = include_str!("words.txt");
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct Words {
    words: Vec<&'static str>,
    /// Each as a JSON key: with quotes and escapes.
    keys: Vec<Box<[u8]>>,
    places: HashMap<&'static str, usize>,
}

static BOOK: LazyLock<Words> = LazyLock::new(|| {
    let words: Vec<&'static str> = WORDS.lines().collect();
    Words {
        keys: words.iter().map(|word| quoted(word).into_boxed_slice()).collect(),
        places: words.iter().enumerate().map(|(place, word)| (*word, place)).collect(),
        words,
    }
});

fn quoted(text: &str) -> Vec<u8> {
    // Text cannot fail to become JSON.
    serde_json::to_vec(text).unwrap_or_default()
}

// === writing ===

/// The short form of entries.
pub(super) fn write(entries: &[Entry]) -> String {
    let mut body = String::with_capacity(256);
    for entry in entries {
        body.push(if entry.applied { 'A' } else { 'U' });
        for text in [&entry.manager, &entry.api_version, &entry.subresource, &entry.time] {
            literal(&mut body, text);
        }
        steps(&mut body, &entry.fields);
        body.push('!');
    }
    let mut length = 0;
    shown(&body, &mut |piece: &[u8]| length += piece.len());
    format!("{length};{body}")
}

fn steps(out: &mut String, set: &FieldSet) {
    for (step, below) in &set.below {
        match BOOK.places.get(&**step) {
            Some(place) => {
                out.push(char::from(LETTERS[place / 64]));
                out.push(char::from(LETTERS[place % 64]));
            }
            None => {
                out.push('~');
                literal(out, step);
            }
        }
        if !below.below.is_empty() {
            let (open, close) = if below.own { ('[', ']') } else { ('{', '}') };
            out.push(open);
            steps(out, below);
            out.push(close);
        }
    }
}

/// Text up to a bar, without anything that JSON would escape. Quotes are common in keys of lists: they stay one letter.
fn literal(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push('\''),
            '\'' | '\\' | '|' | '%' => out.push_str(&format!("%{:02X}", u32::from(c))),
            c if c.is_ascii_control() => out.push_str(&format!("%{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('|');
}

// === reading ===

/// A short form that is being read.
struct Reader<'c> {
    rest: &'c [u8],
}

/// What comes next among the steps of a set.
enum Token<'c> {
    Word(usize),
    Text(&'c [u8]),
    Open(bool),
    Close,
    End,
}

impl<'c> Reader<'c> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The raw text up to the next bar.
    fn text(&mut self) -> Option<&'c [u8]> {
        let end = memchr::memchr(b'|', self.rest)?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(text)
    }

    fn token(&mut self) -> Option<Token<'c>> {
        Some(match self.byte()? {
            b'!' => Token::End,
            b'}' | b']' => Token::Close,
            b'{' => Token::Open(false),
            b'[' => Token::Open(true),
            b'~' => Token::Text(self.text()?),
            high => Token::Word(letter(high)? * 64 + letter(self.byte()?)?),
        })
    }
}

fn letter(byte: u8) -> Option<usize> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(usize::from(value))
}

/// Undoes [`literal`].
fn plain(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    if !text.contains(['%', '\'']) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => out.push('"'),
            '%' => {
                let digits = [rest.next()?.to_digit(16)?, rest.next()?.to_digit(16)?];
                out.push(char::from_u32(digits[0] * 16 + digits[1])?);
            }
            c => out.push(c),
        }
    }
    Some(Cow::Owned(out))
}

/// The entries of a short form; `None` when it is none.
pub(super) fn read(code: &str) -> Option<Vec<Entry>> {
    let (_, body) = code.split_once(';')?;
    let mut reader = Reader { rest: body.as_bytes() };
    let mut entries = Vec::new();
    while let Some(operation) = reader.byte() {
        let mut text = || Some(plain(reader.text()?)?.into_owned());
        let (manager, api_version, subresource, time) = (text()?, text()?, text()?, text()?);
        let fields = read_set(&mut reader)?;
        entries.push(Entry { manager, applied: operation == b'A', api_version, subresource, time, fields });
    }
    Some(entries)
}

fn read_set(reader: &mut Reader<'_>) -> Option<FieldSet> {
    let mut set = FieldSet::default();
    let mut last = None;
    loop {
        let step: Cow<'static, str> = match reader.token()? {
            Token::Close | Token::End => return Some(set),
            Token::Open(own) => {
                let mut below = read_set(reader)?;
                below.own = own;
                set.below.insert(last.take()?, below);
                continue;
            }
            Token::Word(place) => Cow::Borrowed(*BOOK.words.get(place)?),
            Token::Text(raw) => Cow::Owned(plain(raw)?.into_owned()),
        };
        // Of no use to a leaf, and replaced when something lies below.
        set.below.insert(step.clone(), FieldSet::leaf());
        last = Some(step);
    }
}

// === showing ===

/// How long the JSON of a short form is, in bytes.
pub fn shown_len(code: &str) -> usize {
    code.split_once(';').and_then(|(length, _)| length.parse().ok()).unwrap_or(0)
}

/// Hands out the JSON of a short form, piece by piece.
pub fn show(code: &str, out: &mut impl FnMut(&[u8])) {
    shown(code.split_once(';').map_or("", |(_, body)| body), out);
}

fn shown(body: &str, out: &mut impl FnMut(&[u8])) {
    out(b"[");
    let mut reader = Reader { rest: body.as_bytes() };
    let mut first = true;
    while let Some(operation) = reader.byte() {
        if !std::mem::take(&mut first) {
            out(b",");
        }
        // Only this module writes it, whole; were it broken, what is shown ends there.
        if show_entry(&mut reader, operation, out).is_none() {
            break;
        }
    }
    out(b"]");
}

fn show_entry(reader: &mut Reader<'_>, operation: u8, out: &mut impl FnMut(&[u8])) -> Option<()> {
    let (manager, api_version, subresource, time) = (reader.text()?, reader.text()?, reader.text()?, reader.text()?);
    out(b"{\"manager\":");
    show_text(manager, out);
    out(b",\"operation\":");
    let word: &[u8] = if operation == b'A' { b"\"Apply\"" } else { b"\"Update\"" };
    out(word);
    out(b",\"apiVersion\":");
    show_text(api_version, out);
    out(b",\"time\":");
    show_text(time, out);
    out(b",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{");
    let whole = show_set(reader, out);
    out(b"}");
    if !subresource.is_empty() {
        out(b",\"subresource\":");
        show_text(subresource, out);
    }
    out(b"}");
    whole
}

fn show_set(reader: &mut Reader<'_>, out: &mut impl FnMut(&[u8])) -> Option<()> {
    // Whether a step was written whose value is still open, and whether one came before in the same object.
    let (mut leaf, mut first) = (false, true);
    let mut depth = 0_usize;
    let result = loop {
        match reader.token() {
            None => break None,
            Some(Token::End) => break Some(()),
            Some(Token::Open(own)) => {
                let opened: &[u8] = if own { b"{\".\":{}" } else { b"{" };
                out(opened);
                (leaf, first) = (false, !own);
                depth += 1;
            }
            Some(Token::Close) => {
                let closed: &[u8] = if leaf { b"{}}" } else { b"}" };
                out(closed);
                (leaf, first) = (false, false);
                depth = depth.saturating_sub(1);
            }
            Some(step) => {
                if leaf {
                    out(b"{}");
                }
                if !first {
                    out(b",");
                }
                match step {
                    Token::Word(place) => out(BOOK.keys.get(place).map_or(&b"\"\""[..], |key| &key[..])),
                    Token::Text(raw) => show_text(raw, out),
                    _ => {}
                }
                out(b":");
                (leaf, first) = (true, false);
            }
        }
    };
    if leaf {
        out(b"{}");
    }
    (0..depth).for_each(|_| out(b"}"));
    result
}

fn show_text(raw: &[u8], out: &mut impl FnMut(&[u8])) {
    if raw.iter().any(|b| matches!(b, b'%' | b'\'')) {
        out(&quoted(&plain(raw).unwrap_or_default()));
    } else {
        out(b"\"");
        out(raw);
        out(b"\"");
    }
}
