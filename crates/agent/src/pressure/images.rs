//! What nobody needs: images that no pod uses, folders of pods that have ended.

use std::collections::HashSet;

use naru_runtime::image::{ImageId, ImageRecord};

use crate::{fleet::Fleet, volumes};

impl Fleet {
    /// Images that containers of this node were made from, or are about to be.
    pub(crate) fn images_in_use(&self) -> HashSet<ImageId> {
        let workers = self.workers();
        let mut used = HashSet::new();
        for worker in workers.values() {
            let observed = worker.view.borrow().clone();
            for image in observed.containers.values().filter_map(|seen| seen.image.as_ref()) {
                used.extend(image.id.parse::<ImageId>().ok());
                used.extend(image.shown.parse::<ImageId>().ok());
            }
        }
        used
    }
}

/// The images that may go, the one that came first in front: pure. Those that were built or loaded here came from no
/// registry and may be nowhere else; they stay, unless they have no name any more.
pub(super) fn dispensable(images: Vec<ImageRecord>, used: &HashSet<ImageId>) -> Vec<ImageRecord> {
    let mut found: Vec<ImageRecord> = images
        .into_iter()
        .filter(|image| !used.contains(&image.id) && (!image.digests.is_empty() || image.tags.is_empty()))
        .collect();
    found.sort_by(|a, b| a.stored_at.cmp(&b.stored_at).then_with(|| a.id.cmp(&b.id)));
    found
}

/// Removes unused images, one after the other, until `enough` says so; gives their number.
pub(super) async fn remove_unused(fleet: &Fleet, mut enough: impl FnMut() -> bool) -> usize {
    let images = &fleet.node.config.images;
    let Ok(all) = images.list().await else { return 0 };
    let mut removed = 0;
    for image in dispensable(all, &fleet.images_in_use()) {
        let id = image.id.to_string();
        // Asked anew: a pod may have come to need it.
        match images.remove(&id, true, &fleet.images_in_use()).await {
            Ok(freed) => {
                tracing::info!(
                    image = id,
                    names = image.tags.join(" "),
                    bytes = freed.reclaimed,
                    "an unused image was removed: the disk runs short"
                );
                removed += 1;
            }
            Err(error) => tracing::warn!(image = id, error = crate::chain(&error), "an unused image was not removed"),
        }
        if enough() {
            break;
        }
    }
    removed
}

/// Removes what pods that ended for good have left on the disk, but for their logs; gives the number of such pods.
pub(super) async fn clear_ended(fleet: &Fleet) -> usize {
    let ended: Vec<_> = {
        let workers = fleet.workers();
        let over = workers.iter().filter(|(uid, worker)| {
            worker.executor.is_over(&worker.view.borrow()) && !fleet.node.claims.is_occupied(uid)
        });
        over.map(|(_, worker)| worker.executor.paths.clone()).collect()
    };
    let mut cleared = 0;
    for paths in ended {
        let done = tokio::task::spawn_blocking(move || volumes::shed(&paths)).await;
        cleared += usize::from(matches!(done, Ok(true)));
    }
    cleared
}
