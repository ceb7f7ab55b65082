//! Preparing every volume of a pod on the host side.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown, lchown},
    path::{Path, PathBuf},
};

use naru_api::{
    Quantity,
    k8s::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume},
};
use naru_client::Client;
use rustix::mount::{MountFlags, mount};

use super::{Payload, Prepared, Sources, VolumeError, claims, payload::payload, write_payload};
use crate::translate::{Facts, Lookup, Paths};

/// What preparation needs.
pub(crate) struct Prepare<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its folders.
    pub paths: &'a Paths,
    /// The agent's state folder.
    pub state: &'a Path,
    /// The way to claims and volumes.
    pub client: &'a Client,
    /// What only the node knows.
    pub facts: &'a Facts,
    /// The node's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// ConfigMaps and Secrets.
    pub lookup: &'a Lookup,
    /// Tokens by audience and lifetime.
    pub tokens: &'a BTreeMap<(String, i64), String>,
}

/// A volume with what was fetched for it.
enum Source {
    Folder(PathBuf, bool),
    Empty(EmptyDirVolumeSource),
    Host(HostPathVolumeSource),
    Files(Payload, bool),
}

/// Owner and permissions that a volume is to have (`naru.io/volume-owners`).
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
}

impl Owner {
    /// Of every volume that the pod says it of.
    fn all(pod: &Pod) -> BTreeMap<String, Owner> {
        let note = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(naru_api::naru::names::VOLUME_OWNERS));
        note.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// Makes every volume complete, or names the first that cannot be. May be repeated; a repetition updates files.
pub(crate) async fn prepare(input: Prepare<'_>) -> Result<Prepared, VolumeError> {
    let namespace = input.pod.metadata.namespace.as_deref().unwrap_or("default");
    let spec = input.pod.spec.as_ref();
    let mut sources = Vec::new();
    for volume in spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let sources_of = Sources { pod: input.pod, facts: input.facts, lookup: input.lookup, tokens: input.tokens };
        let source = if let Some(files) = payload(volume, &sources_of)? {
            Source::Files(files, volume.secret.is_some() || has_token(volume))
        } else if let Some(claim) = claim_name(input.pod, volume) {
            let (path, read_only) =
                claims::resolve(input.client, namespace, &volume.name, &claim, input.state, input.labels).await?;
            let asked = volume.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only);
            Source::Folder(path, read_only || asked == Some(true))
        } else if let Some(host) = &volume.host_path {
            Source::Host(host.clone())
        } else if let Some(empty) = &volume.empty_dir {
            Source::Empty(empty.clone())
        } else if is_plain(volume) {
            // The API's default for a volume without a source.
            Source::Empty(EmptyDirVolumeSource::default())
        } else {
            let problem = "this kind of volume is not supported: use emptyDir, hostPath, configMap, secret, downwardAPI, \
                           projected or persistentVolumeClaim";
            return Err(VolumeError::unusable(&volume.name, problem));
        };
        sources.push((volume.name.clone(), source));
    }
    let group = spec.and_then(|spec| spec.security_context.as_ref()).and_then(|context| context.fs_group);
    let group = group.and_then(|group| u32::try_from(group).ok());
    let on_mismatch = spec
        .and_then(|spec| spec.security_context.as_ref())
        .and_then(|context| context.fs_group_change_policy.as_deref())
        == Some("OnRootMismatch");
    let owners = Owner::all(input.pod);
    let paths = input.paths.clone();
    let made = tokio::task::spawn_blocking(move || make(&paths, sources, &owners, group, on_mismatch)).await;
    made.map_err(|error| VolumeError::Io {
        what: "prepare",
        path: input.paths.root.clone(),
        source: io::Error::other(error),
    })?
}

fn has_token(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources.into_iter().any(|source| source.service_account_token.is_some() || source.secret.is_some())
}

/// The claim behind a volume; a generic ephemeral one is named after the pod.
pub(crate) fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    let named = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
    let own = || {
        volume
            .ephemeral
            .as_ref()
            .map(|_| format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name))
    };
    named.or_else(own)
}

/// A volume that names no source at all.
fn is_plain(volume: &Volume) -> bool {
    *volume == Volume { name: volume.name.clone(), ..Volume::default() }
}

fn make(
    paths: &Paths,
    sources: Vec<(String, Source)>,
    owners: &BTreeMap<String, Owner>,
    group: Option<u32>,
    on_mismatch: bool,
) -> Result<Prepared, VolumeError> {
    let mut prepared = Prepared::default();
    make_private(&paths.root)?;
    let secret_root = paths.root.join("secrets");
    for (name, source) in sources {
        let owner = owners.get(&name).copied().unwrap_or_default();
        let path = match source {
            Source::Folder(path, read_only) => {
                if read_only {
                    prepared.read_only.push(name.clone());
                } else if let Some(group) = group {
                    own(&path, group, on_mismatch).map_err(VolumeError::io("set the group of", &path))?;
                }
                path
            }
            Source::Host(host) => {
                host_path(&name, &host)?;
                PathBuf::from(host.path)
            }
            Source::Empty(empty) => {
                let path = paths.volumes().join(&name);
                empty_dir(&name, &path, &empty, owner.mode.unwrap_or(0o777), group)?;
                if owner.uid.or(owner.gid).is_some() {
                    chown(&path, owner.uid, owner.gid).map_err(VolumeError::io("set the owner of", &path))?;
                }
                path
            }
            Source::Files(files, secret) => {
                // Secrets are kept in memory; all of a pod's share one filesystem.
                let path = if secret {
                    memory(&secret_root, None, 0o755)?;
                    secret_root.join(&name)
                } else {
                    paths.volumes().join(&name)
                };
                write_payload(&path, &files, group)?;
                if owner.uid.or(owner.gid).is_some() {
                    for name in files.keys() {
                        let file = path.join("..data").join(name);
                        chown(&file, owner.uid, owner.gid).map_err(VolumeError::io("set the owner of", &file))?;
                    }
                }
                prepared.read_only.push(name.clone());
                path
            }
        };
        prepared.paths.insert(name, path);
    }
    Ok(prepared)
}

/// The pod's folder, closed to other users of the machine.
fn make_private(root: &Path) -> Result<(), VolumeError> {
    fs::create_dir_all(root).map_err(VolumeError::io("create", root))?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o711)).map_err(VolumeError::io("set permissions of", root))
}

fn empty_dir(
    name: &str,
    path: &Path,
    source: &EmptyDirVolumeSource,
    mode: u32,
    group: Option<u32>,
) -> Result<(), VolumeError> {
    let limit = source.size_limit.as_ref().map(|limit| Quantity::parse(&limit.0)).transpose();
    let limit = limit.map_err(|error| VolumeError::unusable(name, format!("sizeLimit: {error}")))?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {
            if !path.exists() {
                fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o777))
                    .map_err(VolumeError::io("set permissions of", path))?;
            }
        }
        "Memory" => memory(path, limit.map(|limit| limit.value()), mode)?,
        other => {
            let problem = format!("emptyDir medium {other:?} is not supported: use \"\" or \"Memory\"");
            return Err(VolumeError::unusable(name, problem));
        }
    }
    if let Some(group) = group {
        own(path, group, true).map_err(VolumeError::io("set the group of", path))?;
    }
    Ok(())
}

/// A memory filesystem at `path`, once.
fn memory(path: &Path, size: Option<i64>, mode: u32) -> Result<(), VolumeError> {
    fs::create_dir_all(path).map_err(VolumeError::io("create", path))?;
    let magic = rustix::fs::statfs(path).map_err(|error| VolumeError::Io {
        what: "look at",
        path: path.into(),
        source: error.into(),
    })?;
    const TMPFS: i64 = 0x0102_1994;
    let above = path.parent().and_then(|parent| rustix::fs::stat(parent).ok()).map(|stat| stat.st_dev);
    let here = rustix::fs::stat(path).ok().map(|stat| stat.st_dev);
    #[allow(clippy::unnecessary_cast)] // the type differs between targets
    if magic.f_type as i64 == TMPFS && above != here {
        return Ok(());
    }
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    let options = std::ffi::CString::new(format!("mode={mode:o}{size}")).map_err(|error| VolumeError::Io {
        what: "mount",
        path: path.into(),
        source: error.into(),
    })?;
    mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str()).map_err(|error| {
        VolumeError::Io { what: "mount a memory filesystem at", path: path.into(), source: error.into() }
    })
}

fn host_path(volume: &str, source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let found = fs::metadata(path);
    match kind {
        "DirectoryOrCreate" if found.is_err() => {
            return fs::create_dir_all(path).map_err(VolumeError::io("create", path));
        }
        "FileOrCreate" if found.is_err() => {
            return fs::File::create_new(path).map(drop).map_err(VolumeError::io("create", path));
        }
        _ => {}
    }
    let found = found.map_err(|error| VolumeError::unusable(volume, format!("hostPath {path:?}: {error}")))?;
    let file_type = found.file_type();
    let fits = match kind {
        "" => true,
        "Directory" | "DirectoryOrCreate" => file_type.is_dir(),
        "File" | "FileOrCreate" => file_type.is_file(),
        "Socket" => file_type.is_socket(),
        "CharDevice" => file_type.is_char_device(),
        "BlockDevice" => file_type.is_block_device(),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(VolumeError::unusable(volume, format!("hostPath type check failed: {path:?} is not a {kind}")))
    }
}

/// Gives a volume to a group: owned, readable and writable by it, new files inherit it. With `on_mismatch` only when
/// the top is not so already.
fn own(path: &Path, group: u32, on_mismatch: bool) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(path)?;
    if on_mismatch && meta.gid() == group && meta.mode() & 0o2070 == 0o2070 {
        return Ok(());
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), group, false)?;
        }
        chown(path, None, Some(group))?;
        return fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777 | 0o2770));
    }
    lchown(path, None, Some(group))?;
    if meta.is_file() {
        fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777 | 0o660))?;
    }
    Ok(())
}
