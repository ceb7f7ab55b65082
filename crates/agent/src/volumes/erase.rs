//! Erasing the data of a local volume whose time is over.
//!
//! What may be erased is judged here once more, whatever the API says: a folder directly below `<state>/volumes` that is
//! named after the claim and its uid. A claim that was made again under the same name has another uid, so that its data
//! is never meant.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use naru_api::{View, k8s::api::core::v1::PersistentVolume};

use super::{VolumeError, claims, remove::mounts_below};

/// Finalizer of a volume whose data lies on a node.
pub(crate) const DATA: &str = "naru.io/local-data";
/// Label of a volume whose data has to go: the node that erases it.
pub(crate) const ERASE_ON: &str = "naru.io/erase-on";

/// A volume whose data this node has to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Duty {
    /// The volume's name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The state that was seen.
    pub revision: String,
    /// The finalizers that stay.
    pub others: Vec<String>,
    /// `namespace/name` of the claim that had it.
    pub claim: String,
    /// Where its data lies; or why nothing of it is erased.
    pub folder: Result<PathBuf, String>,
}

/// What a volume asks of this node; nothing unless it is on its way out and this node has its data.
pub(crate) fn duty(volume: &PersistentVolume, node: &str, state: &Path) -> Option<Duty> {
    let meta = &volume.metadata;
    let finalizers = meta.finalizers.clone().unwrap_or_default();
    let chosen = meta.labels.as_ref().and_then(|labels| labels.get(ERASE_ON)).is_some_and(|name| name == node);
    if meta.deletion_timestamp.is_none() || !chosen || !finalizers.iter().any(|name| name == DATA) {
        return None;
    }
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Duty {
        name: volume.name().to_owned(),
        uid: volume.uid().to_owned(),
        revision: text(&meta.resource_version),
        others: finalizers.into_iter().filter(|name| name != DATA).collect(),
        claim: format!("{}/{}", text(&claim.namespace), text(&claim.name)),
        folder: folder(volume, state),
    })
}

fn folder(volume: &PersistentVolume, state: &Path) -> Result<PathBuf, String> {
    let spec = volume.spec.as_ref();
    let path = spec.and_then(|spec| spec.local.as_ref()).map(|local| local.path.clone()).unwrap_or_default();
    let claim = spec.and_then(|spec| spec.claim_ref.clone()).unwrap_or_default();
    let part = |text: Option<String>| text.unwrap_or_default();
    let expected = format!("{}_{}_{}", part(claim.namespace), part(claim.name), part(claim.uid));
    let own = claims::own_folder(volume, Path::new(&path), state);
    let below = own.strip_prefix(state.join("volumes")).ok();
    let mut parts = below.into_iter().flat_map(Path::components);
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name == expected.as_str() => Ok(own),
        _ => Err(format!("{path:?} is not the folder of this claim's volume ({expected}): nothing of it is erased")),
    }
}

/// Whether a pod of this machine was given this folder: what was noted when its volumes were prepared.
pub(crate) fn noted(root: &Path, folder: &Path) -> bool {
    let text = fs::read(root.join("prepared.json")).unwrap_or_default();
    let saved = serde_json::from_slice::<(std::collections::BTreeMap<String, PathBuf>, Vec<String>)>(&text);
    saved.is_ok_and(|(paths, _)| paths.values().any(|path| path == folder))
}

/// Removes the folder and what is in it. Links are removed and not followed; nothing is done while anything is mounted
/// below it. May be repeated.
pub(crate) fn erase(folder: &Path) -> Result<(), VolumeError> {
    if let Some(mount) = mounts_below(folder)?.into_iter().next() {
        return Err(VolumeError::StillMounted { path: folder.into(), mount });
    }
    let removed = match fs::symlink_metadata(folder) {
        Ok(meta) if !meta.is_dir() => fs::remove_file(folder),
        Ok(_) => fs::remove_dir_all(folder),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(VolumeError::Io { what: "erase", path: folder.into(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(change: impl FnOnce(&mut Value)) -> PersistentVolume {
        let mut object = json!({
            "metadata": {"name": "pvc-c", "uid": "u", "resourceVersion": "7", "labels": {ERASE_ON: "w1"},
                "annotations": {"pv.kubernetes.io/provisioned-by": "naru.io/local"},
                "finalizers": [DATA, "example.org/more"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"local": {"path": "/srv/server/volumes/shop_data_c"},
                "claimRef": {"namespace": "shop", "name": "data", "uid": "c"}}});
        change(&mut object);
        serde_json::from_value(object).expect("a volume")
    }

    #[test]
    fn only_what_is_on_its_way_out_and_this_nodes_is_a_duty() {
        let state = Path::new("/var/lib/naru");
        let found = duty(&volume(|_| {}), "w1", state).expect("a duty");
        assert_eq!(found.folder, Ok("/var/lib/naru/volumes/shop_data_c".into()));
        assert_eq!((found.claim.as_str(), found.others), ("shop/data", vec!["example.org/more".to_owned()]));
        assert_eq!(duty(&volume(|_| {}), "w2", state), None, "another node's");
        let live = volume(|object| object["metadata"]["deletionTimestamp"] = Value::Null);
        assert_eq!(duty(&live, "w1", state), None, "it is in use");
        assert_eq!(duty(&volume(|object| object["metadata"]["finalizers"] = json!([])), "w1", state), None, "done");
    }

    #[test]
    fn nothing_but_the_folder_of_that_claim_is_erased() {
        let folder = |change: &dyn Fn(&mut Value)| {
            duty(&volume(change), "w1", Path::new("/var/lib/naru")).expect("a duty").folder
        };
        folder(&|object| object["spec"]["claimRef"]["uid"] = "d".into()).expect_err("made again under the same name");
        folder(&|object| object["spec"]["local"]["path"] = "/".into()).expect_err("the root");
        folder(&|object| object["spec"]["local"]["path"] = "/x/..".into()).expect_err("above");
        folder(&|object| object["metadata"]["annotations"] = Value::Null).expect_err("somebody else made it");
        folder(&|object| object["spec"]["claimRef"] = Value::Null).expect_err("nobody knows whose it was");
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let (volume, outside) = (scratch.path().join("v"), scratch.path().join("outside"));
        fs::create_dir_all(volume.join("deep")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        std::os::unix::fs::symlink(&outside, volume.join("deep/link")).unwrap();
        erase(&volume).unwrap();
        assert!(!volume.exists() && outside.join("kept").exists());
        // The folder itself is a link.
        std::os::unix::fs::symlink(&outside, &volume).unwrap();
        erase(&volume).unwrap();
        assert!(fs::symlink_metadata(&volume).is_err() && outside.join("kept").exists());
        erase(&volume).unwrap();
    }

    #[test]
    fn what_a_pod_was_given_is_noted() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("prepared.json"), r#"[{"data": "/v/shop_data_c"}, []]"#).unwrap();
        assert!(noted(root.path(), Path::new("/v/shop_data_c")) && !noted(root.path(), Path::new("/v/shop_data_d")));
    }
}
