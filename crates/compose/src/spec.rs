//! The one table of every key of the Compose specification: its type and its class. The loader checks files against
//! it, and `docs/compose.md` is made from it ([`reference_page`]).
//!
//! Source: the Compose specification (its schema of October 2025: 9 top-level keys, 92 service keys).

mod build;
mod deploy;
mod page;
mod resources;
mod service;

pub use page::reference_page;

/// What a value may be. Null always means "not set".
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Any scalar, read as text.
    Text,
    /// true or false.
    Flag,
    /// A whole number.
    Int,
    /// Permission bits: octal where it is quoted, else as YAML reads it (`0440` is octal).
    Mode,
    /// A number.
    Number,
    /// Bytes: a number, or a number with b, k, kb, m, mb, g, gb.
    Bytes,
    /// A time span: `1m30s`, `500ms`.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list.
    List(&'static Type),
    /// A text, or a list of texts.
    TextOrList,
    /// A command: a text that is split into words as a shell would, or a list of words.
    Command,
    /// A health test: a text for the shell, or a list that begins with NONE, CMD or CMD-SHELL.
    HealthTest,
    /// A map with any keys.
    Map(&'static Type),
    /// A map of scalars, or a list of `KEY=VALUE`.
    MapOrAssignments,
    /// A map with these keys, and `x-*`.
    Object(&'static [Key]),
    /// The first type is the short form, the second the long one.
    Either(&'static Type, &'static Type),
    /// Anything.
    Any,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It does what the specification says.
    Works,
    /// It works, otherwise than in Docker Compose: says how.
    Differs(&'static str),
    /// A project that uses it is refused: says why and what to use instead.
    Refused(&'static str),
}

/// A key of a map.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Its class.
    pub class: Class,
}

const fn works(name: &'static str, ty: Type) -> Key {
    Key { name, ty, class: Class::Works }
}

const fn differs(name: &'static str, ty: Type, how: &'static str) -> Key {
    Key { name, ty, class: Class::Differs(how) }
}

const fn refused(name: &'static str, ty: Type, why: &'static str) -> Key {
    Key { name, ty, class: Class::Refused(why) }
}

/// The whole file.
pub const FILE: Type = Type::Object(TOP);

/// The top-level keys.
pub const TOP: &[Key] = &[
    differs("version", Type::Text, "ignored with a notice, as Docker Compose does"),
    differs(
        "name",
        Type::Text,
        "names the namespace that holds the project; letters that a namespace cannot have are replaced, and the name as written is kept in the label naru.io/project",
    ),
    works("include", Type::List(&Type::Either(&Type::Text, &Type::Object(INCLUDE)))),
    works("services", Type::Map(&Type::Object(service::SERVICE))),
    works("networks", Type::Map(&Type::Object(resources::NETWORK))),
    works("volumes", Type::Map(&Type::Object(resources::VOLUME))),
    works("configs", Type::Map(&Type::Object(resources::CONFIG))),
    works("secrets", Type::Map(&Type::Object(resources::SECRET))),
    refused(
        "models",
        Type::Map(&Type::Any),
        "no model runner is built in: run the model as a service and pass its URL in `environment`",
    ),
];

const INCLUDE: &[Key] =
    &[works("path", Type::TextOrList), works("env_file", Type::TextOrList), works("project_directory", Type::Text)];

/// The keys of a service.
pub const SERVICE: &[Key] = service::SERVICE;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn duplicates(keys: &[Key], path: &str) {
        let mut seen = BTreeSet::new();
        for key in keys {
            assert!(seen.insert(key.name), "{path}.{} stands twice", key.name);
            walk(&key.ty, &format!("{path}.{}", key.name));
        }
    }

    fn walk(ty: &Type, path: &str) {
        match ty {
            Type::Object(keys) => duplicates(keys, path),
            Type::List(inner) | Type::Map(inner) => walk(inner, path),
            Type::Either(short, long) => {
                walk(short, path);
                walk(long, path);
            }
            _ => {}
        }
    }

    #[test]
    fn every_key_stands_once() {
        duplicates(TOP, "");
    }

    #[test]
    fn the_whole_specification_is_classed() {
        assert_eq!(TOP.len(), 9);
        assert_eq!(SERVICE.len(), 92);
    }
}
