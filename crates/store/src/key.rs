//! Names of objects and of groups of objects.
//!
//! A key is one string, `<collection>/<namespace or empty>/<name>`, because a string is what every engine can order and
//! what a prefix of is a list. Order is plain byte order, which is the order of Kubernetes' lists.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of one object: `<collection>/<namespace or empty>/<name>`, for example `pods/default/web-0`, `nodes//n1`.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of an object. Cluster-scoped objects have an empty namespace. None of the parts may contain `/`
    /// (Kubernetes' names cannot).
    pub fn new(collection: &str, namespace: &str, name: &str) -> Key {
        debug_assert!(!collection.contains('/') && !namespace.contains('/'), "{collection:?} {namespace:?}");
        let mut text = String::with_capacity(collection.len() + namespace.len() + name.len() + 2);
        for part in [collection, "/", namespace, "/", name] {
            text.push_str(part);
        }
        Key(text.into())
    }

    /// Reads a key from its text; `None` when it has not the three parts.
    pub fn parse(text: &str) -> Option<Key> {
        (text.bytes().filter(|b| *b == b'/').count() >= 2).then(|| Key(text.into()))
    }

    /// Collection, namespace (empty when cluster-scoped) and name.
    pub fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.0.splitn(3, '/');
        (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""))
    }

    /// The collection, for example `deployments.apps`.
    pub fn collection(&self) -> &str {
        self.parts().0
    }

    /// The namespace; empty when cluster-scoped.
    pub fn namespace(&self) -> &str {
        self.parts().1
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.parts().2
    }

    /// The whole key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of `<collection>/` and of `<collection>/<namespace>/`: where the two prefixes of this key end.
    pub(crate) fn prefix_lengths(&self) -> (usize, usize) {
        let (collection, namespace, _) = self.parts();
        (collection.len() + 1, collection.len() + namespace.len() + 2)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A group of objects that is listed and watched together: everything, one collection, or one namespace of a collection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Every object of the store.
    pub fn all() -> Prefix {
        Prefix("".into())
    }

    /// Every object of a collection, in all namespaces.
    pub fn collection(collection: &str) -> Prefix {
        Prefix([collection, "/"].concat().into())
    }

    /// The objects of a collection in one namespace.
    pub fn namespace(collection: &str, namespace: &str) -> Prefix {
        Prefix([collection, "/", namespace, "/"].concat().into())
    }

    /// Whether the key belongs to the group.
    pub fn contains(&self, key: &Key) -> bool {
        key.as_str().starts_with(&*self.0)
    }

    /// What remains of a key after the prefix: `ns/name` for a collection's, `name` for a namespace's. It is what
    /// [`Snapshot::range_from`](crate::Snapshot::range_from) continues after. `None` when the key is not in the group.
    pub fn rest<'a>(&self, key: &'a Key) -> Option<&'a str> {
        key.as_str().strip_prefix(&*self.0)
    }

    /// The prefix as text: empty, `pods/` or `pods/default/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The smallest text that is greater than every key of the group. Not for [`Prefix::all`], which has none.
    pub(crate) fn end(&self) -> String {
        let within = self.0.strip_suffix('/').unwrap_or(&self.0);
        // What follows the slash in the order of bytes.
        [within, "0"].concat()
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// The collection's name, and whether the prefix covers all of it. `None` for [`Prefix::all`].
    pub(crate) fn scope(&self) -> Option<(&str, bool)> {
        let (collection, rest) = self.0.split_once('/')?;
        Some((collection, rest.is_empty()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_prefixes() {
        let key = Key::new("deployments.apps", "shop", "web");
        assert_eq!(key.parts(), ("deployments.apps", "shop", "web"));
        assert_eq!(Key::parse(key.as_str()), Some(key.clone()));
        assert_eq!(Key::parse("nodes/n1"), None);
        assert!(Prefix::all().contains(&key));
        assert!(Prefix::collection("deployments.apps").contains(&key));
        assert!(!Prefix::collection("deployments").contains(&key), "a collection is not a prefix of another's name");
        assert!(Prefix::namespace("deployments.apps", "shop").contains(&key));
        assert!(!Prefix::namespace("deployments.apps", "sho").contains(&key));
        assert_eq!(Prefix::collection("deployments.apps").rest(&key), Some("shop/web"));
        let (a, b) = key.prefix_lengths();
        assert_eq!((&key.as_str()[..a], &key.as_str()[..b]), ("deployments.apps/", "deployments.apps/shop/"));
        assert_eq!(Key::new("nodes", "", "n1").parts(), ("nodes", "", "n1"));
        assert_eq!(Prefix::collection("pods").scope(), Some(("pods", true)));
        assert_eq!(Prefix::namespace("pods", "a").scope(), Some(("pods", false)));
        assert_eq!(Prefix::all().scope(), None);
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_its_keys_and_before_all_others() {
        let prefix = Prefix::namespace("pods", "shop");
        let end = prefix.end();
        for (namespace, name) in
            [("shop", "a"), ("shop", "zz~"), ("shop-1", "a"), ("shop0", "a"), ("sho", "z"), ("t", "a")]
        {
            let key = Key::new("pods", namespace, name);
            let within = key.as_str() >= prefix.as_str() && *key.as_str() < *end;
            assert_eq!(within, prefix.contains(&key), "{key}");
        }
        assert!(*Key::new("pods", "z", "z").as_str() < *Prefix::collection("pods").end());
    }
}
