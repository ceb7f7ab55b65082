//! Names: Compose allows capitals, dots and underscores, object names do not.

/// A DNS label for `name`. A name that is one stays; another is made one, with a short digest of the original so that
/// `a_b` and `a-b` do not meet. The original is kept beside it (in a label or title), so the way back is known.
pub fn object_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = !name.is_empty()
        && name.len() <= 58
        && name.chars().all(fits)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        return name.to_owned();
    }
    let lower = name.to_ascii_lowercase();
    let clean: String = lower.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let stem: String = clean.trim_matches('-').chars().take(48).collect();
    let stem = stem.trim_end_matches('-');
    let digest = digest(name.as_bytes());
    if stem.is_empty() { format!("x-{}", &digest[..8]) } else { format!("{stem}-{}", &digest[..6]) }
}

/// A label value for `name`: itself where it is one, else its object name.
pub fn label_value(name: &str) -> String {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let valid = name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if valid { name.to_owned() } else { object_name(name) }
}

/// Whether `key` can be the key of an annotation: `[prefix/]name`.
pub(super) fn is_annotation_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let word = |text: &str, extra: &str, most: usize| {
        let inner = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
        !text.is_empty()
            && text.len() <= most
            && text.chars().all(inner)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    word(name, "-_.", 63) && prefix.is_none_or(|p| word(p, "-.", 253) && p == p.to_ascii_lowercase())
}

/// Hex of SHA-256.
pub(super) fn digest(bytes: &[u8]) -> String {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay_and_others_never_meet() {
        for name in ["web", "a-1", "9"] {
            assert_eq!(object_name(name), name);
        }
        let long = "x".repeat(70);
        let made: Vec<String> =
            ["a_b", "a.b", "A-b", "a-b", "_", "-a", "웹", &long].into_iter().map(object_name).collect();
        let distinct: std::collections::BTreeSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), made.len(), "{made:?}");
        for name in &made {
            assert!(name.len() <= 58 && object_name(name) == *name, "{name}");
        }
    }

    #[test]
    fn labels_keep_what_they_can() {
        assert_eq!(label_value("my_Shop.1"), "my_Shop.1");
        assert_ne!(label_value("_x"), "_x");
        assert!(is_annotation_key("traefik.http.rule") && is_annotation_key("a.b/c") && !is_annotation_key("a b"));
    }
}
