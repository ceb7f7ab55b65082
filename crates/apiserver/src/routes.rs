//! From a path's group, version and resource to what is served there: looked up in every request, hence prepared.

use std::collections::HashMap;
use std::sync::Arc;

use naru_api::{Kind, Registry};

use crate::extension::{Custom, Customs};
use crate::metrics::Meters;

/// A served resource with everything that its answers repeat.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) kind: Arc<Kind>,
    /// Where the objects lie in the store.
    pub(crate) collection: Box<str>,
    /// `{"kind":"PodList","apiVersion":"v1","metadata":`.
    pub(crate) list_head: String,
    /// The kind under which the objects are stored, when it is another one.
    pub(crate) stored: Option<Arc<Kind>>,
    /// What else is known of a kind that users defined.
    pub(crate) custom: Option<Arc<Custom>>,
    /// Whether its objects have a form in protobuf.
    pub(crate) spoken: bool,
    /// How stored objects begin that lie in the store as they are served, up to the revision that follows.
    pub(crate) head: String,
    /// What is counted of requests for it.
    pub(crate) meters: Arc<Meters>,
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    groups: HashMap<String, HashMap<String, HashMap<String, Arc<Route>>>>,
}

// === impl Route ===

impl Route {
    /// The route of a kind whose objects are stored as they are served, or as `stored`.
    pub(crate) fn new(kind: Arc<Kind>, stored: Option<Arc<Kind>>, custom: Option<Arc<Custom>>) -> Route {
        Route {
            collection: kind.collection().into(),
            list_head: format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":",
                kind.list_kind(),
                kind.api_version()
            ),
            head: format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"",
                kind.kind,
                kind.api_version()
            ),
            spoken: custom.is_none() && naru_protobuf::is_spoken(&kind),
            stored,
            custom,
            kind,
            meters: Arc::default(),
        }
    }

    /// The same, counting on where another one was.
    fn after(mut self, other: Option<&Arc<Route>>) -> Route {
        if let Some(other) = other {
            self.meters = other.meters.clone();
        }
        self
    }

    /// Whether it leads to the same as a route that was made of these would.
    fn is_of(&self, kind: &Arc<Kind>, custom: Option<&Arc<Custom>>) -> bool {
        let same = match (&self.custom, custom) {
            (None, None) => true,
            (Some(own), Some(given)) => Arc::ptr_eq(own, given),
            _ => false,
        };
        same && Arc::ptr_eq(&self.kind, kind)
    }
}

// === impl Routes ===

impl Routes {
    /// The routes of a registry without kinds that users defined.
    pub(crate) fn of(registry: &Registry) -> Routes {
        Routes::default().next(registry, &Customs::default())
    }

    /// The routes of another registry. Routes of kinds that stay are the same ones.
    pub(crate) fn next(&self, registry: &Registry, customs: &Customs) -> Routes {
        let mut routes = Routes::default();
        for kind in registry.iter() {
            let custom = kind.custom().and_then(|_| customs.get(kind.collection()));
            let known = self.of_kind(kind).filter(|route| route.is_of(kind, custom));
            let route = known.cloned().unwrap_or_else(|| {
                let stored = match (custom, &kind.stored_as) {
                    // The version that objects are stored in need not be served.
                    (Some(custom), Some(_)) => Some(custom.storage.clone()),
                    (_, Some(stored)) => registry.by_kind(&stored.group, &stored.version, &stored.kind).cloned(),
                    (_, None) => None,
                };
                Arc::new(Route::new(kind.clone(), stored, custom.cloned()).after(self.of_kind(kind)))
            });
            let versions = routes.groups.entry(kind.group.to_string()).or_default();
            versions.entry(kind.version.to_string()).or_default().insert(kind.plural.to_string(), route);
        }
        routes
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Route>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.groups.values().flat_map(HashMap::values).flat_map(HashMap::values)
    }

    /// Whether anything of a group and version is served.
    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        self.groups.get(group).is_some_and(|versions| versions.contains_key(version))
    }

    pub(crate) fn of_kind(&self, kind: &Kind) -> Option<&Arc<Route>> {
        self.find(&kind.group, &kind.version, &kind.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::fixture;

    #[test]
    fn routes_of_kinds_that_stay_are_the_same_ones() {
        let builtin = Registry::builtin();
        let before = Routes::of(&builtin);
        let (kinds, custom) = fixture::served("v1");
        let with = builtin.with(kinds[0].clone()).expect("free");
        let customs = Customs::from([(kinds[0].collection().to_owned(), custom)]);
        let after = before.next(&with, &customs);
        let pods = |routes: &Routes| routes.find("", "v1", "pods").expect("served").clone();
        assert!(Arc::ptr_eq(&pods(&before), &pods(&after)));
        let made = after.find("example.com", "v1", "widgets").expect("served").clone();
        assert!(made.custom.is_some() && made.stored.is_none());
        assert!(Arc::ptr_eq(&made, after.next(&with, &customs).find("example.com", "v1", "widgets").expect("served")));
        let (_, other) = fixture::served("v1");
        let customs = Customs::from([(made.collection.to_string(), other)]);
        assert!(!Arc::ptr_eq(&made, after.next(&with, &customs).find("example.com", "v1", "widgets").expect("served")));
    }
}
