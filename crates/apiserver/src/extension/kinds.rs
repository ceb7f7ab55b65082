//! From a definition to the kinds that its versions are served as.

use std::sync::Arc;

use naru_api::kind::{SchemaRef, StoredAs, Subresources};
use naru_api::{Kind, Scope, Subresource};
use naru_crd::{Conversion, Definition, Names, Version};

use super::convert::Webhook;

/// What a definition is served as.
#[derive(Debug)]
pub(crate) struct Kinds {
    /// One for each served version, the one that clients should use first.
    pub(crate) served: Vec<Kind>,
    /// Its versions, as objects are read and converted by them.
    pub(crate) versions: Versions,
}

/// The versions of a kind.
#[derive(Debug)]
pub(crate) struct Versions {
    /// All of them, served or not.
    pub(crate) all: Vec<Arc<Kind>>,
    /// The one that objects are stored as.
    pub(crate) storage: Arc<Kind>,
    /// Who converts objects between them, where more than the name of the version changes.
    pub(crate) webhook: Option<Webhook>,
}

// === impl Kinds ===

impl Kinds {
    /// The kinds of the definition `name`, under the names that were accepted.
    ///
    /// # Errors
    /// With the reason why it cannot be served: it was stored without having been judged.
    pub(crate) fn of(name: &str, definition: Definition, accepted: &Names) -> Result<Kinds, String> {
        let place = format!("{}.{}", definition.names.plural, definition.group);
        if place != name {
            return Err(format!("it is called {name:?} and defines {place:?}"));
        }
        if accepted.kind.is_empty() || definition.names.plural.is_empty() || definition.group.is_empty() {
            return Err("group, plural or kind is missing".to_owned());
        }
        let Some(storage) = definition.storage().map(|version| version.name.clone()) else {
            return Err("no version is the one that objects are stored in".to_owned());
        };
        let webhook = match &definition.conversion {
            Conversion::None => None,
            Conversion::Webhook { client, reviews } => Some(Webhook::read(client, reviews)),
        };
        let frame = Frame { group: definition.group, namespaced: definition.namespaced, accepted, storage: &storage };
        let (mut served, mut all, mut stored) = (Vec::new(), Vec::new(), None);
        for version in definition.versions {
            let (is_served, is_stored) = (version.served, version.storage);
            let kind = frame.kind(version);
            let known = Arc::new(kind.clone());
            if is_stored {
                stored.get_or_insert_with(|| known.clone());
            }
            if is_served {
                served.push(kind);
            }
            all.push(known);
        }
        let storage = stored.ok_or("no version is the one that objects are stored in")?;
        Ok(Kinds { served, versions: Versions { all, storage, webhook } })
    }
}

/// What all versions have in common.
struct Frame<'a> {
    group: String,
    namespaced: bool,
    accepted: &'a Names,
    storage: &'a str,
}

impl Frame<'_> {
    fn kind(&self, version: Version) -> Kind {
        let names = self.accepted;
        let mut subresources = Vec::new();
        if version.status {
            subresources.push(Subresource::Status);
        }
        if version.scale.is_some() {
            subresources.push(Subresource::Scale);
        }
        let stored_as = (version.name != self.storage).then(|| StoredAs {
            group: self.group.clone().into(),
            version: self.storage.to_owned().into(),
            kind: names.kind.clone().into(),
            plural: names.plural.clone().into(),
        });
        let selectable = version.selectable.iter().map(|f| f.trim_start_matches('.').to_owned().into()).collect();
        let (group, name) = (self.group.clone(), version.name.clone());
        let schema = SchemaRef::Own(Arc::new(version));
        let mut kind = Kind::new(group, name, names.kind.clone(), names.plural.clone(), schema);
        if !names.singular.is_empty() {
            kind.singular = names.singular.clone().into();
        }
        kind.list_kind = Some(&names.list_kind).filter(|name| !name.is_empty()).map(|name| name.clone().into());
        kind.short_names = names.short_names.iter().map(|name| name.clone().into()).collect();
        kind.categories = names.categories.iter().map(|name| name.clone().into()).collect();
        kind.scope = if self.namespaced { Scope::Namespaced } else { Scope::Cluster };
        kind.subresources = Subresources::of(&subresources);
        kind.selectable = selectable;
        kind.stored_as = stored_as;
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::fixture;

    fn kinds(definition: &serde_json::Value) -> Result<Kinds, String> {
        let accepted = Names::read(&definition["spec"]["names"]);
        Kinds::of(naru_api::meta::name(definition), Definition::read(definition), &accepted)
    }

    #[test]
    fn every_served_version_is_a_kind() {
        let mut definition = fixture::definition("v1");
        let mut other = definition["spec"]["versions"][0].clone();
        (other["name"], other["storage"], other["subresources"]) =
            ("v2".into(), false.into(), serde_json::json!({"status": {}}));
        definition["spec"]["versions"].as_array_mut().expect("versions").push(other);
        let both = kinds(&definition).expect("kinds");
        let versions: Vec<&str> = both.served.iter().map(|kind| kind.version.as_ref()).collect();
        assert_eq!(versions, ["v2", "v1"], "the newer is to be preferred");
        let [newer, stored] = &both.served[..] else { panic!("two") };
        assert_eq!((newer.collection(), stored.collection()), ("widgets.example.com", "widgets.example.com"));
        assert_eq!(newer.stored_as.as_ref().map(|s| s.version.as_ref()), Some("v1"));
        assert!(stored.stored_as.is_none() && both.versions.storage.version == "v1");
        assert!(newer.has(Subresource::Status) && !newer.has(Subresource::Scale) && !stored.has(Subresource::Status));
        assert_eq!((stored.list_kind(), stored.singular.as_ref()), ("WidgetList".to_owned(), "widget"));
        assert_eq!(stored.selectable, ["spec.color"]);
        definition["spec"]["versions"][0]["served"] = false.into();
        let one = kinds(&definition).expect("kinds");
        let storage = one.versions.storage.version.as_ref();
        assert_eq!((one.served.len(), storage), (1, "v1"), "stored and no longer served");
        assert_eq!(one.versions.all.len(), 2);
        assert!(one.versions.webhook.is_none());
        let hook = serde_json::json!({"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]});
        definition["spec"]["conversion"] = serde_json::json!({"strategy": "Webhook", "webhook": hook});
        assert!(kinds(&definition).expect("kinds").versions.webhook.is_some());
    }

    #[test]
    fn what_was_never_judged_is_not_served() {
        let mut unstored = fixture::definition("v1");
        unstored["spec"]["versions"][0]["storage"] = false.into();
        let mut elsewhere = fixture::definition("v1");
        elsewhere["metadata"]["name"] = "gadgets.example.com".into();
        for wrong in [unstored, elsewhere, serde_json::json!({"metadata": {"name": "x"}})] {
            kinds(&wrong).expect_err("not to be served");
        }
    }
}
