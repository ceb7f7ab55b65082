//! Where a claim's data lies: the bound volume's folder on this node.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use naru_api::k8s::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim};
use naru_client::Client;

use super::VolumeError;

/// The folder and whether it may only be read.
pub(super) async fn resolve(
    client: &Client,
    namespace: &str,
    volume: &str,
    claim: &str,
    state: &Path,
    node: &BTreeMap<String, String>,
) -> Result<(PathBuf, bool), VolumeError> {
    let failed = |object: String| {
        let volume = volume.to_owned();
        move |source| VolumeError::Api { volume, object, source }
    };
    let found = client.api::<PersistentVolumeClaim>(Some(namespace)).get_opt(claim).await;
    let found = found.map_err(failed(format!("persistentvolumeclaim {claim:?}")))?;
    let found = found.ok_or_else(|| {
        VolumeError::unusable(volume, format!("persistentvolumeclaim {claim:?} not found in {namespace:?}: create it"))
    })?;
    let bound = found.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let name = found.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    let Some(name) = name.filter(|_| bound) else {
        return Err(VolumeError::Unbound { volume: volume.to_owned(), claim: claim.to_owned() });
    };
    let found = client.api::<PersistentVolume>(None).get_opt(&name).await;
    let found = found.map_err(failed(format!("persistentvolume {name:?}")))?;
    let found = found.ok_or_else(|| VolumeError::unusable(volume, format!("persistentvolume {name:?} not found")))?;
    folder(volume, &name, &found, state, node)
}

/// Annotation of a volume: who made it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Whoever makes local volumes.
const LOCAL: &str = "naru.io/local";

/// The folder of a local volume. Ours (below `<state>/volumes`) are made when missing; any other must be there.
fn folder(
    volume: &str,
    name: &str,
    found: &PersistentVolume,
    state: &Path,
    node: &BTreeMap<String, String>,
) -> Result<(PathBuf, bool), VolumeError> {
    let spec = found.spec.as_ref();
    let local = spec.and_then(|spec| spec.local.as_ref()).map(|local| &local.path);
    let host = spec.and_then(|spec| spec.host_path.as_ref()).map(|host| &host.path);
    let Some(path) = local.or(host) else {
        let problem =
            format!("persistentvolume {name:?} is neither local nor hostPath: this node can mount no other kind");
        return Err(VolumeError::unusable(volume, problem));
    };
    let required = spec.and_then(|spec| spec.node_affinity.as_ref()).and_then(|affinity| affinity.required.as_ref());
    if let Some(required) = required.filter(|required| !matches(required, node)) {
        let problem = format!("persistentvolume {name:?} is on another node: {:?}", required.node_selector_terms);
        return Err(VolumeError::unusable(volume, problem));
    }
    let path = own_folder(found, Path::new(path), state);
    let plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    if !plain {
        return Err(VolumeError::unusable(
            volume,
            format!("persistentvolume {name:?}: path {path:?} must be absolute"),
        ));
    }
    if path.starts_with(state.join("volumes")) {
        std::fs::create_dir_all(&path).map_err(VolumeError::io("create", &path))?;
    } else if !path.exists() {
        let problem = format!("persistentvolume {name:?}: {path:?} does not exist on this node: create it");
        return Err(VolumeError::unusable(volume, problem));
    }
    let modes = spec.and_then(|spec| spec.access_modes.clone()).unwrap_or_default();
    Ok((path, modes == ["ReadOnlyMany"]))
}

/// Where a volume lies here. Ours are named by the server, below its own state folder; this machine's may be another one.
pub(super) fn own_folder(found: &PersistentVolume, path: &Path, state: &Path) -> PathBuf {
    let annotations = found.metadata.annotations.as_ref();
    let ours = annotations.and_then(|all| all.get(PROVISIONED_BY)).is_some_and(|by| by == LOCAL);
    match path.file_name().filter(|_| ours) {
        Some(name) => state.join("volumes").join(name),
        None => path.to_owned(),
    }
}

/// Whether this node's labels satisfy a volume's affinity: any term, all of its expressions.
fn matches(selector: &NodeSelector, labels: &BTreeMap<String, String>) -> bool {
    selector.node_selector_terms.iter().any(|term| {
        term.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|wanted| wanted == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_of_ours_lie_in_this_machines_state_folder_whatever_the_servers_is() {
        let volume = |by: &str| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "pvc-1", "annotations": {PROVISIONED_BY: by}}}))
                .expect("a volume")
        };
        let (path, state) = (Path::new("/srv/naru/volumes/shop_data_1"), Path::new("/var/lib/naru"));
        assert_eq!(own_folder(&volume(LOCAL), path, state), Path::new("/var/lib/naru/volumes/shop_data_1"));
        assert_eq!(own_folder(&volume("somebody"), path, state), path);
        assert_eq!(own_folder(&volume(LOCAL), Path::new("/"), state), Path::new("/"));
    }
}
