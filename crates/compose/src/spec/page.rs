//! The reference page, made from the table so that it cannot fall behind.

use std::fmt::Write;

use super::{Class, Key, TOP, Type};

/// `docs/compose.md`: every key with its class.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Compose keys\n\n<!-- Made from the table in crates/compose/src/spec by `make docs`; edit that instead. -->\n\n\
         Every key of the Compose specification stands in one of three classes: it **works**; it works but **differs** \
         from Docker Compose (the note says how); it is **refused**: a project that uses it is not started, and the \
         message names file, line and key. Keys that begin with `x-` are allowed everywhere and kept.\n",
    );
    section(&mut page, "Top level", "", TOP);
    page
}

fn section(page: &mut String, title: &str, prefix: &str, keys: &[Key]) {
    let _ = write!(page, "\n## {title}\n\n| key | class | note |\n|---|---|---|\n");
    let mut later = Vec::new();
    for key in keys {
        let (class, note) = match key.class {
            Class::Works => ("works", ""),
            Class::Differs(how) => ("differs", how),
            Class::Refused(why) => ("refused", why),
        };
        let path = format!("{prefix}{}", key.name);
        let _ = writeln!(page, "| `{path}` | {class} | {} |", note.replace('|', "\\|"));
        if !matches!(key.class, Class::Refused(_))
            && let Some(inner) = object(&key.ty)
        {
            later.push((path, inner));
        }
    }
    for (path, inner) in later {
        let title = match path.as_str() {
            "services" => "Services".to_owned(),
            _ => format!("`{path}`"),
        };
        let prefix = if path == "services" { String::new() } else { format!("{path}.") };
        section(page, &title, &prefix, inner);
    }
}

fn object(ty: &Type) -> Option<&'static [Key]> {
    match ty {
        Type::Object(keys) => Some(keys),
        Type::List(inner) | Type::Map(inner) => object(inner),
        Type::Either(short, long) => object(long).or_else(|| object(short)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_this_table() {
        let crate_dir = std::env::var("CARGO_MANIFEST_DIR").expect("run by cargo");
        let path = &format!("{crate_dir}/../../docs/compose.md");
        if std::env::var_os("NARU_WRITE_DOCS").is_some() {
            std::fs::write(path, reference_page()).expect("write docs/compose.md");
        }
        let written = std::fs::read_to_string(path).expect("docs/compose.md");
        assert!(written == reference_page(), "docs/compose.md is not the table's: run `make docs`");
    }
}
