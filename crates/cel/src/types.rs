//! Types, and how a call finds the function that takes its arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type as expressions know it.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Known when it is evaluated.
    Dyn,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// Signed numbers.
    Int,
    /// Unsigned numbers.
    Uint,
    /// Floating-point numbers.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// Points in time.
    Timestamp,
    /// Lengths of time.
    Duration,
    /// Types themselves.
    Type,
    /// Lists of one type.
    List(Arc<Type>),
    /// Maps.
    Map(Arc<Type>, Arc<Type>),
    /// Objects with known fields.
    Object(Arc<ObjectType>),
    /// Objects with whatever fields, told apart by their name.
    Named(Arc<str>),
    /// Values that may be missing.
    Optional(Arc<Type>),
    /// Values of a library.
    Opaque(&'static str),
}

/// An object's fields. Names are as expressions write them (see [`escape`]).
#[derive(Debug, PartialEq)]
pub struct ObjectType {
    /// What error messages call it.
    pub name: String,
    /// Its fields; others do not exist.
    pub fields: BTreeMap<String, Type>,
}

impl Type {
    /// A list of this type.
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }

    /// A map to this type.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    /// A value of this type that may be missing.
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// Whether a value of type `other` can be used where this one is wanted: they are the same, or one of them is only
    /// known when it is evaluated.
    pub fn accepts(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a.accepts(b),
            (Type::Map(a, x), Type::Map(b, y)) => a.accepts(b) && x.accepts(y),
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            // Objects, times and opaque values may be null.
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (a, b) => a == b,
        }
    }

    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Type::Null | Type::Object(_) | Type::Named(_) | Type::Timestamp | Type::Duration | Type::Opaque(_)
        )
    }

    /// The type of a value that has one of two types.
    pub fn either(&self, other: &Type) -> Type {
        if self == other {
            return self.clone();
        }
        match (self, other) {
            (Type::List(a), Type::List(b)) => Type::list(a.either(b)),
            (Type::Map(a, x), Type::Map(b, y)) => Type::map(a.either(b), x.either(y)),
            (Type::Optional(a), Type::Optional(b)) => Type::optional(a.either(b)),
            (Type::Null, nullable) | (nullable, Type::Null) if Type::Null.accepts(nullable) => nullable.clone(),
            _ => Type::Dyn,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Type => f.write_str("type"),
            Type::List(of) => write!(f, "list({of})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Named(name) => f.write_str(name),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Opaque(name) => f.write_str(name),
        }
    }
}

/// A type in a function's signature.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sig {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    Type,
    Opaque(&'static str),
    /// The same type wherever the letter stands.
    Any(u8),
    List(&'static Sig),
    Map(&'static Sig, &'static Sig),
    Optional(&'static Sig),
}

/// What letters of a signature stand for in one call.
#[derive(Default)]
pub(crate) struct Bound([Option<Type>; 2]);

impl Sig {
    /// Whether an argument of this type fits, and what its letters then are.
    pub fn fits(&self, argument: &Type, bound: &mut Bound) -> bool {
        match (self, argument) {
            (Sig::Dyn, _) => true,
            (Sig::Any(letter), _) => {
                let slot = &mut bound.0[usize::from(*letter)];
                match slot {
                    Some(known) if !known.accepts(argument) => false,
                    Some(known) => {
                        *slot = Some(known.either(argument));
                        true
                    }
                    None => {
                        *slot = Some(argument.clone());
                        true
                    }
                }
            }
            (_, Type::Dyn) => true,
            (Sig::List(of), Type::List(inner)) | (Sig::Optional(of), Type::Optional(inner)) => of.fits(inner, bound),
            (Sig::Map(key, value), Type::Map(inner, other)) => key.fits(inner, bound) && value.fits(other, bound),
            // An object with named fields is a map for functions that take any.
            _ => self.resolve(bound) == *argument,
        }
    }

    /// The type, with its letters replaced.
    pub fn resolve(&self, bound: &Bound) -> Type {
        match self {
            Sig::Dyn => Type::Dyn,
            Sig::Bool => Type::Bool,
            Sig::Int => Type::Int,
            Sig::Uint => Type::Uint,
            Sig::Double => Type::Double,
            Sig::String => Type::String,
            Sig::Bytes => Type::Bytes,
            Sig::Timestamp => Type::Timestamp,
            Sig::Duration => Type::Duration,
            Sig::Type => Type::Type,
            Sig::Opaque(name) => Type::Opaque(name),
            Sig::Any(letter) => bound.0[usize::from(*letter)].clone().unwrap_or(Type::Dyn),
            Sig::List(of) => Type::list(of.resolve(bound)),
            Sig::Map(key, value) => Type::map(key.resolve(bound), value.resolve(bound)),
            Sig::Optional(of) => Type::optional(of.resolve(bound)),
        }
    }
}

/// Words of the language, which nothing can be called.
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// How a property's name is written in expressions, as Kubernetes has it: what cannot stand in a name is spelled out,
/// and words of the language are set between underscores. `None` for names that cannot be written.
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            escaped.push_str("__underscores__");
            rest = after;
            continue;
        }
        match letter {
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            'a'..='z' | 'A'..='Z' | '_' => escaped.push(letter),
            '0'..='9' if !escaped.is_empty() => escaped.push(letter),
            _ => return None,
        }
        rest = &rest[letter.len_utf8()..];
    }
    (!escaped.is_empty()).then_some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_kubernetes_escapes_them() {
        for (name, expected) in [
            ("foo", Some("foo")),
            ("namespace", Some("__namespace__")),
            ("x-prop", Some("x__dash__prop")),
            ("redact__d", Some("redact__underscores__d")),
            ("string", Some("string")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("1a", None),
            ("a b", None),
        ] {
            assert_eq!(escape(name).as_deref(), expected, "{name}");
        }
    }
}
