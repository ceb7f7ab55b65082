//! From `volumeMounts` to the runtime's mounts: pure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use naru_api::{
    k8s::api::core::v1::{Container, Pod},
    naru::names,
};
use naru_runtime::{
    image::ImageConfig,
    pod::{Mount, MountSource, Propagation},
};

use super::{Prepared, VolumeError};
use crate::translate::{Paths, expand};

/// A host folder that is filled from the image when it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyUp {
    /// The folder.
    pub host: PathBuf,
    /// The image's folder.
    pub inside: PathBuf,
}

/// The mounts of one container, shorter targets first, and what is to be copied up before it starts.
pub(crate) fn container_mounts(
    pod: &Pod,
    container: &Container,
    prepared: &Prepared,
    paths: &Paths,
    image: &ImageConfig,
    value: impl Fn(&str) -> Option<String>,
) -> Result<(Vec<Mount>, Vec<CopyUp>), VolumeError> {
    let copied = copied_volumes(pod);
    let (mut mounts, mut copies) = (Vec::new(), Vec::new());
    for wanted in container.volume_mounts.iter().flatten() {
        let volume = &wanted.name;
        let path = prepared.paths.get(volume).cloned();
        let path =
            path.ok_or_else(|| VolumeError::unusable(volume, "is mounted but is not one of the pod's volumes"))?;
        let expression = wanted.sub_path_expr.as_deref().map(|text| expand(text, &value));
        let subpath = expression.or_else(|| wanted.sub_path.clone()).filter(|text| !text.is_empty());
        if let Some(text) = subpath.as_deref().filter(|text| leaves(text)) {
            return Err(VolumeError::unusable(volume, format!("subPath {text:?} must be relative and without \"..\"")));
        }
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        };
        let target = PathBuf::from(&wanted.mount_path);
        if copied.iter().any(|name| name == volume) && subpath.is_none() {
            copies.push(CopyUp { host: path.clone(), inside: target.clone() });
        }
        let read_only = wanted.read_only == Some(true) || prepared.read_only.contains(volume);
        let subpath = subpath.map(PathBuf::from);
        mounts.push(Mount {
            target,
            source: MountSource::Bind { path, subpath, propagation },
            read_only,
            noexec: false,
        });
    }
    for target in anonymous(pod, container, image) {
        if mounts.iter().any(|mount: &Mount| mount.target == target) {
            continue;
        }
        let host = anonymous_path(paths, &container.name, &target);
        copies.push(CopyUp { host: host.clone(), inside: target.clone() });
        let source = MountSource::Bind { path: host, subpath: None, propagation: Propagation::Private };
        mounts.push(Mount { target, source, read_only: false, noexec: false });
    }
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok((mounts, copies))
}

fn leaves(text: &str) -> bool {
    text.starts_with('/') || Path::new(text).components().any(|part| matches!(part, std::path::Component::ParentDir))
}

/// Names of volumes (or of the claims behind them) that are filled from the image.
fn copied_volumes(pod: &Pod) -> Vec<String> {
    let note = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::COPY_UP));
    let listed: Vec<String> = note.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let chosen = volumes.filter(|volume| {
        let claim = volume.persistent_volume_claim.as_ref().map(|claim| &claim.claim_name);
        listed.contains(&volume.name) || claim.is_some_and(|claim| listed.contains(claim))
    });
    chosen.map(|volume| volume.name.clone()).collect()
}

/// Paths that the image declares as volumes, for pods that follow Docker's rules, and those that the annotation adds.
fn anonymous(pod: &Pod, container: &Container, image: &ImageConfig) -> Vec<PathBuf> {
    let note = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(names::VOLUMES_FROM_IMAGE));
    let listed: BTreeMap<String, Vec<String>> =
        note.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let own = listed.get(&container.name);
    let compose = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::PROJECT));
    if own.is_none() && !compose {
        return Vec::new();
    }
    let mut all: Vec<PathBuf> = own.into_iter().flatten().chain(&image.volumes).map(PathBuf::from).collect();
    all.sort();
    all.dedup();
    all
}

/// Where an anonymous volume lies: with the pod, since it belongs to nobody else.
fn anonymous_path(paths: &Paths, container: &str, target: &Path) -> PathBuf {
    let flat = target.to_string_lossy().trim_matches('/').replace('%', "%25").replace('/', "%2F");
    paths.root.join("anonymous").join(container).join(flat)
}
