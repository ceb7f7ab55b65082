//! Words to expressions, macros expanded. A descent by precedence; depth is bounded, since expressions come from users.

use std::sync::Arc;

use crate::Value;
use crate::ast::{Element, Entry, Expr, ExprKind, Fold, FoldKind, Member};
use crate::error::Problem;
use crate::lex::{Literal, Token, lex};

/// How deep expressions may lie in one another, also in a row: `a + b + c` is two deep.
const DEPTH: usize = 250;
/// Words that no variable can have as its name.
const RESERVED: [&str; 22] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
    "__result__",
];
const RELATIONS: [&str; 6] = ["<", "<=", ">=", ">", "==", "!="];

pub(crate) fn parse(text: &str) -> Result<Expr, Problem> {
    let mut parser = Parser { tokens: lex(text)?, next: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => parser.unexpected("<EOF>"),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Expr, Problem>;

fn expr(at: usize, kind: ExprKind) -> Expr {
    Expr::new(at, kind)
}

fn call(at: usize, function: &str, args: Vec<Expr>) -> Expr {
    expr(at, ExprKind::Call { function: function.into(), target: None, args })
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].1.clone();
        // The last one is the end, which stays.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn accept(&mut self, sign: &'static str) -> bool {
        let there = *self.peek() == Token::Sign(sign);
        if there {
            self.take();
        }
        there
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Problem> {
        if self.accept(sign) { Ok(()) } else { self.unexpected(&format!("'{sign}'")) }
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, Problem> {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Name(name) | Token::Quoted(name) => name.to_string(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Literal(Literal::Int(value)) => value.to_string(),
            Token::Literal(Literal::String(text)) => format!("{text:?}"),
            Token::Literal(_) => "a literal".to_owned(),
        };
        Err(Problem::new(self.at(), format!("Syntax error: mismatched input '{found}' expecting {wanted}")))
    }

    fn too_deep<T>(&self) -> Result<T, Problem> {
        Err(Problem::new(self.at(), format!("expression recursion limit exceeded: {DEPTH}")))
    }

    /// A row is read in a loop and would otherwise grow without bounds.
    fn bounded(&self, left: Expr) -> Parsed {
        if left.depth > DEPTH { self.too_deep() } else { Ok(left) }
    }

    fn expr(&mut self) -> Parsed {
        self.depth += 1;
        // What is read again and again on the way down takes more of the stack than what is read in a row.
        if self.depth > DEPTH / 4 {
            return self.too_deep();
        }
        let test = self.or()?;
        let at = self.at();
        let parsed = if self.accept("?") {
            let then = Box::new(self.or()?);
            self.expect(":")?;
            let otherwise = Box::new(self.expr()?);
            expr(at, ExprKind::Conditional { test: Box::new(test), then, otherwise })
        } else {
            test
        };
        self.depth -= 1;
        Ok(parsed)
    }

    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        loop {
            let at = self.at();
            if !self.accept("||") {
                return Ok(left);
            }
            left = self.bounded(left)?;
            left = expr(at, ExprKind::Or(Box::new(left), Box::new(self.and()?)));
        }
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.relation()?;
        loop {
            let at = self.at();
            if !self.accept("&&") {
                return Ok(left);
            }
            left = self.bounded(left)?;
            left = expr(at, ExprKind::And(Box::new(left), Box::new(self.relation()?)));
        }
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let at = self.at();
            let function = match self.peek() {
                Token::Sign(sign) if RELATIONS.contains(sign) => format!("_{sign}_"),
                Token::Name(name) if &**name == "in" => "@in".to_owned(),
                _ => return Ok(left),
            };
            self.take();
            left = call(at, &function, vec![self.bounded(left)?, self.sum()?]);
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        while let Token::Sign(sign @ ("+" | "-")) = *self.peek() {
            let at = self.at();
            self.take();
            left = call(at, &format!("_{sign}_"), vec![self.bounded(left)?, self.product()?]);
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        while let Token::Sign(sign @ ("*" | "/" | "%")) = *self.peek() {
            let at = self.at();
            self.take();
            left = call(at, &format!("_{sign}_"), vec![self.bounded(left)?, self.unary()?]);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        let Token::Sign(sign @ ("!" | "-")) = *self.peek() else { return self.member() };
        let mut count = 0;
        while self.accept(sign) {
            count += 1;
        }
        // The least number has no positive counterpart, so its sign is read with it.
        if sign == "-"
            && count % 2 == 1
            && let Token::Literal(literal @ (Literal::Int(_) | Literal::Double(_))) = self.peek().clone()
        {
            self.take();
            let value = self.literal(at, literal, true)?;
            return self.members(value);
        }
        let operand = self.member()?;
        let function = if sign == "!" { "!_" } else { "-_" };
        Ok(if count % 2 == 1 { call(at, function, vec![operand]) } else { operand })
    }

    fn literal(&self, at: usize, literal: Literal, negative: bool) -> Parsed {
        match literal.value(negative) {
            Some(value) => Ok(expr(at, ExprKind::Literal(value))),
            None => Err(Problem::new(at, "Syntax error: invalid int literal: it is too large".to_owned())),
        }
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut operand: Expr) -> Parsed {
        loop {
            let at = self.at();
            operand = self.bounded(operand)?;
            operand = match self.peek() {
                Token::Sign(sign @ ("." | ".?")) => {
                    let optional = *sign == ".?";
                    self.take();
                    let optional = optional || self.accept("?");
                    let field = self.field()?;
                    if !optional && self.accept("(") {
                        let args = self.arguments(")")?;
                        self.member_call(at, operand, &field, args)?
                    } else {
                        expr(at, ExprKind::Select { operand: Box::new(operand), field, optional })
                    }
                }
                Token::Sign(sign @ ("[" | "[?")) => {
                    let optional = *sign == "[?";
                    self.take();
                    let optional = optional || self.accept("?");
                    let index = Box::new(self.expr()?);
                    self.expect("]")?;
                    expr(at, ExprKind::Index { operand: Box::new(operand), index, optional })
                }
                Token::Sign(sign @ ("{" | "{?")) => match qualified(&operand) {
                    Some(name) => {
                        let optional = *sign == "{?";
                        self.take();
                        let fields = self.object(optional)?;
                        expr(operand.at, ExprKind::Object { name: name.into(), fields })
                    }
                    None => return self.unexpected("<EOF>"),
                },
                _ => return Ok(operand),
            };
        }
    }

    /// The fields of an object, behind the name of its type.
    fn object(&mut self, mut optional: bool) -> Result<Vec<Member>, Problem> {
        let mut fields = Vec::new();
        optional = optional || self.accept("?");
        loop {
            if !optional && self.accept("}") {
                break;
            }
            let name = self.field()?;
            let at = self.at();
            self.expect(":")?;
            fields.push(Member { at, name, value: self.expr()?, optional });
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
            optional = self.accept("?");
        }
        Ok(fields)
    }

    fn field(&mut self) -> Result<Arc<str>, Problem> {
        match self.peek().clone() {
            Token::Name(name) | Token::Quoted(name) => {
                self.take();
                Ok(name)
            }
            _ => self.unexpected("IDENTIFIER"),
        }
    }

    fn arguments(&mut self, end: &'static str) -> Result<Vec<Expr>, Problem> {
        let mut args = Vec::new();
        while !self.accept(end) {
            args.push(self.expr()?);
            if !self.accept(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        match self.take() {
            Token::Literal(literal) => self.literal(at, literal, false),
            Token::Sign("(") => {
                let inner = self.expr()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(at, false),
            // `[?x` is read as one sign.
            Token::Sign("[?") => self.list(at, true),
            Token::Sign("{") => self.map(at, false),
            Token::Sign("{?") => self.map(at, true),
            Token::Sign(".") => match self.peek() {
                Token::Name(_) => self.primary(),
                _ => self.unexpected("IDENTIFIER"),
            },
            Token::Name(name) => self.named(at, name),
            _ => {
                self.next = self.next.saturating_sub(usize::from(*self.peek() != Token::End || self.at() != at));
                self.unexpected("{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', a literal, IDENTIFIER}")
            }
        }
    }

    fn named(&mut self, at: usize, name: Arc<str>) -> Parsed {
        let constant = match &*name {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => None,
        };
        if let Some(value) = constant {
            return Ok(expr(at, ExprKind::Literal(value)));
        }
        if RESERVED.contains(&&*name) {
            return Err(Problem::new(at, format!("Syntax error: reserved identifier: {name}")));
        }
        if !self.accept("(") {
            return Ok(expr(at, ExprKind::Name(name)));
        }
        let args = self.arguments(")")?;
        if &*name == "has" {
            return has(at, args);
        }
        Ok(call(at, &name, args))
    }

    fn list(&mut self, at: usize, mut optional: bool) -> Parsed {
        let mut items = Vec::new();
        optional = optional || self.accept("?");
        loop {
            if !optional && self.accept("]") {
                break;
            }
            items.push(Element { value: self.expr()?, optional });
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
            optional = self.accept("?");
        }
        Ok(expr(at, ExprKind::List(items)))
    }

    fn map(&mut self, at: usize, mut optional: bool) -> Parsed {
        let mut entries = Vec::new();
        optional = optional || self.accept("?");
        loop {
            if !optional && self.accept("}") {
                break;
            }
            let key = self.expr()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
            optional = self.accept("?");
        }
        Ok(expr(at, ExprKind::Map(entries)))
    }

    /// A member function, or one of the macros.
    fn member_call(&self, at: usize, target: Expr, function: &Arc<str>, mut args: Vec<Expr>) -> Parsed {
        let fold = |kind, count: usize| {
            let variables = match kind {
                FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => count - 1,
                FoldKind::Filter => 1,
                FoldKind::List if &**function == "map" => 1,
                _ => 2,
            };
            Some((kind, variables))
        };
        let is_cel = matches!(&target.kind, ExprKind::Name(name) if &**name == "cel");
        let known = match (&**function, args.len()) {
            ("all", 2 | 3) => fold(FoldKind::All, args.len()),
            ("exists", 2 | 3) => fold(FoldKind::Exists, args.len()),
            ("exists_one" | "existsOne", 2 | 3) => fold(FoldKind::ExistsOne, args.len()),
            ("map", 2 | 3) => fold(FoldKind::List, args.len()),
            ("filter", 2) => fold(FoldKind::Filter, args.len()),
            ("transformList", 3 | 4) => fold(FoldKind::List, args.len()),
            ("transformMap", 3 | 4) => fold(FoldKind::Values, args.len()),
            ("transformMapEntry", 3 | 4) => fold(FoldKind::Entries, args.len()),
            ("bind", 3) if is_cel => {
                let (body, value) = (args.pop(), args.pop());
                let (Some(body), Some(value)) = (body, value) else { return self.unexpected("arguments") };
                let name = simple_name(&args[0])?;
                return Ok(expr(at, ExprKind::Bind { name, value: Box::new(value), body: Box::new(body) }));
            }
            ("optMap" | "optFlatMap", 2) => {
                let Some(body) = args.pop() else { return self.unexpected("arguments") };
                let (name, flat) = (simple_name(&args[0])?, &**function == "optFlatMap");
                let kind = ExprKind::OptMap { target: Box::new(target), name, body: Box::new(body), flat };
                return Ok(expr(at, kind));
            }
            _ => None,
        };
        let Some((kind, variables)) = known else {
            let kind = ExprKind::Call { function: function.clone(), target: Some(Box::new(target)), args };
            return Ok(expr(at, kind));
        };
        let first = simple_name(&args[0])?;
        let second = if variables == 2 { Some(simple_name(&args[1])?) } else { None };
        let mut rest = args.split_off(variables);
        let Some(body) = rest.pop() else { return self.unexpected("arguments") };
        let filter = rest.pop();
        let fold = Fold { kind, range: target, first, second, filter, body };
        Ok(expr(at, ExprKind::Fold(Box::new(fold))))
    }
}

fn has(at: usize, mut args: Vec<Expr>) -> Parsed {
    match (args.pop(), args.is_empty()) {
        (Some(Expr { kind: ExprKind::Select { operand, field, optional: false }, .. }), true) => {
            Ok(expr(at, ExprKind::Has { operand, field }))
        }
        _ => Err(Problem::new(at, "invalid argument to has() macro".to_owned())),
    }
}

fn simple_name(expr: &Expr) -> Result<Arc<str>, Problem> {
    match &expr.kind {
        ExprKind::Name(name) => Ok(name.clone()),
        _ => Err(Problem::new(expr.at, "argument must be a simple name".to_owned())),
    }
}

/// A name with dots, when that is all an expression is.
pub(crate) fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(name) => Some(name.to_string()),
        ExprKind::Select { operand, field, optional: false } => Some(format!("{}.{field}", qualified(operand)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_where_they_are() {
        for (text, at) in [
            ("1 +", 3),
            ("(1", 2),
            ("a.b.", 4),
            ("a ? b", 5),
            ("[1, 2", 5),
            ("for", 0),
            ("x.all(1, true)", 6),
            ("has(x)", 0),
            ("1 2", 2),
        ] {
            let problem = parse(text).unwrap_err();
            assert_eq!(problem.at, at, "{text}: {}", problem.what);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
        assert!(parse(&deep).unwrap_err().what.contains("recursion"));
        assert!(parse(&vec!["1"; 200].join(" + ")).is_ok());
        for link in [" + ", " && ", " == ", " * ", ".f()."] {
            let chain = vec!["x"; 50_000].join(link);
            assert!(parse(&chain).unwrap_err().what.contains("recursion"), "{link}");
        }
    }
}
