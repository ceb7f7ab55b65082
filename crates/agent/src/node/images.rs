//! The images of this node in its Node's status, as a hint to nodes that need one.

use std::time::Duration;

use naru_api::k8s::api::core::v1::Node;
use naru_client::PatchKind;
use naru_runtime::image::ImageRecord;
use serde_json::{Value, json};

use crate::Config;

/// How often the store is looked at: one `stat`.
const LOOK: Duration = Duration::from_secs(1);
/// A list without news is told this often, for a Node that was deleted and made again.
const AGAIN: Duration = Duration::from_secs(60);
/// As many images as Kubernetes tells, the largest ones: every change of a Node goes to every node.
const MOST: usize = 50;
/// Names of one image, as Kubernetes.
const NAMES: usize = 5;

/// Keeps `status.images` current, for ever.
pub(crate) async fn keep_told(config: Config) {
    let (mut told, mut told_at): (Option<u64>, _) = (None, tokio::time::Instant::now());
    loop {
        let stamp = config.images.stamp();
        if told != Some(stamp) || told_at.elapsed() >= AGAIN {
            match tell(&config).await {
                Ok(()) => (told, told_at) = (Some(stamp), tokio::time::Instant::now()),
                Err(error) => tracing::debug!(error, "the node's images were not told"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn tell(config: &Config) -> Result<(), String> {
    let images = config.images.list().await.map_err(|error| crate::chain(&error))?;
    let patch = json!({"status": {"images": told(&images)}});
    let nodes = config.client.api::<Node>(None);
    let sent = nodes.dynamic().patch_subresource(&config.node_name, "status", PatchKind::Merge, &patch).await;
    sent.map(drop).map_err(|error| crate::chain(&error))
}

/// The largest images with their names: those with digests first, as Kubernetes has them.
fn told(images: &[ImageRecord]) -> Vec<Value> {
    let mut named: Vec<&ImageRecord> =
        images.iter().filter(|image| !image.tags.is_empty() || !image.digests.is_empty()).collect();
    named.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let shown = named.into_iter().take(MOST).map(|image| {
        let names: Vec<&String> = image.digests.iter().chain(&image.tags).take(NAMES).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(number: u64) -> ImageRecord {
        let digest = format!("sha256:{number:064x}");
        let record = json!({
            "id": digest, "tags": [format!("reg/app:{number}")], "digests": [format!("reg/app@{digest}")],
            "manifest": digest, "config": naru_runtime::image::ImageConfig::default(),
            "platform": {"os": "linux", "architecture": "amd64"}, "created": null, "author": null, "layers": [],
            "history": [], "size": number, "storedAt": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn the_largest_fifty_are_told_and_those_without_a_name_are_not() {
        let mut images: Vec<ImageRecord> = (1..=60).map(image).collect();
        (images[59].tags, images[59].digests) = (Vec::new(), Vec::new());
        let told = told(&images);
        assert_eq!((told.len(), &told[0]["sizeBytes"], &told[49]["sizeBytes"]), (50, &json!(59), &json!(10)));
        assert_eq!(told[0]["names"][1], "reg/app:59");
    }
}
