//! What a request's path and method mean. API paths are regular, hence a parser and no table of patterns.
//!
//! The rules are those of Kubernetes' `RequestInfo`: `/api/v1/…` and `/apis/<group>/<version>/…` name resources,
//! everything else is a plain path.

use std::borrow::Cow;

use http::Method;

/// What a request wants to do with a resource, in the words that RBAC rules use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// A path below a group and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePath<'a> {
    pub(crate) group: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
    pub(crate) namespace: Option<Cow<'a, str>>,
    pub(crate) resource: Cow<'a, str>,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) subresource: Option<Cow<'a, str>>,
    /// Whether it is of the old form that asks for a watch in the path (`/api/v1/watch/pods`).
    pub(crate) watch: bool,
    /// What follows the subresource, as sent (not decoded), without the leading slash: the path of a proxied request.
    pub(crate) rest: &'a str,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path<'a> {
    Resource(ResourcePath<'a>),
    Plain,
}

/// A path that cannot name anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid path segment: names must not be `.` or `..` nor contain `/` or `%`")]
pub(crate) struct BadSegment(pub(crate) String);

// === impl Verb ===

impl Verb {
    #[cfg(test)]
    pub(crate) const ALL: [Verb; 8] = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Update,
        Verb::Patch,
        Verb::Delete,
        Verb::DeleteCollection,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    /// The verb of a method on an object (`named`) or a collection; `None` for methods that mean nothing here.
    pub(crate) fn of(method: &Method, named: bool, watch: bool) -> Option<Verb> {
        Some(match *method {
            Method::GET | Method::HEAD if named => Verb::Get,
            Method::GET | Method::HEAD if watch => Verb::Watch,
            Method::GET | Method::HEAD => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return None,
        })
    }
}

// === impl Path ===

impl<'a> Path<'a> {
    /// Parses a path as it was sent.
    ///
    /// # Errors
    /// When a decoded segment could be mistaken for several segments, or climbs.
    pub(crate) fn parse(path: &'a str) -> Result<Path<'a>, BadSegment> {
        let mut segments = Segments { rest: path.strip_prefix('/').unwrap_or(path) };
        let (group, version) = match segments.next_raw() {
            Some("api") => match segments.next_raw() {
                Some(version) => (Cow::Borrowed(""), decode(version)?),
                None => return Ok(Path::Plain),
            },
            Some("apis") => match (segments.next_raw(), segments.next_raw()) {
                (Some(group), Some(version)) => (decode(group)?, decode(version)?),
                _ => return Ok(Path::Plain),
            },
            _ => return Ok(Path::Plain),
        };
        let Some(first) = segments.next_raw() else { return Ok(Path::Plain) };
        let (watch, first) = match first {
            "watch" => match segments.next_raw() {
                Some(resource) => (true, decode(resource)?),
                None => return Ok(Path::Plain),
            },
            first => (false, decode(first)?),
        };
        let (namespace, name, subresource, rest) = (None, None, None, "");
        let mut parsed = ResourcePath { group, version, namespace, resource: first, name, subresource, watch, rest };
        if parsed.resource == "namespaces" && parsed.group.is_empty() {
            return parsed.below_namespaces(segments).map(Path::Resource);
        }
        if parsed.resource == "namespaces" {
            let (Some(namespace), Some(resource)) = (segments.next_raw(), segments.next_raw()) else {
                return Ok(Path::Plain);
            };
            parsed.namespace = Some(decode(namespace)?);
            parsed.resource = decode(resource)?;
        }
        parsed.finish(segments).map(Path::Resource)
    }
}

impl<'a> ResourcePath<'a> {
    /// `namespaces` is a resource and the scope of others: what follows the name decides.
    fn below_namespaces(mut self, mut segments: Segments<'a>) -> Result<Self, BadSegment> {
        let Some(name) = segments.next_raw() else { return Ok(self) };
        let name = decode(name)?;
        match segments.peek_raw() {
            None | Some("status" | "finalize") => {
                // Kubernetes reports the namespace as its own scope, so that a Role inside it can grant reading it.
                self.namespace = Some(name.clone());
                self.name = Some(name);
                self.subresource = segments.next_raw().map(decode).transpose()?;
                self.rest = segments.rest;
                Ok(self)
            }
            Some(resource) => {
                segments.next_raw();
                self.namespace = Some(name);
                self.resource = decode(resource)?;
                self.finish(segments)
            }
        }
    }

    fn finish(mut self, mut segments: Segments<'a>) -> Result<Self, BadSegment> {
        self.name = segments.next_raw().map(decode).transpose()?;
        self.subresource = segments.next_raw().map(decode).transpose()?;
        self.rest = segments.rest;
        Ok(self)
    }
}

struct Segments<'a> {
    rest: &'a str,
}

impl<'a> Segments<'a> {
    fn next_raw(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (segment, rest) = self.rest.split_once('/').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(segment)
    }

    fn peek_raw(&self) -> Option<&'a str> {
        Segments { rest: self.rest }.next_raw()
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, BadSegment> {
    let bad = || BadSegment(segment.to_owned());
    let decoded = percent_decode(segment, false).ok_or_else(bad)?;
    if decoded.is_empty() || decoded == "." || decoded == ".." || decoded.contains(['/', '%', '\0']) {
        return Err(bad());
    }
    Ok(decoded)
}

/// Undoes percent encoding (and `+` for a space in queries); `None` when it is malformed or not UTF-8.
pub(crate) fn percent_decode(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> String {
        match Path::parse(path).expect("a path") {
            Path::Plain => "plain".to_owned(),
            Path::Resource(r) => format!(
                "{}|{}|{}|{}|{}|{}|{}",
                r.group,
                r.version,
                r.namespace.unwrap_or_default(),
                r.resource,
                r.name.unwrap_or_default(),
                r.subresource.unwrap_or_default(),
                r.rest
            ),
        }
    }

    #[test]
    fn paths_mean_what_kubernetes_says() {
        for (path, expected) in [
            ("/api/v1/pods", "|v1||pods|||"),
            ("/api/v1/namespaces", "|v1||namespaces|||"),
            ("/api/v1/namespaces/shop", "|v1|shop|namespaces|shop||"),
            ("/api/v1/namespaces/shop/status", "|v1|shop|namespaces|shop|status|"),
            ("/api/v1/namespaces/shop/pods", "|v1|shop|pods|||"),
            ("/api/v1/namespaces/shop/pods/web-1/log", "|v1|shop|pods|web-1|log|"),
            ("/apis/apps/v1/namespaces/shop/deployments/web", "apps|v1|shop|deployments|web||"),
            ("/apis/apps/v1/deployments", "apps|v1||deployments|||"),
            ("/api/v1/nodes/a/proxy/stats/summary", "|v1||nodes|a|proxy|stats/summary"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "rbac.authorization.k8s.io|v1||clusterroles|system:node||",
            ),
            ("/api/v1", "plain"),
            ("/apis", "plain"),
            ("/apis/apps", "plain"),
            ("/healthz", "plain"),
            ("/", "plain"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[test]
    fn segments_that_climb_or_hide_a_slash_are_refused() {
        for path in [
            "/api/v1/namespaces/a%2Fb/pods",
            "/api/v1/namespaces/../pods",
            "/api/v1/namespaces/a/pods/%2e%2e",
            "/api/v1/namespaces/a/pods/x%00",
            "/api/v1/namespaces/a/pods/%zz",
            "/api/v1/namespaces//pods",
        ] {
            Path::parse(path).expect_err(path);
        }
    }
}
