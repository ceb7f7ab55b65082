//! Finding kinds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use naru_crd::version_order;

use super::{Kind, apps, core, groups, own};

/// An immutable set of kinds. Adding one at run time makes a new registry ([`Registry::with`]) that shares the old
/// entries, so that readers never lock. There may be thousands of kinds that users define: a copy makes no texts, and
/// neither does looking one up.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    /// Places of kinds in order of their group, version and plural.
    by_resource: Vec<usize>,
    /// Places of kinds in order of their group, version and name.
    by_kind: Vec<usize>,
    by_collection: HashMap<Arc<str>, usize>,
}

/// A text of a kind by which it can be found in its group and version.
type Name = fn(&Kind) -> &str;
const PLURAL: Name = |kind| &kind.plural;
const KIND: Name = |kind| &kind.kind;

/// Why a kind cannot be added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegistryError {
    /// The path is taken.
    #[error("resource {resource} of {api_version} is already served; choose another plural or group")]
    ResourceTaken {
        /// The plural.
        resource: String,
        /// Group and version.
        api_version: String,
    },
    /// The kind is taken.
    #[error("kind {kind} of {api_version} is already served; choose another kind name or group")]
    KindTaken {
        /// The kind.
        kind: String,
        /// Group and version.
        api_version: String,
    },
}

static BUILTIN: LazyLock<Arc<Registry>> = LazyLock::new(|| {
    let mut registry = Registry::default();
    for kind in core::kinds().into_iter().chain(apps::kinds()).chain(groups::kinds()).chain(own::kinds()) {
        // The table is ours and a test holds it free of repetitions; a repeated entry would be left out here.
        let added = registry.add(Arc::new(kind));
        debug_assert!(added.is_ok(), "the built-in table repeats a kind: {added:?}");
    }
    Arc::new(registry)
});

impl Registry {
    /// The built-in kinds.
    pub fn builtin() -> Arc<Registry> {
        BUILTIN.clone()
    }

    /// A registry with `kind` besides the present ones.
    pub fn with(&self, kind: Kind) -> Result<Registry, RegistryError> {
        let mut next = self.clone();
        next.add(Arc::new(kind))?;
        Ok(next)
    }

    /// A registry without the kind of this plural, in none of its versions.
    pub fn without(&self, group: &str, plural: &str) -> Registry {
        let kept = self.kinds.iter().filter(|kind| kind.group != group || kind.plural != plural);
        let kinds: Vec<Arc<Kind>> = kept.cloned().collect();
        if kinds.len() == self.kinds.len() {
            return self.clone();
        }
        // What fitted together still does when there is less of it.
        let order = |name: Name| {
            let mut order: Vec<usize> = (0..kinds.len()).collect();
            order.sort_by_key(|at| key(&kinds[*at], name));
            order
        };
        let (by_resource, by_kind) = (order(PLURAL), order(KIND));
        let mut next = Registry { kinds, by_resource, by_kind, by_collection: HashMap::new() };
        for at in 0..next.kinds.len() {
            next.collect(at);
        }
        next
    }

    fn add(&mut self, kind: Arc<Kind>) -> Result<(), RegistryError> {
        let Err(resource_at) = self.find_by(&self.by_resource, PLURAL, key(&kind, PLURAL)) else {
            let (resource, api_version) = (kind.plural.to_string(), kind.api_version());
            return Err(RegistryError::ResourceTaken { resource, api_version });
        };
        let Err(kind_at) = self.find_by(&self.by_kind, KIND, key(&kind, KIND)) else {
            return Err(RegistryError::KindTaken { kind: kind.kind.to_string(), api_version: kind.api_version() });
        };
        let at = self.kinds.len();
        self.by_resource.insert(resource_at, at);
        self.by_kind.insert(kind_at, at);
        self.kinds.push(kind);
        self.collect(at);
        Ok(())
    }

    /// Notes whose the collection of a kind is.
    fn collect(&mut self, at: usize) {
        let kind = &self.kinds[at];
        if kind.stored_as.is_none() && kind.is_stored() {
            self.by_collection.entry(kind.collection().into()).or_insert(at);
        }
    }

    /// Where a kind stands in an order, or where it would.
    fn find_by(&self, order: &[usize], name: Name, wanted: Key<'_>) -> Result<usize, usize> {
        order.binary_search_by(|at| key(&self.kinds[*at], name).cmp(&wanted))
    }

    /// The kind at a path.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let at = self.find_by(&self.by_resource, PLURAL, (group, version, plural)).ok()?;
        Some(&self.kinds[self.by_resource[at]])
    }

    /// The kind of an object.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let at = self.find_by(&self.by_kind, KIND, (group, version, kind)).ok()?;
        Some(&self.kinds[self.by_kind[at]])
    }

    /// The kind of an object, by its `apiVersion` and `kind` fields.
    pub fn by_api_version(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.by_kind(group, version, kind)
    }

    /// The stored kind whose objects live in `collection`.
    pub fn by_collection(&self, collection: &str) -> Option<&Arc<Kind>> {
        self.by_collection.get(collection).map(|i| &self.kinds[*i])
    }

    /// The kind a person means by a plural, singular, kind or short name, with or without `.group`
    /// (`deploy`, `deployments.apps`, `Pod`).
    pub fn find(&self, name: &str) -> Option<&Arc<Kind>> {
        let lower = name.to_lowercase();
        let (resource, group) = match lower.split_once('.') {
            Some((resource, group)) => (resource.to_owned(), Some(group.to_owned())),
            None => (lower, None),
        };
        self.kinds.iter().find(|k| {
            let named = k.plural == resource.as_str()
                || k.singular == resource.as_str()
                || k.short_names.iter().any(|s| *s == resource.as_str());
            let grouped = group.as_deref().is_none_or(|g| k.group == g || format!("{}.{}", k.version, k.group) == g);
            named && grouped
        })
    }

    /// All kinds in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// Every (group, version) that is served, in order, the core group first; of each group the version that clients
    /// should use comes last.
    pub fn group_versions(&self) -> Vec<(String, String)> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for kind in &self.kinds {
            let versions = groups.entry(&kind.group).or_default();
            if !versions.contains(&kind.version.as_ref()) {
                versions.push(&kind.version);
            }
        }
        let mut all = Vec::new();
        for (group, mut versions) in groups {
            versions.sort_by(|a, b| version_order(b, a));
            all.extend(versions.into_iter().map(|version| (group.to_owned(), version.to_owned())));
        }
        all
    }

    /// The kinds of one group and version, in the order of the table.
    pub fn of(&self, group: &str, version: &str) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter().filter(move |k| k.group == group && k.version == version)
    }
}

/// A group, a version and a name.
type Key<'k> = (&'k str, &'k str, &'k str);

fn key(kind: &Kind, name: Name) -> Key<'_> {
    (&kind.group, &kind.version, name(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::fixture::{self, CUSTOM};

    #[test]
    fn a_kind_comes_and_goes_in_all_versions() {
        let builtin = Registry::builtin();
        let mut older = fixture::kind(&fixture::version());
        older.version = "v1beta1".into();
        let both = fixture::registry().with(older).expect("another version");
        assert_eq!(both.iter().count(), builtin.iter().count() + 2);
        assert!(both.by_resource(CUSTOM, "v1beta1", "crontabs").is_some());
        let gone = both.without(CUSTOM, "crontabs");
        assert_eq!(gone.iter().count(), builtin.iter().count());
        assert!(
            gone.by_kind(CUSTOM, "v1", "CronTab").is_none() && gone.by_collection("crontabs.example.com").is_none()
        );
        for kind in builtin.iter() {
            let (group, version) = (&kind.group, &kind.version);
            let found = gone.by_resource(group, version, &kind.plural).expect("still there");
            assert!(Arc::ptr_eq(found, kind), "{}", kind.group_kind());
            assert!(Arc::ptr_eq(gone.by_kind(group, version, &kind.kind).expect("still there"), kind));
        }
    }

    #[test]
    fn a_path_and_a_name_are_given_once() {
        let registry = fixture::registry();
        let mut same_path = fixture::kind(&fixture::version());
        same_path.kind = "Other".into();
        let error = registry.with(same_path.clone()).expect_err("refused").to_string();
        assert!(error.starts_with("resource crontabs of example.com/v1 is already served"), "{error}");
        let mut same_kind = fixture::kind(&fixture::version());
        same_kind.plural = "others".into();
        let error = registry.with(same_kind).expect_err("refused").to_string();
        assert!(error.starts_with("kind CronTab of example.com/v1 is already served"), "{error}");
        same_path.version = "v2".into();
        let found = registry.with(same_path).expect("another version");
        assert_eq!(found.by_resource(CUSTOM, "v2", "crontabs").map(|k| k.kind.as_ref()), Some("Other"));
        assert!(found.by_kind(CUSTOM, "v2", "CronTab").is_none() && found.by_kind(CUSTOM, "v1", "CronTab").is_some());
    }

    #[test]
    fn a_collection_belongs_to_the_kind_that_is_stored() {
        let registry = Registry::builtin();
        for kind in registry.iter().filter(|kind| kind.is_stored() && kind.stored_as.is_none()) {
            let found = registry.by_collection(kind.collection()).expect("a kind");
            assert!(Arc::ptr_eq(found, kind), "{}", kind.group_kind());
        }
        assert_eq!(registry.by_collection("events").map(|k| k.group.as_ref()), Some(""));
        assert!(registry.by_collection("tokenreviews.authentication.k8s.io").is_none());
        let custom = fixture::registry();
        assert_eq!(custom.by_collection("crontabs.example.com").map(|k| k.kind.as_ref()), Some("CronTab"));
    }

    #[test]
    fn the_version_to_use_comes_last_in_its_group() {
        let mut registry = Registry::default();
        for version in ["v1beta1", "v2", "v1", "v10", "v2alpha1"] {
            let mut kind = fixture::kind(&fixture::version());
            kind.version = version.into();
            registry = registry.with(kind).expect("another version");
        }
        let versions: Vec<String> = registry.group_versions().into_iter().map(|(_, version)| version).collect();
        assert_eq!(versions, ["v2alpha1", "v1beta1", "v1", "v2", "v10"]);
    }
}
