//! YAML as a tree that remembers where each value stands, and the merge tags `!reset` and `!override`.
//!
//! Scalars keep their text: whether `0644`, `yes` or `1.10` is a number, a flag or a string depends on the key it
//! belongs to, so nothing is decided before the key is known. (A reader that types scalars first turns the version
//! `1.10` into `1.1` and the country `NO` into `false`.)

use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::{ComposeError, Position};

/// The most nodes a file may have once its aliases are expanded: far above any real project, far below what an alias
/// bomb makes.
const MOST_NODES: usize = 500_000;
/// The deepest nesting read.
const MOST_DEPTH: usize = 100;

/// What a tag says of merging a value onto the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeTag {
    /// `!reset`: the earlier value goes.
    Reset,
    /// `!override`: this value replaces the earlier one, as a whole.
    Override,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: may be null, a number or a flag.
    Plain,
    /// Quoted or a block: a string, though numbers and flags are read from it where a key wants them.
    Quoted,
}

/// A value's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// A scalar, as text.
    Scalar(String, Style),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file. Keys are unique.
    Map(Vec<(Name, Node)>),
}

/// A key of a map and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// The key.
    pub text: String,
    /// Where.
    pub at: Position,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Content.
    pub tree: Tree,
    /// Where it begins.
    pub at: Position,
    /// How it merges, when it says so.
    pub tag: Option<MergeTag>,
}

impl Node {
    /// A string at `at`.
    pub fn text(text: impl Into<String>, at: &Position) -> Self {
        Self { tree: Tree::Scalar(text.into(), Style::Quoted), at: at.clone(), tag: None }
    }

    /// A null at `at`.
    pub fn null(at: &Position) -> Self {
        Self { tree: Tree::Scalar(String::new(), Style::Plain), at: at.clone(), tag: None }
    }

    /// A map at `at`.
    pub fn map(entries: Vec<(Name, Node)>, at: &Position) -> Self {
        Self { tree: Tree::Map(entries), at: at.clone(), tag: None }
    }

    /// A list at `at`.
    pub fn list(items: Vec<Node>, at: &Position) -> Self {
        Self { tree: Tree::List(items), at: at.clone(), tag: None }
    }

    /// A plain null.
    pub fn is_null(&self) -> bool {
        matches!(&self.tree, Tree::Scalar(text, Style::Plain) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar that is not null.
    pub fn as_text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Scalar(text, _) if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// A flag: the words of YAML 1.1 that Compose's reader takes.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    /// A whole number: decimal, `0x`, `0o`, or octal with a leading zero where it is not quoted (file modes).
    pub fn as_int(&self) -> Option<i64> {
        let text = self.as_text()?.trim();
        let plain = matches!(&self.tree, Tree::Scalar(_, Style::Plain));
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let number = if let Some(hex) = digits.strip_prefix("0x") {
            i64::from_str_radix(hex, 16)
        } else if let Some(octal) = digits.strip_prefix("0o") {
            i64::from_str_radix(octal, 8)
        } else if plain && digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
            i64::from_str_radix(digits, 8)
        } else {
            digits.replace('_', "").parse()
        };
        number.ok().map(|n| sign * n)
    }

    /// Permission bits: a quoted text is octal whether or not it begins with a zero, as Compose's reader has it.
    pub fn as_mode(&self) -> Option<i64> {
        let mode = match &self.tree {
            Tree::Scalar(text, Style::Quoted) => {
                let digits = text.trim();
                i64::from_str_radix(digits.strip_prefix("0o").unwrap_or(digits), 8).ok()
            }
            _ => self.as_int(),
        };
        mode.filter(|bits| (0..=0o7777).contains(bits))
    }

    /// A number.
    pub fn as_float(&self) -> Option<f64> {
        let text = self.as_text()?.trim();
        text.parse().ok().filter(|n: &f64| n.is_finite())
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.tree {
            Tree::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&[(Name, Node)]> {
        match &self.tree {
            Tree::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key` in a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(name, _)| name.text == key).map(|(_, value)| value)
    }

    /// The value of `key` in a map, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.tree {
            Tree::Map(entries) => entries.iter_mut().find(|(name, _)| name.text == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Sets `key` of a map, in its old place or at the end.
    pub fn set(&mut self, key: &str, value: Node) {
        if let Some(old) = self.get_mut(key) {
            *old = value;
        } else if let Tree::Map(entries) = &mut self.tree {
            entries.push((Name { text: key.to_owned(), at: value.at.clone() }, value));
        }
    }

    /// Takes `key` out of a map.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        match &mut self.tree {
            Tree::Map(entries) => {
                let at = entries.iter().position(|(name, _)| name.text == key)?;
                Some(entries.remove(at).1)
            }
            _ => None,
        }
    }

    /// What kind of value this is, for messages.
    pub fn describe(&self) -> String {
        match &self.tree {
            Tree::List(_) => "a list".to_owned(),
            Tree::Map(_) => "a map".to_owned(),
            Tree::Scalar(..) if self.is_null() => "nothing".to_owned(),
            Tree::Scalar(text, _) => format!("{text:?}"),
        }
    }
}

/// Reads every document of `text`, which came from `file`.
///
/// # Errors
/// When the text is not YAML, has a duplicate or non-scalar key, nests too deeply, or grows too large by aliases.
pub fn parse(file: &str, text: &str) -> Result<Vec<Node>, ComposeError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), file: file.into(), anchors: Vec::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(..), _) => {
                reader.anchors.clear();
                let (event, span) = reader.next()?;
                if matches!(event, Event::DocumentEnd) {
                    continue;
                }
                documents.push(reader.node(event, span, 0)?);
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    file: Arc<str>,
    /// Anchored nodes by the parser's number.
    anchors: Vec<(usize, Node)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ComposeError> {
        let next = loop {
            // Comments are events too, wherever they stand; they say nothing to us.
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                other => break other,
            }
        };
        match next {
            Some(Ok((event, span))) => Ok((event, span)),
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                let at = Position { file: self.file.clone(), line: line as u32, column: column as u32 };
                Err(ComposeError::Yaml { at, problem: error.info().to_string() })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn position(&self, span: &Span) -> Position {
        Position { file: self.file.clone(), line: span.start.line() as u32, column: span.start.col() as u32 + 1 }
    }

    fn fail(&self, at: &Position, problem: impl Into<String>) -> ComposeError {
        ComposeError::Yaml { at: at.clone(), problem: problem.into() }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, ComposeError> {
        let at = self.position(&span);
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(self.fail(&at, format!("more than {MOST_NODES} values: do aliases repeat themselves?")));
        }
        if depth > MOST_DEPTH {
            return Err(self.fail(&at, format!("nested more than {MOST_DEPTH} levels deep")));
        }
        let (node, anchor) = match event {
            Event::Alias(id) => return self.alias(id, at, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                let tagged_text = tag.as_ref().is_some_and(|t| t.core_suffix() == Some("str"));
                let style = if tagged_text { Style::Quoted } else { style };
                let tag = self.merge_tag(tag.as_deref(), &at)?;
                (Node { tree: Tree::Scalar(text.into_owned(), style), at, tag }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = self.merge_tag(tag.as_deref(), &at)?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (Node { tree: Tree::List(items), at, tag }, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = self.merge_tag(tag.as_deref(), &at)?;
                (Node { tree: Tree::Map(self.entries(depth)?), at, tag }, anchor)
            }
            other => return Err(self.fail(&at, format!("unexpected {other:?}"))),
        };
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, at: Position, depth: usize) -> Result<Node, ComposeError> {
        let Some(node) = self.anchors.iter().rev().find(|(known, _)| *known == id).map(|(_, node)| node.clone()) else {
            return Err(self.fail(&at, "an alias to a value that contains it, or that comes later"));
        };
        let (count, height) = extent(&node);
        self.nodes += count;
        if self.nodes > MOST_NODES {
            return Err(self.fail(&at, format!("more than {MOST_NODES} values: do aliases repeat themselves?")));
        }
        // Each alias to an alias would lie deeper than all that is written.
        if depth + height > MOST_DEPTH {
            return Err(
                self.fail(&at, format!("nested more than {MOST_DEPTH} levels deep, with what aliases stand for"))
            );
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Name, Node)>, ComposeError> {
        let mut entries: Vec<(Name, Node)> = Vec::new();
        let mut merged: Vec<(Name, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let Tree::Scalar(text, style) = key.tree else {
                return Err(self.fail(&key.at, "a key must be a simple word"));
            };
            let name = Name { text, at: key.at };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if name.text == "<<" && style == Style::Plain {
                self.merge_key(&mut merged, value)?;
                continue;
            }
            if let Some((first, _)) = entries.iter().find(|(known, _)| known.text == name.text) {
                let problem = format!("the key {:?} stands here twice, first at line {}", name.text, first.at.line);
                return Err(self.fail(&name.at, problem));
            }
            entries.push((name, value));
        }
        merged.retain(|(name, _)| !entries.iter().any(|(known, _)| known.text == name.text));
        merged.append(&mut entries);
        Ok(merged)
    }

    /// `<<: *a` or `<<: [*a, *b]`: what comes earlier wins (YAML 1.1 merge keys).
    fn merge_key(&self, into: &mut Vec<(Name, Node)>, value: Node) -> Result<(), ComposeError> {
        let maps = match value.tree {
            Tree::Map(_) => vec![value],
            Tree::List(items) => items,
            Tree::Scalar(..) => return Err(self.fail(&value.at, "`<<` expects a map or a list of maps")),
        };
        for map in maps {
            let Tree::Map(entries) = map.tree else {
                return Err(self.fail(&map.at, "`<<` expects a map or a list of maps"));
            };
            for (name, node) in entries {
                if !into.iter().any(|(known, _)| known.text == name.text) {
                    into.push((name, node));
                }
            }
        }
        Ok(())
    }

    fn merge_tag(&self, tag: Option<&granit_parser::Tag>, at: &Position) -> Result<Option<MergeTag>, ComposeError> {
        match tag {
            None => Ok(None),
            Some(tag) if tag.is_yaml_core_schema() => Ok(None),
            Some(tag) => match tag.original().as_str() {
                "!reset" => Ok(Some(MergeTag::Reset)),
                "!override" => Ok(Some(MergeTag::Override)),
                other => Err(self.fail(at, format!("unknown tag {other:?}: expected !reset or !override"))),
            },
        }
    }
}

/// How many values a tree has, and how deep they lie below it.
fn extent(node: &Node) -> (usize, usize) {
    let below = |nodes: &mut dyn Iterator<Item = &Node>| {
        nodes.map(extent).fold((1, 0), |(count, height), (inner, deep)| (count + inner, height.max(deep + 1)))
    };
    match &node.tree {
        Tree::Scalar(..) => (1, 0),
        Tree::List(items) => below(&mut items.iter()),
        Tree::Map(entries) => below(&mut entries.iter().map(|(_, value)| value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        parse("f.yaml", text).expect("YAML").remove(0)
    }

    #[test]
    fn values_keep_their_place_and_text() {
        let node = one("services:\n  web:\n    image: nginx:1.10\n    mode: 0644\n    quoted: \"0644\"\n");
        let web = node.get("services").and_then(|s| s.get("web")).expect("web");
        let image = web.get("image").expect("image");
        assert_eq!((image.as_text(), image.at.line, image.at.column), (Some("nginx:1.10"), 3, 12));
        assert_eq!(web.get("mode").and_then(Node::as_int), Some(0o644));
        assert_eq!(web.get("quoted").and_then(Node::as_int), Some(644));
    }

    #[test]
    fn comments_may_stand_anywhere() {
        let text = "# first\n---\n# before\na: 1 # after a value\nb: # after a key\n  # below a key\n  c: [1, # in a list\n    # between\n    2] # after it\n  d: {e: 1, # in a map\n    f: 2}\n# between\nl:\n  # before an item\n  - x # after an item\n  # last\n# end\n";
        let node = one(text);
        let c = node.get("b").and_then(|b| b.get("c")).and_then(Node::as_list).expect("a list");
        assert_eq!(c.len(), 2);
        assert_eq!(node.get("b").and_then(|b| b.get("d")).and_then(|d| d.get("f")).and_then(Node::as_int), Some(2));
        assert_eq!(node.get("l").and_then(Node::as_list).map(<[_]>::len), Some(1));
    }

    #[test]
    fn anchors_and_merge_keys_expand() {
        let node = one("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\n");
        let y = node.get("y").expect("y");
        assert_eq!(y.get("a").and_then(Node::as_int), Some(1));
        assert_eq!(y.get("b").and_then(Node::as_int), Some(3));
        assert_eq!(node.get("z").and_then(|z| z.get("b")).and_then(Node::as_int), Some(2));
    }

    #[test]
    fn tags_of_merging_are_kept_and_others_refused() {
        let node = one("a: !reset null\nb: !override [1]\n");
        assert_eq!(node.get("a").expect("a").tag, Some(MergeTag::Reset));
        assert_eq!(node.get("b").expect("b").tag, Some(MergeTag::Override));
        let error = parse("f.yaml", "a: !env X\n").expect_err("unknown").to_string();
        assert!(error.starts_with("f.yaml:1:"), "{error}");
    }

    #[test]
    fn faults_name_their_line() {
        for (text, place) in
            [("a: 1\na: 2\n", "f.yaml:2:1"), ("a: [1\nb: 2\n", "f.yaml:2:"), ("? [a]\n: b\n", "f.yaml:1:")]
        {
            let error = parse("f.yaml", text).expect_err(text).to_string();
            assert!(error.contains(place), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","));
        }
        let error = parse("f.yaml", &text).expect_err("a bomb").to_string();
        assert!(error.contains("aliases"), "{error}");
        parse("f.yaml", &"[".repeat(5_000)).expect_err("too deep");
    }

    #[test]
    fn a_recursive_alias_is_refused() {
        parse("f.yaml", "a: &a [*a]\n").expect_err("recursive");
    }
}
