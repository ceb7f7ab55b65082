//! The numbers of fields: the only thing about types that the table of facts does not tell.
//!
//! `numbers.txt` has a line a type, in packages: `<number><field>`, with `?` where Go has a pointer (so that a zero in it
//! was meant) and `*` where the fields of another type of the package lie in a message of their own, though they belong to
//! the object itself. It is made from the field tags of the API's Go types.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a field's number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A field; `true` if a zero in it was meant.
    Field(&'static str, bool),
    /// The fields of this type (in the same package) belong to the object itself.
    Inline(&'static str),
}

/// The fields of a type in order of their numbers.
#[derive(Debug)]
pub(crate) struct Message(Vec<(u64, Slot)>);

static NUMBERS: LazyLock<HashMap<String, Message>> = LazyLock::new(|| parse(include_str!("numbers.txt")));

// === impl Message ===

impl Message {
    /// The message of a type by its full name.
    pub(crate) fn of(name: &str) -> Option<&'static Message> {
        NUMBERS.get(name)
    }

    /// The message of another type of the same package.
    pub(crate) fn beside(name: &str, part: &str) -> Option<&'static Message> {
        let package = name.rsplit_once('.').map_or("", |(package, _)| package);
        Message::of(&format!("{package}.{part}"))
    }

    pub(crate) fn slot(&self, number: u64) -> Option<Slot> {
        let at = self.0.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.0[at].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Slot)> {
        self.0.iter().copied()
    }
}

fn parse(table: &'static str) -> HashMap<String, Message> {
    let mut messages = HashMap::new();
    let mut package = "";
    for line in table.lines() {
        let mut words = line.split(' ');
        let Some(first) = words.next() else { continue };
        if first == "package" {
            package = words.next().unwrap_or_default();
            continue;
        }
        let mut slots: Vec<(u64, Slot)> = words.filter_map(slot).collect();
        slots.sort_by_key(|(number, _)| *number);
        messages.insert(format!("{package}.{first}"), Message(slots));
    }
    messages
}

fn slot(word: &'static str) -> Option<(u64, Slot)> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = word.split_at(digits);
    let slot = match (rest.strip_prefix('*'), rest.strip_suffix('?')) {
        (Some(part), _) => Slot::Inline(part),
        (_, Some(field)) => Slot::Field(field, true),
        _ => Slot::Field(rest, false),
    };
    Some((number.parse().ok()?, slot))
}

#[cfg(test)]
mod tests {
    use naru_api::Registry;
    use naru_api::schema::{Shape, TypeId, Types};

    use super::*;

    /// The names of all fields, with those of parts.
    fn names(of: &str) -> Vec<&'static str> {
        let Some(message) = Message::of(of) else { return Vec::new() };
        let each = message.iter().flat_map(|(_, slot)| match slot {
            Slot::Field(name, _) => vec![name],
            Slot::Inline(part) => {
                let package = of.rsplit_once('.').map_or("", |(package, _)| package);
                names(&format!("{package}.{part}"))
            }
        });
        each.collect()
    }

    #[test]
    fn every_field_of_every_type_has_a_number() {
        let types = Types::builtin();
        for (id, of) in types.iter() {
            // Our own kinds have no form in protobuf; a few types are written by hand, or are only ever JSON.
            let by_hand = matches!(of.name.rsplit('.').next(), Some("WatchEvent" | "GroupResource"));
            if id == TypeId::OPEN || of.any || of.name.starts_with("io.naru.") || by_hand {
                continue;
            }
            let known = names(&of.name);
            for field in of.fields.iter().filter(|f| !matches!(f.name.as_ref(), "apiVersion" | "kind")) {
                assert!(known.contains(&field.name.as_ref()), "{}.{}", of.name, field.name);
            }
        }
    }

    #[test]
    fn no_number_stands_twice_and_parts_are_there() {
        for (name, message) in NUMBERS.iter() {
            let numbers: Vec<u64> = message.iter().map(|(number, _)| number).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            for (_, slot) in message.iter() {
                if let Slot::Inline(part) = slot
                    && Types::builtin().find(name).is_some()
                {
                    assert!(Message::beside(name, part).is_some(), "{name} {part}");
                }
            }
        }
    }

    #[test]
    fn every_kind_can_be_written() {
        for kind in Registry::builtin().iter().filter(|kind| kind.group != "naru.io") {
            let schema = kind.schema();
            assert!(Message::of(&schema.root().name).is_some(), "{}", kind.group_kind());
            // Objects hold nothing that has no form.
            assert!(!matches!(schema.root().field("metadata").map(|f| &f.shape), Some(Shape::Any) | None));
        }
    }
}
