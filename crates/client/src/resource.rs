//! Which collection a request is about, and its URL.

use std::borrow::Cow;

use naru_api::view::View;

/// One served resource: enough of its registry entry to address it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: Cow<'static, str>,
    /// API version, such as `v1`.
    pub version: Cow<'static, str>,
    /// Kind, such as `Pod`.
    pub kind: Cow<'static, str>,
    /// Resource name, such as `pods`.
    pub plural: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// The resource of a typed view.
    pub fn of<V: View>() -> Self {
        Resource {
            group: Cow::Borrowed(V::GROUP),
            version: Cow::Borrowed(V::VERSION),
            kind: Cow::Borrowed(V::KIND),
            plural: Cow::Borrowed(V::PLURAL),
            namespaced: V::NAMESPACED,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The URL path of the collection, in one namespace or over all.
    pub fn collection_path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api/" } else { "/apis/" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}{}/namespaces/{}/{}", self.api_version(), escape(namespace), self.plural),
            None => format!("{root}{}/{}", self.api_version(), self.plural),
        }
    }

    /// The URL path of one object, or of one of its subresources.
    pub fn object_path(&self, namespace: Option<&str>, name: &str, subresource: Option<&str>) -> String {
        let mut path = format!("{}/{}", self.collection_path(namespace), escape(name));
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    if text.as_bytes().iter().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.as_bytes() {
        if plain(byte) {
            escaped.push(*byte as char);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(escaped)
}

/// A query string built from its parts; empty values are left out.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn add(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.word(name, value) }
    }

    /// Adds a value even if it is empty: an empty word of a command is one.
    pub(crate) fn word(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(&format!("{name}={}", escape(value)));
        self
    }

    pub(crate) fn flag(self, name: &str, set: bool) -> Self {
        if set { self.add(name, "true") } else { self }
    }

    pub(crate) fn onto(self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Resource {
        Resource { group: "".into(), version: "v1".into(), kind: "Pod".into(), plural: "pods".into(), namespaced: true }
    }

    #[test]
    fn paths_follow_group_scope_and_subresource() {
        assert_eq!(pods().collection_path(None), "/api/v1/pods");
        assert_eq!(pods().object_path(Some("a b"), "x", Some("log")), "/api/v1/namespaces/a%20b/pods/x/log");
        let apps = Resource { group: "apps".into(), plural: "deployments".into(), kind: "Deployment".into(), ..pods() };
        assert_eq!(apps.object_path(Some("d"), "web", None), "/apis/apps/v1/namespaces/d/deployments/web");
        let nodes = Resource { plural: "nodes".into(), namespaced: false, ..pods() };
        assert_eq!(nodes.object_path(Some("ignored"), "n", None), "/api/v1/nodes/n");
    }

    #[test]
    fn queries_escape_and_skip_what_is_empty() {
        let query = Query::default().add("labelSelector", "a=b,c in (d)").add("x", "").flag("watch", true);
        assert_eq!(query.onto("/p"), "/p?labelSelector=a%3Db%2Cc%20in%20%28d%29&watch=true");
    }
}
