//! Image names as people write them, and as the store keeps them.
//!
//! `redis` means `docker.io/library/redis:latest`: the short forms every container tool accepts are expanded once, at
//! the edge, so that two spellings never become two images. `Display` gives the full form, `familiar` the short one.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;
use super::error::ImageError;

/// The registry that a name without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// A normalised image name: registry, repository and a tag, a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises `input`; a name without tag and digest gets the tag `latest`.
    ///
    /// # Errors
    /// [`ImageError::Reference`] naming the rule that the input breaks.
    pub fn parse(input: &str) -> Result<Reference, ImageError> {
        let refuse = |expected: &'static str| ImageError::Reference { input: input.to_owned(), expected };
        if input.is_empty() {
            return Err(refuse("a name such as redis:7"));
        }
        let (name, digest) = match input.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (input, None),
        };
        // A colon after the last slash separates a tag; before it, a port.
        let (name, tag) = match name.rfind(':') {
            Some(at) if !name[at..].contains('/') => (&name[..at], Some(&name[at + 1..])),
            _ => (name, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() => {
                (host, rest)
            }
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        if !registry_is_valid(registry) {
            return Err(refuse("a registry written host or host:port"));
        }
        if path.is_empty() || path.len() > 255 || !path.split('/').all(component_is_valid) {
            return Err(refuse(
                "a repository of lower-case letters and digits, separated by single '.', '_', '__', '-' or '/'",
            ));
        }
        if let Some(tag) = tag
            && !tag_is_valid(tag)
        {
            return Err(refuse("a tag of at most 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'"));
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Host and port of the registry, `docker.io` when none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, such as `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none when the name is pinned by a digest alone.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the name is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at `digest`, without a tag.
    pub fn at(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The short form people use: `redis:7`, `library/` and the default registry left out.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }

    /// Whether the registry is on this machine: such registries are spoken to without TLS, as Docker does.
    pub fn registry_is_local(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(input: &str) -> Result<Reference, ImageError> {
        Reference::parse(input)
    }
}

fn registry_is_valid(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn component_is_valid(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    let separators = bytes.split(|b| alphanumeric(*b)).filter(|run| !run.is_empty());
    separators.into_iter().all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

fn tag_is_valid(tag: &str) -> bool {
    tag.len() <= 128
        && tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn short_names_are_expanded() {
        for (input, full, familiar) in [
            ("redis", "docker.io/library/redis:latest", "redis:latest"),
            ("redis:7", "docker.io/library/redis:7", "redis:7"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
            ("index.docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
            ("localhost/a/b:1", "localhost/a/b:1", "localhost/a/b:1"),
            ("localhost:5000/web", "localhost:5000/web:latest", "localhost:5000/web:latest"),
            ("ghcr.io/o/r:v1.2_3-x", "ghcr.io/o/r:v1.2_3-x", "ghcr.io/o/r:v1.2_3-x"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("naru.local/redis:7", "naru.local/redis:7", "naru.local/redis:7"),
        ] {
            let reference = Reference::parse(input).unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn digests_replace_the_default_tag() {
        let reference = Reference::parse(&format!("redis@{D}")).unwrap();
        assert_eq!(reference.to_string(), format!("docker.io/library/redis@{D}"));
        assert_eq!(reference.tag(), None);
        let both = Reference::parse(&format!("redis:7@{D}")).unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().to_string()), (Some("7"), D.to_owned()));
    }

    #[test]
    fn names_that_break_a_rule_are_refused() {
        for bad in [
            "",
            "Redis",
            "redis:",
            "a//b",
            "a/../b",
            "-a",
            "a..b",
            "a___b",
            "host:99999/x",
            "redis:-1",
            "r@sha256:1",
            "a b",
            "x.y/",
            "_a",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn local_registries() {
        for (input, local) in [
            ("localhost:5000/x", true),
            ("127.0.0.1:5000/x", true),
            ("[::1]:5000/x", true),
            ("redis", false),
            ("10.0.0.1:5000/x", false),
        ] {
            assert_eq!(Reference::parse(input).unwrap().registry_is_local(), local, "{input}");
        }
    }

    proptest! {
        #[test]
        fn the_full_and_the_familiar_form_mean_the_same(input in "([a-z0-9]{1,8}\\.[a-z]{2,3}(:[0-9]{2,4})?/)?[a-z0-9]{1,6}([_-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}(\\.[a-z0-9]{1,3})?){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8})?") {
            let reference = Reference::parse(&input).unwrap();
            prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference.clone());
            prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
        }
    }
}
