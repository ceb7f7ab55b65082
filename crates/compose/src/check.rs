//! A file held against the table of keys: unknown keys, wrong types, refused keys, each with its place.

use crate::error::ComposeError;
use crate::spec::{Class, Key, Type};
use crate::units::{Size, Span};
use crate::yaml::{MergeTag, Name, Node};

/// Every fault of `node`, which should be a `ty`; `path` is its key's path.
pub(crate) fn check(node: &Node, ty: &Type, path: &str, faults: &mut Vec<ComposeError>) {
    if node.tag == Some(MergeTag::Reset) || node.is_null() {
        return;
    }
    let mut wrong = |expected: &str| {
        let problem = format!("expected {expected}, found {}", node.describe());
        faults.push(ComposeError::invalid(&node.at, path, problem));
    };
    match ty {
        Type::Any => {}
        Type::Text if node.as_text().is_none() => wrong("a text"),
        Type::Flag if node.as_bool().is_none() => wrong("true or false"),
        Type::Int if node.as_int().is_none() => wrong("a whole number"),
        Type::Mode if node.as_mode().is_none() => wrong("permission bits such as 0440"),
        Type::Number if node.as_float().is_none() => wrong("a number"),
        Type::Bytes if node.as_text().and_then(Size::parse).is_none() => wrong("a size such as 64m or 1g"),
        Type::Duration if node.as_text().and_then(Span::parse).is_none() => wrong("a time span such as 1m30s or 500ms"),
        Type::Word(words) if !node.as_text().is_some_and(|w| words.contains(&w)) => {
            wrong(&format!("one of {}", words.join(", ")));
        }
        Type::Text
        | Type::Flag
        | Type::Int
        | Type::Mode
        | Type::Number
        | Type::Bytes
        | Type::Duration
        | Type::Word(_) => {}
        Type::TextOrList | Type::Command | Type::HealthTest => match node.as_list() {
            Some(items) => check_items(items, &Type::Text, path, faults),
            None if node.as_text().is_some() => {}
            None => wrong("a text or a list of texts"),
        },
        Type::List(inner) => match node.as_list() {
            Some(items) => check_items(items, inner, path, faults),
            None => wrong("a list"),
        },
        Type::Map(inner) => match node.as_map() {
            Some(entries) => {
                for (name, value) in entries.iter().filter(|(name, _)| !name.text.starts_with("x-")) {
                    check(value, inner, &join(path, &name.text), faults);
                }
            }
            None => wrong("a map"),
        },
        Type::MapOrAssignments => match (node.as_map(), node.as_list()) {
            (Some(entries), _) => {
                for (name, value) in entries {
                    check(value, &Type::Text, &join(path, &name.text), faults);
                }
            }
            (_, Some(items)) => check_items(items, &Type::Text, path, faults),
            _ => wrong("a map, or a list of KEY=VALUE"),
        },
        Type::Object(keys) => match node.as_map() {
            Some(entries) => check_object(entries, keys, path, faults),
            None => wrong("a map"),
        },
        Type::Either(short, long) => {
            let ty = if matches(node, short) { short } else { long };
            check(node, ty, path, faults);
        }
    }
}

/// Whether a value has the outer form of a type: decides between a short and a long form.
pub(crate) fn matches(node: &Node, ty: &Type) -> bool {
    match ty {
        Type::List(_) => node.as_list().is_some(),
        Type::Map(_) | Type::Object(_) => node.as_map().is_some(),
        Type::TextOrList | Type::Command | Type::HealthTest => node.as_map().is_none(),
        Type::MapOrAssignments | Type::Any => true,
        Type::Either(short, long) => matches(node, short) || matches(node, long),
        _ => node.as_text().is_some(),
    }
}

fn check_items(items: &[Node], ty: &Type, path: &str, faults: &mut Vec<ComposeError>) {
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        if item.is_null() {
            faults.push(ComposeError::invalid(&item.at, path, "an empty item: remove it, or quote it if it is meant"));
        } else {
            check(item, ty, &path, faults);
        }
    }
}

fn check_object(entries: &[(Name, Node)], keys: &[Key], path: &str, faults: &mut Vec<ComposeError>) {
    for (name, value) in entries.iter().filter(|(name, _)| !name.text.starts_with("x-")) {
        let path = join(path, &name.text);
        match keys.iter().find(|key| key.name == name.text) {
            None => faults.push(ComposeError::invalid(&name.at, path, unknown(&name.text, keys))),
            Some(key) => match key.class {
                Class::Refused(why) if !value.is_null() && value.tag != Some(MergeTag::Reset) => {
                    faults.push(ComposeError::invalid(&name.at, path, format!("not supported: {why}")));
                }
                _ => check(value, &key.ty, &path, faults),
            },
        }
    }
}

/// `path.key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn unknown(name: &str, keys: &[Key]) -> String {
    let nearest = keys.iter().map(|key| (distance(name, key.name), key.name)).min();
    match nearest {
        Some((steps, key)) if steps <= 2.max(name.len() / 4) => format!("unknown key: did you mean {key:?}?"),
        _ => {
            let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
            names.sort_unstable();
            if names.len() > 30 {
                "unknown key: docs/compose.md lists the keys; keys of your own begin with \"x-\"".to_owned()
            } else {
                format!(
                    "unknown key: expected one of {}, or a key of your own that begins with \"x-\"",
                    names.join(", ")
                )
            }
        }
    }
}

/// How many letters must change to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::FILE;

    fn faults(text: &str) -> Vec<String> {
        let node = crate::yaml::parse("compose.yaml", text).expect("YAML").remove(0);
        let mut faults = Vec::new();
        check(&node, &FILE, "", &mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_has_no_faults() {
        let text = "
name: shop
x-mine: {anything: [1]}
services:
  web:
    image: web
    ports: [80, \"8080:80\", {target: 80, published: 8080}]
    environment: {A: 1, B: null, C: yes}
    healthcheck: {test: curl -f localhost, interval: 1m30s, retries: 3}
    deploy: {replicas: 3, resources: {limits: {cpus: '0.5', memory: 64m}}}
    depends_on: {db: {condition: service_healthy}}
    x-note: hello
  db:
volumes:
  data:
";
        assert_eq!(faults(text), Vec::<String>::new());
    }

    #[test]
    fn each_fault_names_place_and_way_out() {
        for (text, expected) in [
            (
                "services: {web: {imag: x}}",
                "compose.yaml:1:18: services.web.imag: unknown key: did you mean \"image\"?",
            ),
            ("services: [web]", "compose.yaml:1:11: services: expected a map, found a list"),
            ("services: {web: {tty: maybe}}", "expected true or false, found \"maybe\""),
            ("services: {web: {mem_limit: lots}}", "expected a size such as 64m or 1g"),
            ("services: {web: {gpus: all}}", "services.web.gpus: not supported: no device inventory yet"),
            ("services: {web: {deploy: {mode: sometimes}}}", "expected one of replicated, global"),
            ("services: {web: {ports: [[80]]}}", "services.web.ports[0]: expected a map, found a list"),
            ("services: {web: {command: [a, ]}}\nvolume: {}", "volume: unknown key: did you mean \"volumes\"?"),
        ] {
            let all = faults(text).join("\n");
            assert!(all.contains(expected), "{text}: {all}");
        }
    }

    #[test]
    fn all_faults_are_found_at_once() {
        assert_eq!(faults("services: {a: {x: 1}, b: {tty: x}}\nq: 1").len(), 3);
    }
}
