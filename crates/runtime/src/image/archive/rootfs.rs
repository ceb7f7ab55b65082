//! Images made of one root file system.

use super::legacy::diff_id;
use super::{Layer, Opened, Prepared, assemble, keep_config};
use crate::image::compression::Compression;
use crate::image::config::{ConfigFile, HistoryEntry, ImageConfig, RootfsSection, RunSection};
use crate::image::error::ImageError;
use crate::image::layer::pack;
use crate::image::platform::Platform;
use crate::image::record::ImageId;
use crate::image::store::Store;

/// Makes an image of a tar archive (kept as compressed as it is) or of a folder.
pub(crate) fn import_rootfs(
    store: &Store,
    opened: Opened,
    config: &ImageConfig,
    name: Option<String>,
) -> Result<Prepared, ImageError> {
    let staged = match opened {
        Opened::Folder(path) => {
            let what = format!("the packed folder {}", path.display());
            store.stage_with(&what, |out| pack(&path, out))?
        }
        Opened::Tar { name, reader, .. } => store.stage(&name, reader, store.limits.bytes)?,
    };
    let mut start = [0; 4];
    let read = std::fs::File::open(staged.path()).and_then(|mut file| std::io::Read::read(&mut file, &mut start));
    let compression = Compression::of(&start[..read.map_err(ImageError::io("read", staged.path()))?]);
    let size = staged.size;
    let layer = Layer { digest: store.keep(staged)?, size, compression };
    let host = Platform::host();
    let file = ConfigFile {
        created: Some(jiff::Timestamp::now().to_string()),
        author: None,
        architecture: host.architecture,
        os: host.os,
        variant: host.variant,
        config: RunSection::of(config),
        rootfs: RootfsSection { kind: "layers".into(), diff_ids: vec![diff_id(store, &layer)?] },
        history: vec![HistoryEntry { comment: Some("imported root file system".into()), ..Default::default() }],
    };
    let (digest, size) = keep_config(store, &file)?;
    let manifest = assemble(store, &digest, size, vec![layer])?;
    Ok(Prepared { id: ImageId(digest), manifest, names: name.into_iter().collect(), digests: Vec::new() })
}
