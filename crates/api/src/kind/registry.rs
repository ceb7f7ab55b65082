//! Finding kinds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use super::{Kind, apps, core, groups, own};

/// An immutable set of kinds. Adding one at run time makes a new registry ([`Registry::with`]) that shares the old
/// entries, so that readers never lock.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    by_resource: HashMap<(String, String, String), usize>,
    by_kind: HashMap<(String, String, String), usize>,
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
        let added = registry.add(kind);
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
        next.add(kind)?;
        Ok(next)
    }

    fn add(&mut self, kind: Kind) -> Result<(), RegistryError> {
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
        self.kinds.push(Arc::new(kind));
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
        self.kinds.iter().find(|k| k.stored_as.is_none() && k.is_stored() && k.collection() == collection)
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

    /// Every (group, version) that is served, in order, the core group first.
    pub fn group_versions(&self) -> Vec<(String, String)> {
        let mut seen = BTreeMap::new();
        for kind in &self.kinds {
            seen.insert((kind.group.to_string(), kind.version.to_string()), ());
        }
        seen.into_keys().collect()
    }

    /// The kinds of one group and version, in the order of the table.
    pub fn of(&self, group: &str, version: &str) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter().filter(move |k| k.group == group && k.version == version)
    }
}
