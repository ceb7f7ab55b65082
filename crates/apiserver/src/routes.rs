//! From a path's group, version and resource to what is served there: looked up in every request, hence prepared.

use std::collections::HashMap;
use std::sync::Arc;

use naru_api::{Kind, Registry};

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
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    groups: HashMap<String, HashMap<String, HashMap<String, Arc<Route>>>>,
}

// === impl Routes ===

impl Routes {
    pub(crate) fn of(registry: &Registry) -> Routes {
        let mut routes = Routes::default();
        for kind in registry.iter() {
            let stored = kind.stored_as.as_ref().and_then(|s| registry.by_kind(&s.group, &s.version, &s.kind)).cloned();
            let route = Route {
                collection: kind.collection().into(),
                list_head: format!(
                    "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":",
                    kind.list_kind(),
                    kind.api_version()
                ),
                stored,
                kind: kind.clone(),
            };
            let versions = routes.groups.entry(kind.group.to_string()).or_default();
            versions.entry(kind.version.to_string()).or_default().insert(kind.plural.to_string(), Arc::new(route));
        }
        routes
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Route>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }

    pub(crate) fn of_kind(&self, kind: &Kind) -> Option<&Arc<Route>> {
        self.find(&kind.group, &kind.version, &kind.plural)
    }
}
