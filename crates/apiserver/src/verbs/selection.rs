//! Which objects of a collection a LIST, WATCH or DELETE means.

use std::sync::Arc;

use naru_api::{FieldSelector, LabelSelector, Status};
use naru_store::{Entry, Prefix, Scope, Snapshot};
use serde_json::Map;

use crate::encode::BY_NODE;
use crate::object;
use crate::routes::Route;
use crate::state::Core;
use crate::versions;
use crate::wire::query::Query;

const NODE_NAME: &str = "spec.nodeName";
/// How many objects are brought to another form to be judged, at once.
const AT_ONCE: usize = 500;

/// A namespace (or all) and selectors.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) route: Arc<Route>,
    pub(crate) prefix: Prefix,
    namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
    need: Need,
}

/// Objects that are meant.
pub(crate) struct Chosen {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// How many more are meant. Where objects must be looked at to know, only whether there are any.
    pub(crate) left: usize,
}

/// How much of an object must be read to judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Its name, or an index, says it all.
    Key,
    Labels,
    Everything,
}

// === impl Selection ===

impl Selection {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for a selector that cannot be parsed or names fields that cannot be selected by.
    pub(crate) fn of(route: &Arc<Route>, namespace: &str, query: &Query<'_>) -> Result<Selection, Status> {
        let (labels, fields) = (query.get("labelSelector"), query.get("fieldSelector"));
        Selection::new(route, namespace, labels.unwrap_or_default(), fields.unwrap_or_default())
    }

    /// The selection of these selectors.
    ///
    /// # Errors
    /// As [`Selection::of`].
    pub(crate) fn new(route: &Arc<Route>, namespace: &str, labels: &str, fields: &str) -> Result<Selection, Status> {
        let bad = |what: &str, error: &dyn std::fmt::Display| Status::bad_request(format!("{what}: {error}"));
        let labels = LabelSelector::parse(labels).map_err(|e| bad("labelSelector", &e))?;
        let fields = FieldSelector::parse(fields).map_err(|e| bad("fieldSelector", &e))?;
        fields.check(&route.kind).map_err(|e| bad("fieldSelector", &e))?;
        let need = match (labels.is_everything(), fields.is_everything()) {
            (true, true) => Need::Nothing,
            (false, true) => Need::Labels,
            (true, false) if fields.is_exactly("metadata.name") => Need::Key,
            (true, false) if fields.is_exactly(NODE_NAME) && &*route.collection == "pods" => Need::Key,
            _ => Need::Everything,
        };
        // Only a request across namespaces is narrowed by the selector. One in a namespace was allowed in that one, so
        // a selector that names another finds nothing there.
        let namespace = match fields.exact("metadata.namespace") {
            Some(wanted) if namespace.is_empty() && route.kind.is_namespaced() => wanted,
            _ => namespace,
        };
        let prefix = match namespace {
            "" => Prefix::collection(&route.collection),
            namespace => Prefix::namespace(&route.collection, namespace),
        };
        Ok(Selection { route: route.clone(), prefix, namespace: namespace.to_owned(), labels, fields, need })
    }

    /// Whether everything in the namespace is meant.
    pub(crate) fn is_everything(&self) -> bool {
        self.need == Need::Nothing
    }

    /// The single name that can match, if the selector names one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name").filter(|n| !n.is_empty())
    }

    /// Whether an object is meant.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        match self.need {
            Need::Nothing => true,
            Need::Key => match self.node() {
                Some(node) => entry.indexes().iter().any(|(index, value)| *index == BY_NODE && **value == *node),
                None => self.fields.exact("metadata.name") == Some(entry.key.name()),
            },
            Need::Labels => {
                let labels = object::labels(&entry.served);
                self.labels.matches(labels.as_ref().unwrap_or(&Map::new()))
            }
            Need::Everything => {
                if self.name().is_some_and(|name| name != entry.key.name()) {
                    return false;
                }
                let object = versions::to_served(&self.route, object::parse(&entry.served));
                let none = Map::new();
                self.fields.matches(&object)
                    && self.labels.matches(object["metadata"]["labels"].as_object().unwrap_or(&none))
            }
        }
    }

    /// The objects that can match, in key order, after `after` (the rest of a key): a single one, those of an index,
    /// or all.
    pub(crate) fn candidates<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        after: &'a str,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + Send + 'a> {
        let beyond = move |entry: &&Arc<Entry>| {
            self.prefix.rest(&entry.key).is_some_and(|rest| after.is_empty() || rest > after)
        };
        if let Some(name) = self.name().filter(|_| !self.namespace.is_empty() || !self.route.kind.is_namespaced()) {
            return Box::new(snapshot.get(&self.route.key(&self.namespace, name)).into_iter().filter(beyond));
        }
        if let Some(node) = self.node() {
            return Box::new(snapshot.by_index(BY_NODE, node).filter(beyond));
        }
        if after.is_empty() {
            Box::new(snapshot.range(&self.prefix))
        } else {
            Box::new(snapshot.range_from(&self.prefix, after))
        }
    }

    /// Whether more than its name must be known of an object to judge it.
    pub(crate) fn judges_contents(&self) -> bool {
        matches!(self.need, Need::Labels | Need::Everything)
    }

    /// The objects that are meant, as they are worked on ([`versions::bring`]), after `after`: at most `limit`.
    ///
    /// # Errors
    /// When they cannot be brought to the form of the route.
    pub(crate) async fn chosen(
        &self,
        core: &Core,
        snapshot: &Snapshot,
        after: &str,
        limit: usize,
    ) -> Result<Chosen, Status> {
        let mut rest = self.candidates(snapshot, after);
        if self.route.custom.is_none() || !self.judges_contents() {
            let mut meant = rest.filter(|entry| self.matches(entry));
            let entries = meant.by_ref().take(limit).cloned().collect();
            let left = if limit == usize::MAX { 0 } else { meant.count() };
            return Ok(Chosen { entries: versions::bring(core, &self.route, entries).await?, left });
        }
        // Labels and fields are those of the version that is asked for: objects are brought to it to be judged, some at
        // a time, as long as any are wanted.
        let mut chosen = Chosen { entries: Vec::new(), left: 0 };
        while chosen.left == 0 {
            let some: Vec<Arc<Entry>> = rest.by_ref().take(AT_ONCE).cloned().collect();
            if some.is_empty() {
                break;
            }
            for entry in versions::bring(core, &self.route, some).await? {
                match (self.matches(&entry), chosen.entries.len() < limit) {
                    (true, true) => chosen.entries.push(entry),
                    (true, false) => chosen.left += 1,
                    (false, _) => {}
                }
            }
        }
        Ok(chosen)
    }

    /// What a watch of these objects follows: the narrowest that is certain to hold them all. It is what keeps a change
    /// of one node's pod from being looked at by the watch of every other node.
    pub(crate) fn scope(&self) -> Scope {
        if let Some(name) = self.name().filter(|_| !self.namespace.is_empty() || !self.route.kind.is_namespaced()) {
            return Scope::Key(self.route.key(&self.namespace, name));
        }
        match self.node() {
            Some(node) if self.namespace.is_empty() => Scope::Index(BY_NODE, node.into()),
            _ => Scope::Prefix(self.prefix.clone()),
        }
    }

    fn node(&self) -> Option<&str> {
        let pods = &*self.route.collection == "pods";
        self.fields.exact(NODE_NAME).filter(|n| pods && !n.is_empty())
    }
}
