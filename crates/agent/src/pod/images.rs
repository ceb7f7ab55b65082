//! Making a container's image present.

use std::{collections::HashMap, sync::Arc, time::Instant};

use naru_api::k8s::api::core::v1::{Pod, Secret};
use naru_runtime::image::{
    Auth, Copied, Holder, ImageError, ImageRecord, Images, Progress, PullOptions, PullOutcome, PullPolicy, Pulled,
    Reference,
};
use parking_lot::Mutex;

use super::{Node, Note};
use crate::machine::{self, EffectError, Wanted};

/// Lets one caller at a time pull each reference; those who waited find it present.
#[derive(Clone, Default)]
pub(crate) struct Puller {
    locks: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Puller {
    async fn turn(&self, reference: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(reference.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Resolves the image by the container's policy, pulling it where it must be.
pub(super) async fn ensure(node: &Node, pod: &Pod, wanted: &Wanted) -> Result<ImageRecord, EffectError> {
    let images = &node.config.images;
    let name = &*wanted.image;
    let note = |note: Note| node.events.note(pod, note.of(&wanted.name));
    if wanted.pull != machine::PullPolicy::Always
        && let Some(image) = local(images, name).await?
    {
        note(Note::normal("Pulled", format!("Container image {name:?} already present on machine")));
        return Ok(image);
    }
    let reference = Reference::parse(name).map_err(|error| EffectError::chain("InvalidImageName", &error))?;
    if wanted.pull == machine::PullPolicy::Never {
        let message = format!("Container image {name:?} is not present with pull policy of Never");
        return Err(EffectError::new("ErrImageNeverPull", message));
    }
    let _turn = node.puller.turn(name).await;
    if wanted.pull == machine::PullPolicy::IfNotPresent
        && let Some(image) = local(images, name).await?
    {
        note(Note::normal("Pulled", format!("Container image {name:?} already present on machine")));
        return Ok(image);
    }
    let ask = Ask { node, pod, wanted, reference: &reference };
    let mut asked = 0;
    if wanted.pull == machine::PullPolicy::IfNotPresent {
        match ask.others().await? {
            Ok(image) => return Ok(image),
            Err(count) => asked = count,
        }
    }
    note(Note::normal("Pulling", format!("Pulling image {name:?}")));
    let began = Instant::now();
    let mut failure = None;
    for auth in credentials(node, pod).await {
        let policy =
            if wanted.pull == machine::PullPolicy::Always { PullPolicy::Always } else { PullPolicy::IfNotPresent };
        match pull(images, &reference, PullOptions { auth, policy, ..PullOptions::default() }).await? {
            Ok(pulled) => {
                let how = match pulled.outcome {
                    PullOutcome::Downloaded => "Successfully pulled",
                    PullOutcome::UpToDate | PullOutcome::Present => "Up to date:",
                };
                let text = format!(
                    "{how} image {name:?} in {:.3?}. Image size: {} bytes.",
                    began.elapsed(),
                    pulled.image.size
                );
                note(Note::normal("Pulled", text));
                return Ok(pulled.image);
            }
            Err(error @ ImageError::Unauthorized { .. }) => failure = Some(error),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    // Where the registry is not to be had, another node's is better than none; what is here was not good enough.
    let away = matches!(&failure, Some(ImageError::Nowhere { .. } | ImageError::RegistryUnreachable { .. }));
    if away && wanted.pull == machine::PullPolicy::Always && local(images, name).await?.is_none() {
        match ask.others().await? {
            Ok(image) => return Ok(image),
            Err(count) => asked = count,
        }
    }
    let failure = failure.map(|error| EffectError::chain("ErrImagePull", &error));
    let mut failure = failure.unwrap_or_else(|| EffectError::new("ErrImagePull", "no credentials to try"));
    if asked > 0 {
        failure.message.push_str(&format!("; none of {asked} other nodes has it"));
    }
    note(Note::warning("Failed", format!("Failed to pull image {name:?}: {}", failure.message)));
    Err(failure)
}

/// An image that a container needs and the machine has not.
struct Ask<'a> {
    node: &'a Node,
    pod: &'a Pod,
    wanted: &'a Wanted,
    reference: &'a Reference,
}

impl Ask<'_> {
    fn note(&self, note: Note) {
        self.node.events.note(self.pod, note.of(&self.wanted.name));
    }

    /// The image from another node, or how many were asked in vain.
    async fn others(&self) -> Result<Result<ImageRecord, usize>, EffectError> {
        let name = &*self.wanted.image;
        let found = super::peers::find(self.node, name, self.reference).await;
        let Some(first) = found.holders.first() else { return Ok(Err(found.asked)) };
        let among = match found.holders.len() {
            1 => format!("node {}", first.peer.name()),
            many => format!("node {} and {} others", first.peer.name(), many - 1),
        };
        self.note(Note::normal("Pulling", format!("Pulling image {name:?} from {among}")));
        let began = Instant::now();
        match copy(&self.node.config.images, self.reference, found.holders).await? {
            Ok(copied) => {
                let (from, size) = (copied.from.join(", "), copied.image.size);
                let text = format!(
                    "Successfully pulled image {name:?} from node {from} in {:.3?}. Image size: {size} bytes.",
                    began.elapsed()
                );
                self.note(Note::normal("Pulled", text));
                Ok(Ok(copied.image))
            }
            // A registry would not help.
            Err(error) if error.is_disk_full() => {
                let failure = EffectError::chain("ErrImagePull", &error);
                self.note(Note::warning("Failed", format!("Failed to pull image {name:?}: {}", failure.message)));
                Err(failure)
            }
            Err(error) => {
                let why = crate::chain(&error);
                self.note(Note::warning("Failed", format!("Failed to pull image {name:?} from {among}: {why}")));
                Ok(Err(0))
            }
        }
    }
}

/// A copy on a thread of its own, as [`pull`].
async fn copy(
    images: &Images,
    reference: &Reference,
    holders: Vec<Holder>,
) -> Result<Result<Copied, ImageError>, EffectError> {
    let (images, reference, handle) = (images.clone(), reference.clone(), tokio::runtime::Handle::current());
    let work = move || handle.block_on(images.copy(&reference, holders, &Progress::none()));
    let copied = tokio::task::spawn_blocking(work);
    copied.await.map_err(|error| EffectError::new("ErrImagePull", format!("the copy was cut off: {error}")))
}

/// A pull on a thread of its own: unpacking blocks, and the future may not move between threads.
async fn pull(
    images: &Images,
    reference: &Reference,
    options: PullOptions,
) -> Result<Result<Pulled, ImageError>, EffectError> {
    let (images, reference, handle) = (images.clone(), reference.clone(), tokio::runtime::Handle::current());
    let pulled = tokio::task::spawn_blocking(move || handle.block_on(images.pull(&reference, options)));
    pulled.await.map_err(|error| EffectError::new("ErrImagePull", format!("the pull was cut off: {error}")))
}

async fn local(images: &Images, name: &str) -> Result<Option<ImageRecord>, EffectError> {
    images.resolve(name).await.map_err(|error| EffectError::chain("ImageInspectError", &error))
}

/// The pod's pull secrets first, then what the machine's Docker configuration says.
async fn credentials(node: &Node, pod: &Pod) -> Vec<Auth> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let mut found = Vec::new();
    for reference in secrets {
        let secret = node.config.client.api::<Secret>(Some(namespace)).get_opt(&reference.name).await;
        let Ok(Some(secret)) = secret else { continue };
        let data = secret.data.unwrap_or_default();
        let text = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg"));
        if let Some(text) = text.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()) {
            found.push(Auth::DockerConfig(text));
        }
    }
    found.push(Auth::Configured);
    found
}

/// The image as `status.imageID` shows it: by registry digest where there is one.
pub(super) fn shown(image: &ImageRecord, reference: &str) -> String {
    let repository = Reference::parse(reference).map(|parsed| format!("{}/{}", parsed.registry(), parsed.repository()));
    let same =
        repository.ok().and_then(|repository| image.digests.iter().find(|digest| digest.starts_with(&*repository)));
    same.or_else(|| image.digests.first()).cloned().unwrap_or_else(|| image.id.to_string())
}
