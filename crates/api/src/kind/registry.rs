//! Finding kinds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use naru_crd::version_order;

use super::{Kind, apps, core, groups, own};

/// An immutable set of kinds. Adding one at run time makes a new registry ([`Registry::with`]) that shares the old
/// entries, so that readers never lock.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    by_resource: HashMap<(String, String, String), usize>,
    by_kind: HashMap<(String, String, String), usize>,
    by_collection: HashMap<String, usize>,
}

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
        let mut next = Registry::default();
        for kind in self.kinds.iter().filter(|kind| kind.group != group || kind.plural != plural) {
            // What fitted together still does when there is less of it.
            let added = next.add(kind.clone());
            debug_assert!(added.is_ok(), "a registry repeats a kind: {added:?}");
        }
        next
    }

    fn add(&mut self, kind: Arc<Kind>) -> Result<(), RegistryError> {
        let key = |name: &str| (kind.group.to_string(), kind.version.to_string(), name.to_owned());
        let (resource, name) = (key(&kind.plural), key(&kind.kind));
        if self.by_resource.contains_key(&resource) {
            return Err(RegistryError::ResourceTaken { resource: resource.2, api_version: kind.api_version() });
        }
        if self.by_kind.contains_key(&name) {
            return Err(RegistryError::KindTaken { kind: name.2, api_version: kind.api_version() });
        }
        self.by_resource.insert(resource, self.kinds.len());
        self.by_kind.insert(name, self.kinds.len());
        if kind.stored_as.is_none() && kind.is_stored() {
            self.by_collection.entry(kind.collection().to_owned()).or_insert(self.kinds.len());
        }
        self.kinds.push(kind);
        Ok(())
    }

    /// The kind at a path.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.by_resource.get(&key).map(|i| &self.kinds[*i])
    }

    /// The kind of an object.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), kind.to_owned());
        self.by_kind.get(&key).map(|i| &self.kinds[*i])
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
