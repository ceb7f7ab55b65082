//! Whether a program may take the place of another: pure.

use naru_api::{Skew, Version};

use super::file::Program;

/// What is to happen on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It runs that very program.
    Same,
    /// It gets a newer one, or another of its own version.
    Upgrade,
    /// It gets an older one.
    Downgrade,
}

/// Judges `new` in the place of `old`. `Err` says why not.
pub(crate) fn judge(old: &Program, new: &Program) -> Result<Step, String> {
    if new.sha256 == old.sha256 {
        return Ok(Step::Same);
    }
    if new.architecture != old.architecture {
        return Err(format!("the program is for {}, the machine is {}", new.architecture, old.architecture));
    }
    let (Some(before), Some(after)) = (old.parsed(), new.parsed()) else {
        return Err(format!("{} or {} is no version", old.version, new.version));
    };
    if before.skew(&after) == Skew::TooFar {
        return Err(format!(
            "{before} and {after} are more than one minor version apart: programs of both could not work together on \
             the way. Go by {} first",
            between(&before, &after)
        ));
    }
    if new.store < old.store {
        return Err(format!(
            "{after} reads the store's format {}, and {before} writes {}: going back would need a restore from a backup",
            new.store, old.store
        ));
    }
    Ok(if after < before { Step::Downgrade } else { Step::Upgrade })
}

/// The next step from one version towards another.
fn between(from: &Version, to: &Version) -> String {
    match from.major == to.major {
        true if from.minor < to.minor => format!("{}.{}", from.major, from.minor + 1),
        true => format!("{}.{}", from.major, from.minor - 1),
        false => format!("the last version before {}.0", to.major.max(from.major)),
    }
}

/// Who could not work with a server of this version, of nodes with these versions: pure.
pub(crate) fn left_behind<'a>(server: &str, nodes: &'a [(String, String)]) -> Vec<&'a str> {
    let Some(server) = Version::parse(server) else { return Vec::new() };
    let too_far = |version: &str| Version::parse(version).is_some_and(|version| !version.works_with(&server));
    nodes.iter().filter(|(_, version)| too_far(version)).map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(version: &str, store: u32, architecture: &str) -> Program {
        let sha256 = format!("{version}-{store}-{architecture}");
        Program { version: version.to_owned(), store, architecture: architecture.to_owned(), sha256, size: 1 }
    }

    #[test]
    fn one_minor_version_in_either_direction_and_no_older_store() {
        let old = program("0.2.0", 2, "amd64");
        let to = |version, store, architecture| judge(&old, &program(version, store, architecture));
        assert_eq!(to("0.2.0", 2, "amd64"), Ok(Step::Same));
        assert_eq!(to("0.2.1", 2, "amd64"), Ok(Step::Upgrade));
        assert_eq!(to("0.3.0", 3, "amd64"), Ok(Step::Upgrade));
        assert_eq!(to("0.1.9", 2, "amd64"), Ok(Step::Downgrade));
        let refused = |version, store, architecture| to(version, store, architecture).expect_err(version);
        assert!(refused("0.3.0", 2, "arm64").contains("the machine is amd64"));
        assert!(refused("0.4.0", 2, "amd64").contains("Go by 0.3 first"));
        assert!(refused("0.0.9", 2, "amd64").contains("Go by 0.1 first"));
        assert!(refused("1.2.0", 2, "amd64").contains("before 1.0"));
        assert!(refused("0.1.9", 1, "amd64").contains("restore from a backup"));
    }

    #[test]
    fn nodes_too_far_from_a_new_server_are_found() {
        let nodes = ["0.1.0", "0.2.0", "0.3.7", "0.4.0", ""].map(|version| (format!("n{version}"), version.to_owned()));
        assert_eq!(left_behind("0.3.0", &nodes), ["n0.1.0"]);
        assert_eq!(left_behind("0.2.0", &nodes), ["n0.4.0"]);
    }
}
