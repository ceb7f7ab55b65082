//! What files a volume from objects holds: pure, given the objects.

use std::collections::{BTreeMap, BTreeSet};

use naru_api::k8s::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection, Volume,
};

use super::{Entry, VolumeError};
use crate::translate::{Facts, Lookup, References, field, resource_field};

/// The files of one volume.
pub(crate) type Payload = BTreeMap<String, Entry>;

/// What payloads are made from.
pub(crate) struct Sources<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What only the node knows.
    pub facts: &'a Facts,
    /// ConfigMaps and Secrets.
    pub lookup: &'a Lookup,
    /// Tokens by audience and lifetime.
    pub tokens: &'a BTreeMap<(String, i64), String>,
}

/// Objects and tokens that a pod's volumes need.
pub(crate) fn needs(pod: &Pod) -> (References, BTreeSet<(String, i64)>) {
    let mut found = References::default();
    let mut tokens = BTreeSet::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        found.config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        found.secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            found.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            found.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
            tokens.extend(source.service_account_token.as_ref().map(token_key));
        }
    }
    (found, tokens)
}

fn token_key(source: &ServiceAccountTokenProjection) -> (String, i64) {
    (source.audience.clone().unwrap_or_default(), source.expiration_seconds.unwrap_or(3600))
}

/// The files of a volume, or `None` when it is not one of files from objects.
pub(crate) fn payload(volume: &Volume, sources: &Sources<'_>) -> Result<Option<Payload>, VolumeError> {
    let name = &volume.name;
    let mut files = Payload::new();
    if let Some(source) = &volume.config_map {
        let mode = mode(source.default_mode);
        config_map(name, &source.name, source.items.as_deref(), source.optional, mode, sources, &mut files)?;
    } else if let Some(source) = &volume.secret {
        let secret = source.secret_name.clone().unwrap_or_default();
        self::secret(
            name,
            &secret,
            source.items.as_deref(),
            source.optional,
            mode(source.default_mode),
            sources,
            &mut files,
        )?;
    } else if let Some(source) = &volume.downward_api {
        downward(name, source.items.as_deref(), mode(source.default_mode), sources, &mut files)?;
    } else if let Some(source) = &volume.projected {
        let mode = mode(source.default_mode);
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.config_map {
                config_map(name, &part.name, part.items.as_deref(), part.optional, mode, sources, &mut files)?;
            } else if let Some(part) = &part.secret {
                secret(name, &part.name, part.items.as_deref(), part.optional, mode, sources, &mut files)?;
            } else if let Some(part) = &part.downward_api {
                downward(name, part.items.as_deref(), mode, sources, &mut files)?;
            } else if let Some(part) = &part.service_account_token {
                let token = sources.tokens.get(&token_key(part));
                let token = token.ok_or_else(|| VolumeError::unusable(name, "no token was issued"))?;
                files.insert(part.path.clone(), Entry { bytes: token.clone().into_bytes(), mode });
            } else {
                let problem = "projected sources other than configMap, secret, downwardAPI and serviceAccountToken are not supported";
                return Err(VolumeError::unusable(name, problem));
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644) & 0o7777
}

fn config_map(
    volume: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    sources: &Sources<'_>,
    files: &mut Payload,
) -> Result<(), VolumeError> {
    let content = match sources.lookup.config_maps.get(name) {
        Some(map) => bytes_of_map(map),
        None if optional == Some(true) => return Ok(()),
        None => {
            let problem = format!("configmap {name:?} not found: create it, or mark the volume optional");
            return Err(VolumeError::unusable(volume, problem));
        }
    };
    pick(volume, "configmap", name, content, items, optional, mode, files)
}

fn secret(
    volume: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    sources: &Sources<'_>,
    files: &mut Payload,
) -> Result<(), VolumeError> {
    let content = match sources.lookup.secrets.get(name) {
        Some(secret) => bytes_of_secret(secret),
        None if optional == Some(true) => return Ok(()),
        None => {
            let problem = format!("secret {name:?} not found: create it, or mark the volume optional");
            return Err(VolumeError::unusable(volume, problem));
        }
    };
    pick(volume, "secret", name, content, items, optional, mode, files)
}

fn bytes_of_map(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
    text.chain(binary).collect()
}

fn bytes_of_secret(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let text = secret.string_data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let binary = secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
    binary.chain(text).collect()
}

#[allow(clippy::too_many_arguments)]
fn pick(
    volume: &str,
    kind: &str,
    name: &str,
    mut content: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
    files: &mut Payload,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(content.into_iter().map(|(key, bytes)| (key, Entry { bytes, mode })));
        return Ok(());
    };
    for item in items {
        match content.remove(&item.key) {
            Some(bytes) => {
                let mode = item.mode.map_or(mode, |own| self::mode(Some(own)));
                files.insert(item.path.clone(), Entry { bytes, mode });
            }
            None if optional == Some(true) => {}
            None => {
                let problem = format!("{kind} {name:?} has no key {:?}: add it, or mark the volume optional", item.key);
                return Err(VolumeError::unusable(volume, problem));
            }
        }
    }
    Ok(())
}

fn downward(
    volume: &str,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: u32,
    sources: &Sources<'_>,
    files: &mut Payload,
) -> Result<(), VolumeError> {
    for item in items.into_iter().flatten() {
        let text = if let Some(reference) = &item.field_ref {
            field(sources.pod, sources.facts, &reference.field_path)
        } else if let Some(reference) = &item.resource_field_ref {
            let wanted = reference.container_name.as_deref().unwrap_or_default();
            let spec = sources.pod.spec.as_ref();
            let found = spec.and_then(|spec| spec.containers.iter().find(|container| container.name == wanted));
            let problem = || format!("resourceFieldRef names the container {wanted:?}, which the pod does not have");
            let container = found.ok_or_else(|| VolumeError::unusable(volume, problem()))?;
            let divisor = reference.divisor.as_ref().map(|quantity| quantity.0.as_str());
            resource_field(container, sources.facts, &reference.resource, divisor)
        } else {
            continue;
        };
        let text = text.map_err(|error| VolumeError::unusable(volume, error.to_string()))?;
        let mode = item.mode.map_or(mode, |own| self::mode(Some(own)));
        files.insert(item.path.clone(), Entry { bytes: text.into_bytes(), mode });
    }
    Ok(())
}
