//! The ConfigMaps and Secrets that containers' environments name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use naru_api::k8s::api::core::v1::{ConfigMap, Container, Secret};

use super::TranslateError;

/// Names of objects in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

/// Fetched objects by name; what is absent does not exist.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The pod's namespace, for messages.
    pub namespace: String,
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// What a container's environment needs.
#[must_use]
pub fn references(container: &Container) -> References {
    let mut found = References::default();
    for source in container.env_from.iter().flatten() {
        found.config_maps.extend(source.config_map_ref.as_ref().map(|source| source.name.clone()));
        found.secrets.extend(source.secret_ref.as_ref().map(|source| source.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        found.config_maps.extend(source.config_map_key_ref.as_ref().map(|source| source.name.clone()));
        found.secrets.extend(source.secret_key_ref.as_ref().map(|source| source.name.clone()));
    }
    found
}

impl Lookup {
    /// Every entry of a ConfigMap that is text; `None` when it is optional and absent.
    pub(super) fn config_map(
        &self,
        name: &str,
        optional: bool,
    ) -> Result<Option<BTreeMap<String, String>>, TranslateError> {
        match self.config_maps.get(name) {
            Some(map) => Ok(Some(map.data.clone().unwrap_or_default())),
            None if optional => Ok(None),
            None => Err(self.no_object("configmap", name)),
        }
    }

    /// Every entry of a Secret, as text; `None` when it is optional and absent.
    pub(super) fn secret(
        &self,
        name: &str,
        optional: bool,
    ) -> Result<Option<BTreeMap<String, String>>, TranslateError> {
        match self.secrets.get(name) {
            Some(secret) => {
                let mut text = BTreeMap::new();
                for (key, bytes) in secret.data.iter().flatten() {
                    text.insert(key.clone(), String::from_utf8_lossy(&bytes.0).into_owned());
                }
                text.extend(secret.string_data.clone().unwrap_or_default());
                Ok(Some(text))
            }
            None if optional => Ok(None),
            None => Err(self.no_object("secret", name)),
        }
    }

    pub(super) fn no_key(&self, kind: &'static str, name: &str, key: &str) -> TranslateError {
        let (namespace, name, key) = (self.namespace.clone(), name.to_owned(), key.to_owned());
        TranslateError::NoKey { kind, namespace, name, key }
    }

    fn no_object(&self, kind: &'static str, name: &str) -> TranslateError {
        TranslateError::NoObject { kind, namespace: self.namespace.clone(), name: name.to_owned() }
    }
}
