//! What `emptyDir` volumes on disk hold, where they have a limit: like kubelet, the node looks every few seconds and evicts
//! the pod that holds more. A quota of the filesystem would refuse the write instead, but few filesystems have one.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use naru_api::{
    Quantity,
    k8s::api::core::v1::{Pod, Volume},
};

use crate::translate::Paths;

/// Volumes on disk with a limit, by name: the limit as written.
fn limited(pod: &Pod) -> impl Iterator<Item = (&Volume, &str)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let empty = volume.empty_dir.as_ref().filter(|empty| empty.medium.as_deref().unwrap_or_default().is_empty())?;
        Some((volume, empty.size_limit.as_ref()?.0.as_str()))
    })
}

/// Whether there is anything to look at.
pub(crate) fn has_limits(pod: &Pod) -> bool {
    limited(pod).next().is_some()
}

/// The first volume that holds more than it may, in kubelet's words. Reads every folder of such volumes.
pub(crate) fn exceeded(pod: &Pod, paths: &Paths) -> Option<String> {
    limited(pod).find_map(|(volume, limit)| {
        let most = u64::try_from(Quantity::parse(limit).ok()?.value()).ok()?;
        // What vanishes while it is counted does not count.
        let used = used(&paths.volumes().join(&volume.name)).unwrap_or(0);
        (used > most).then(|| format!("Usage of EmptyDir volume {:?} exceeds the limit {limit:?}.", volume.name))
    })
}

/// Bytes on disk; links are not followed.
fn used(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    let mut total = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path)?.flatten() {
            total += used(&entry.path()).unwrap_or(0);
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_more_than_its_limit_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let paths = Paths::new(scratch.path(), "n", "p", "u");
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
            {"name": "free", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}},
            {"name": "tight", "emptyDir": {"sizeLimit": "100Ki"}}]}}))
        .unwrap();
        assert!(has_limits(&pod));
        for name in ["free", "memory", "tight"] {
            fs::create_dir_all(paths.volumes().join(name).join("deep")).unwrap();
            fs::write(paths.volumes().join(name).join("deep/file"), vec![1; 50 << 10]).unwrap();
        }
        assert_eq!(exceeded(&pod, &paths), None);
        fs::write(paths.volumes().join("tight/more"), vec![1; 60 << 10]).unwrap();
        let text = exceeded(&pod, &paths).unwrap();
        assert_eq!(text, "Usage of EmptyDir volume \"tight\" exceeds the limit \"100Ki\".");
    }
}
