//! Images from and to registries and a Docker engine.

use super::Images;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::options::{PullOptions, PushOptions};
use crate::image::progress::Progress;
use crate::image::record::{ImageRecord, Pulled};
use crate::image::reference::Reference;

impl Images {
    /// Fetches an image from its registry, checked by digest and unpacked.
    pub async fn pull(&self, reference: &Reference, options: PullOptions) -> Result<Pulled, ImageError> {
        let _ = (reference, options);
        todo!()
    }

    /// Sends the image `name` to the registry that `target` names; gives the digest it is stored under there.
    pub async fn push(&self, name: &str, target: &Reference, options: PushOptions) -> Result<Digest, ImageError> {
        let _ = (name, target, options);
        todo!()
    }

    /// Copies an image out of the Docker engine at `/var/run/docker.sock`.
    pub async fn import_from_docker(
        &self,
        reference: &Reference,
        progress: Progress,
    ) -> Result<ImageRecord, ImageError> {
        let _ = (reference, progress);
        todo!()
    }
}
