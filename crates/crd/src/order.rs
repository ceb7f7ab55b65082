//! Which version clients should use.

use std::cmp::Ordering;

/// Orders versions by how much they are to be preferred: stable ones first, then betas, then alphas, of each the newest
/// first; names that are no such versions come last, by their text.
pub fn version_order(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
    .then_with(|| a.cmp(b))
}

/// How stable (2 is stable), and the numbers.
fn parse(text: &str) -> Option<(u8, u64, u64)> {
    let rest = text.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    if major.starts_with('0') {
        return None;
    }
    let major = major.parse().ok()?;
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (level, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (0, minor),
        _ => return None,
    };
    let plain = !minor.is_empty() && !minor.starts_with('0') && minor.bytes().all(|b| b.is_ascii_digit());
    Some((level, major, minor.parse().ok().filter(|_| plain)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_new_come_first() {
        let expected =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10", "v01"];
        let mut mixed = expected;
        mixed.reverse();
        mixed.sort_by(|a, b| version_order(a, b));
        assert_eq!(mixed, expected);
    }
}
