use naru_runtime::image::{ImageError, Progress, Reference};

use crate::servers::docker_engine;
use crate::support::{Sample, Scratch, archive, gzip};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_copied_out_of_a_docker_engine() {
    let Some(scratch) = Scratch::new().await else { return };
    let (sample, socket) = (Sample::two_layers(gzip), scratch.path("docker.sock"));
    docker_engine(&socket, "app:1", archive(&sample.docker(&["app:1"]))).await;
    let name = Reference::parse("app:1").unwrap();
    let image = scratch.images.import_from_docker_at(&socket, &name, Progress::none()).await.unwrap();
    assert_eq!((image.id.to_string(), image.tags), (sample.id(), vec!["docker.io/library/app:1".to_owned()]));
    let other = Reference::parse("other").unwrap();
    let missing =
        scratch.images.import_from_docker_at(&socket, &other, Progress::none()).await.unwrap_err().to_string();
    assert!(missing.contains("no such image") && missing.contains("other:latest"), "{missing}");
    let absent =
        scratch.images.import_from_docker_at(&scratch.path("no.sock"), &name, Progress::none()).await.unwrap_err();
    assert!(matches!(&absent, ImageError::Engine { problem, .. } if problem.contains("is it running")), "{absent}");
}
