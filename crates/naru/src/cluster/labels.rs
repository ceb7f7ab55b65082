//! Labels of nodes as people write them: `KEY=VALUE`, checked before anything is asked of a server.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::cli::JoinOptions;

/// The labels of a zone and of a region, which schedulers and volumes look at.
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// Owners of labels which a node does not give itself, but for these two and what is found out anyway.
const RESERVED: [&str; 3] = ["kubernetes.io", "k8s.io", "naru.io"];

/// The labels that a machine joins with.
///
/// # Errors
/// Which is none, and what is expected.
pub(super) fn of_join(options: &JoinOptions) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for label in &options.labels {
        let Some((key, value)) = label.split_once('=') else { bail!("--label {label}: expected KEY=VALUE") };
        check(key, value).map_err(|why| anyhow::anyhow!("--label {label}: {why}"))?;
        if is_reserved(key) {
            bail!(
                "--label {label}: labels of {} are not a machine's own to set: `naru node label` on the server does",
                RESERVED.join(", ")
            );
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    for (flag, key, value) in [("--zone", ZONE, &options.zone), ("--region", REGION, &options.region)] {
        if let Some(value) = value {
            check(key, value).map_err(|why| anyhow::anyhow!("{flag} {value}: {why}"))?;
            labels.insert(key.to_owned(), value.clone());
        }
    }
    Ok(labels)
}

fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let of = |owner: &&str| domain == *owner || domain.strip_suffix(*owner).is_some_and(|d| d.ends_with('.'));
    key != ZONE && key != REGION && RESERVED.iter().any(of)
}

/// Whether a label has Kubernetes' form.
///
/// # Errors
/// What is expected.
pub(super) fn check(key: &str, value: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |text: &str| {
        let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        end(text.chars().next()) && end(text.chars().last())
    };
    let word = |text: &str| text.len() <= 63 && text.chars().all(inner) && ends(text);
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_domain = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|part| word(part) && !part.contains('_') && part == part.to_lowercase())
    };
    if !word(name) || !domain.is_none_or(is_domain) {
        return Err(format!("{key:?} is no label's key: expected [DOMAIN/]NAME of letters, digits, '-', '_' and '.'"));
    }
    match value.is_empty() || word(value) {
        true => Ok(()),
        false => Err(format!(
            "{value:?} is no label's value: expected at most 63 letters, digits, '-', '_' and '.', with a letter or \
             digit at either end"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_form_that_the_server_expects() {
        for (key, value) in [("disk", "ssd"), ("a.example.org/rack_1", "R-2"), ("empty", ""), (ZONE, "seoul-a")] {
            check(key, value).unwrap_or_else(|why| panic!("{key}={value}: {why}"));
        }
        let long = "x".repeat(64);
        for (key, value) in [
            ("", "v"),
            ("a b", "v"),
            ("-a", "v"),
            ("A.org/", "v"),
            ("UP.org/a", "v"),
            ("a", "b c"),
            ("a", "-b"),
            (&*long, ""),
            ("a", &*long),
        ] {
            check(key, value).expect_err(&format!("{key}={value}"));
        }
        assert!(
            is_reserved("kubernetes.io/os") && is_reserved("node-role.kubernetes.io/x") && is_reserved("naru.io/role")
        );
        assert!(!is_reserved(ZONE) && !is_reserved("disk") && !is_reserved("notnaru.io/a"));
    }
}
