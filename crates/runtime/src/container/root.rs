//! The overlay root.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::Path,
};

use super::failure::{At, Outcome};
use crate::{
    pod::{Overlay, StartStep},
    sys,
};

/// Mounts the overlay on `place` and opens it.
///
/// Layers are named by descriptor ("7:8:9"), relative to `/proc/self/fd`: so their paths may hold any character and any
/// number of them fits the one page that mount(2) gives to options (about 900 layers; the kernel's own limit is 500).
pub(super) fn mount_overlay(overlay: &Overlay, place: &Path) -> Outcome<OwnedFd> {
    let open = |path: &Path| {
        File::open(path).at(StartStep::Root, || format!("opening layer {}", path.display())).map(OwnedFd::from)
    };
    for folder in [&overlay.upper, &overlay.work] {
        make_folder(folder).at(StartStep::Root, || format!("making {}", folder.display()))?;
    }
    let lower = overlay.lower.iter().map(|layer| open(layer)).collect::<Outcome<Vec<_>>>()?;
    let (upper, work) = (open(&overlay.upper)?, open(&overlay.work)?);
    let names: Vec<_> = lower.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", names.join(":"), upper.as_raw_fd(), work.as_raw_fd());
    std::env::set_current_dir("/proc/self/fd").at(StartStep::Root, || "entering /proc/self/fd")?;
    sys::mount(Some(Path::new("overlay")), place, Some("overlay"), 0, Some(&options)).at(StartStep::Root, || {
        format!("mounting the overlay of {} layers over {}", lower.len(), overlay.upper.display())
    })?;
    std::env::set_current_dir("/").at(StartStep::Root, || "entering /")?;
    File::open(place).at(StartStep::Root, || format!("opening {}", place.display())).map(Into::into)
}

/// A layer's folder is its container's `/`: everyone may enter it.
fn make_folder(path: &Path) -> std::io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o755).create(path) {
        Err(error) if !path.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// Makes the root read-only without touching what is mounted inside.
pub(super) fn read_only(root: &impl AsFd) -> Outcome {
    sys::make_read_only(root.as_fd(), false).at(StartStep::Root, || "making the root read-only")
}
