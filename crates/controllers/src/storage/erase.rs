//! Taking away a local volume's data.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use naru_client::BoxError;

/// Takes away the folder of a local volume. Whoever starts the controllers says how its nodes are reached.
pub type Eraser = Arc<dyn Fn(PathBuf) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// An eraser for a single machine: it removes folders directly below `folder`, and refuses all else.
pub fn erase_below(folder: impl Into<PathBuf>) -> Eraser {
    let folder: Arc<Path> = folder.into().into();
    Arc::new(move |path: PathBuf| {
        let folder = folder.clone();
        Box::pin(async move {
            let below = path.strip_prefix(&folder).ok().map(|rest| rest.components().collect::<Vec<_>>());
            if !matches!(below.as_deref(), Some([Component::Normal(_)])) {
                return Err(format!("{} is not directly below {}", path.display(), folder.display()).into());
            }
            match tokio::fs::remove_dir_all(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            }
        })
    })
}
