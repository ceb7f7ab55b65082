//! What this program was built from, as the build found it.

use naru_apiserver::Build;

/// What this program was built from.
pub(crate) const BUILD: Build = Build {
    commit: env!("NARU_BUILD_COMMIT"),
    tree: env!("NARU_BUILD_TREE"),
    date: env!("NARU_BUILD_DATE"),
    compiler: env!("NARU_BUILD_COMPILER"),
};

/// The same in words; nothing where nothing is known.
pub(crate) fn told() -> String {
    let Build { commit, tree, date, compiler } = BUILD;
    match (commit.get(..12), tree) {
        (None, _) => format!("built with {compiler}"),
        (Some(commit), "clean") => format!("built from commit {commit} of {date} with {compiler}"),
        (Some(commit), _) => format!("built from commit {commit} of {date} and changes with {compiler}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_what_it_was_built_from() {
        let Build { commit, tree, date, compiler } = BUILD;
        assert!(compiler.starts_with("rustc 1."), "{compiler}");
        let at: jiff::Timestamp = date.parse().expect("a time stamp");
        assert_eq!(at.to_string(), date, "to the second, and no day that does not exist");
        match tree {
            "archive" => assert_eq!(commit, ""),
            tree => {
                assert!(["clean", "dirty"].contains(&tree), "{tree}");
                assert!(commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{commit}");
                assert!(at.as_second() > 1_500_000_000 || std::env::var_os("SOURCE_DATE_EPOCH").is_some(), "{date}");
                assert!(told().contains(&commit[..12]), "{}", told());
            }
        }
    }
}
