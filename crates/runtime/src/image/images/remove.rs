//! Taking names and images away.

use std::collections::HashSet;

use super::{Images, blocking};
use crate::image::error::ImageError;
use crate::image::options::PruneOptions;
use crate::image::record::{ImageId, Removed, Usage};
use crate::image::store::{By, Index, Meaning};

impl Images {
    /// Takes a name away, and with the last one the image and whatever no other image needs.
    ///
    /// An id removes the image with all its names, several only by `force`. Images `in_use` by containers lose at most
    /// names, and their last one only by `force`.
    pub async fn remove(&self, name: &str, force: bool, in_use: &HashSet<ImageId>) -> Result<Removed, ImageError> {
        let (store, name, in_use) = (self.store.clone(), name.to_owned(), in_use.clone());
        blocking("removing an image", move || {
            let mut removed = store.update(|index| {
                let meaning = index.resolve(&name)?.ok_or_else(|| ImageError::NotFound { name: name.clone() })?;
                take(index, &name, meaning, force, &in_use)
            })?;
            if !removed.deleted.is_empty() {
                removed.reclaimed = store.collect()?.unwrap_or(0);
            }
            Ok(removed)
        })
        .await
    }

    /// Removes images nobody needs, and whatever belongs to no image.
    pub async fn prune(&self, options: PruneOptions) -> Result<Removed, ImageError> {
        let store = self.store.clone();
        blocking("pruning images", move || {
            let mut removed = store.update(|index| {
                let mut removed = Removed::default();
                let candidates: Vec<ImageId> =
                    index.images.keys().filter(|id| !options.in_use.contains(*id)).cloned().collect();
                for id in candidates {
                    let names = index.names_of(&id);
                    if names.is_empty() || options.all {
                        delete(index, &id, names, &mut removed);
                    }
                }
                Ok(removed)
            })?;
            removed.reclaimed = store.collect()?.unwrap_or(0);
            Ok(removed)
        })
        .await
    }

    /// What the store takes, and what of it no image of `in_use` needs.
    pub async fn usage(&self, in_use: &HashSet<ImageId>) -> Result<Usage, ImageError> {
        let (store, in_use) = (self.store.clone(), in_use.clone());
        blocking("measuring the image store", move || {
            let index = store.index()?;
            let mut used = (*index).clone();
            used.images.retain(|id, _| in_use.contains(id));
            let (all, needed) = (store.measure(&index)?, store.measure(&used)?);
            Ok(Usage {
                images: index.images.len() as u64,
                blobs: all.0,
                layers: all.1,
                reclaimable: (all.0 + all.1).saturating_sub(needed.0 + needed.1),
            })
        })
        .await
    }
}

/// Changes the list as a removal asks; a refusal changes nothing.
fn take(
    index: &mut Index,
    name: &str,
    meaning: Meaning,
    force: bool,
    in_use: &HashSet<ImageId>,
) -> Result<Removed, ImageError> {
    let refuse = |reason: String| Err(ImageError::InUse { name: name.to_owned(), reason });
    let (id, used) = (meaning.id.clone(), in_use.contains(&meaning.id));
    let names = index.names_of(&id);
    let mut removed = Removed::default();
    match meaning.by {
        By::Name(tag) if names.len() > 1 || (used && force) => {
            index.names.remove(&tag);
            removed.untagged.push(tag);
        }
        By::Id if used => return refuse("a container uses it: remove the container first".into()),
        By::Id if names.len() > 1 && !force => {
            return refuse(format!("it has the names {}: remove them one by one, or use --force", names.join(", ")));
        }
        By::Digest(digest) if !names.is_empty() => {
            if let Some(listed) = index.images.get_mut(&id) {
                listed.digests.remove(&digest);
            }
            removed.untagged.push(digest);
        }
        _ if used => {
            return refuse(
                "a container uses it: remove the container first, or use --force to take only its name away".into(),
            );
        }
        _ => delete(index, &id, names, &mut removed),
    }
    Ok(removed)
}

fn delete(index: &mut Index, id: &ImageId, names: Vec<String>, removed: &mut Removed) {
    for name in names {
        index.names.remove(&name);
        removed.untagged.push(name);
    }
    if let Some(listed) = index.images.remove(id) {
        removed.untagged.extend(listed.digests);
    }
    removed.deleted.push(id.clone());
}
