use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use naru_runtime::image::{
    Auth, Digest, ImageError, ImageRecord, Images, Progress, ProgressEvent, PullOptions, PullOutcome, PullPolicy,
    Pulled, PushOptions, Reference, Source, Step,
};
use serde_json::json;

use crate::servers::{Door, Line, Registry, USER, put};
use crate::support::{Sample, Scratch, archive, gzip, noise, tar};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn at(address: SocketAddr, rest: &str) -> Reference {
    Reference::parse(&format!("{address}/{rest}")).unwrap()
}

async fn pull(images: &Images, reference: &Reference) -> Result<Pulled, ImageError> {
    images
        .pull(reference, PullOptions { auth: Auth::Anonymous, policy: PullPolicy::Always, ..Default::default() })
        .await
}

/// Loads a sample and pushes it.
async fn publish(scratch: &Scratch, sample: &Sample, target: &Reference, auth: Auth) -> Result<Digest, ImageError> {
    let path = scratch.file("publish.tar", &archive(&sample.oci("published")));
    let loaded: Vec<ImageRecord> = scratch.images.load(Source::File(path), Progress::none()).await.unwrap();
    scratch.images.push(&loaded[0].id.to_string(), target, PushOptions { auth, ..Default::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_is_pulled_elsewhere_and_policies_decide_who_is_asked() {
    let Some(registry) = Registry::start(Door::Open).await else { return };
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (sample, name) = (Sample::two_layers(gzip), at(registry.address, "team/app:1"));
    let never = PullOptions { policy: PullPolicy::Never, ..Default::default() };
    assert!(matches!(to.images.pull(&name, never.clone()).await, Err(ImageError::NeverPulled { .. })));

    let digest = publish(&from, &sample, &name, Auth::Anonymous).await.unwrap();
    let first = pull(&to.images, &name).await.unwrap();
    assert_eq!((first.outcome, first.image.id.to_string()), (PullOutcome::Downloaded, sample.id()));
    assert_eq!(first.image.tags, [name.to_string()]);
    assert_eq!(first.image.digests, [name.at(&digest).to_string()]);
    let rootfs = to.images.rootfs(&first.image.id).await.unwrap();
    assert_eq!(std::fs::read_to_string(rootfs.lower[0].join("etc/two")).unwrap(), "2");
    assert_eq!(pull(&to.images, &name).await.unwrap().outcome, PullOutcome::UpToDate);
    let pinned = name.at(&digest);
    assert_eq!(to.images.pull(&pinned, never.clone()).await.unwrap().outcome, PullOutcome::Present);

    // The tag moves: only who asks the registry notices.
    let newer = Sample::new(vec![sample.layers[0].clone(), tar(&[("new", b"n")])], gzip);
    publish(&from, &newer, &name, Auth::Anonymous).await.unwrap();
    let present = to.images.pull(&name, PullOptions::default()).await.unwrap();
    assert_eq!((present.outcome, present.image.id.to_string()), (PullOutcome::Present, sample.id()));
    let moved = pull(&to.images, &name).await.unwrap();
    assert_eq!((moved.outcome, moved.image.id.to_string()), (PullOutcome::Downloaded, newer.id()));
    assert_eq!(to.images.inspect(&pinned.to_string()).await.unwrap().tags, [] as [String; 0]);

    for missing in ["team/app:2", "team/other:1"] {
        assert!(
            matches!(pull(&to.images, &at(registry.address, missing)).await, Err(ImageError::NotInRegistry { .. })),
            "{missing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_open_doors_and_wrong_ones_are_said() {
    for door in [Door::Password, Door::Token] {
        let Some(registry) = Registry::start(door).await else { return };
        let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
        let (sample, name) = (Sample::two_layers(gzip), at(registry.address, "team/app:1"));
        let basic = |password: &str| Auth::Basic { username: USER.0.into(), password: password.into() };
        for wrong in [Auth::Anonymous, basic("falsch")] {
            let refused = publish(&from, &sample, &name, wrong).await.unwrap_err();
            assert!(matches!(refused, ImageError::Unauthorized { .. }), "{refused}");
        }
        publish(&from, &sample, &name, basic(USER.1)).await.unwrap();
        let secret =
            json!({"auths": {registry.address.to_string(): {"username": USER.0, "password": USER.1}}}).to_string();
        let options = PullOptions { auth: Auth::DockerConfig(secret), ..Default::default() };
        assert_eq!(to.images.pull(&name, options).await.unwrap().image.id.to_string(), sample.id());
        let refused = to
            .images
            .pull(&at(registry.address, "team/app:2"), PullOptions { auth: basic("falsch"), ..Default::default() })
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, ImageError::Unauthorized { .. }) && refused.to_string().contains("log in"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_cut_again_and_again_is_continued() {
    let Some(registry) = Registry::start(Door::Open).await else { return };
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let sample = Sample::new(vec![tar(&[("noise", &noise(2 << 20, 1))]), tar(&[("more", &noise(1 << 20, 2))])], gzip);
    let size: usize = sample.packed.iter().map(Vec::len).sum();
    publish(&from, &sample, &at(registry.address, "app:1"), Auth::Anonymous).await.unwrap();
    let line = Line::to(registry.address).await;
    line.cut_after(512 << 10);
    let events: Arc<Mutex<Vec<ProgressEvent>>> = Arc::default();
    let sink = events.clone();
    let options = PullOptions {
        auth: Auth::Anonymous,
        progress: Progress::to(move |event| sink.lock().unwrap().push(event)),
        ..Default::default()
    };
    let pulled = to.images.pull(&at(line.address, "app:1"), options).await.unwrap();
    assert_eq!(pulled.image.id.to_string(), sample.id());
    let retries = events.lock().unwrap().iter().filter(|event| matches!(event.step, Step::Retrying { .. })).count();
    assert!(retries >= 4, "{retries} retries");
    // Starting anew would never have ended; continuing costs little more than the layers.
    let passed = line.passed.load(Ordering::SeqCst);
    assert!(passed < size as u64 * 3 / 2, "{passed} bytes for {size}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_goes_down_half_way_is_said_and_continued_from_later() {
    let Some(registry) = Registry::start(Door::Open).await else { return };
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let sample = Sample::new(vec![tar(&[("noise", &noise(4 << 20, 1))])], gzip);
    let size = sample.packed[0].len() as u64;
    publish(&from, &sample, &at(registry.address, "app:1"), Auth::Anonymous).await.unwrap();
    let line = Line::to(registry.address).await;
    line.cut_after(2 << 20);
    let name = at(line.address, "app:1");
    let line = Arc::new(line);
    let (taken_down, options_line) = (Arc::new(Mutex::new(false)), line.clone());
    let progress = Progress::to(move |event| {
        if let Step::Downloading { done, .. } = event.step
            && done > 1 << 20
            && !*taken_down.lock().unwrap()
        {
            *taken_down.lock().unwrap() = true;
            options_line.set_down(true);
        }
    });
    let options = PullOptions { auth: Auth::Anonymous, progress, ..Default::default() };
    let error = to.images.pull(&name, options).await.unwrap_err();
    let ImageError::RegistryUnreachable { done, attempts, .. } = &error else { panic!("{error}") };
    assert!(*done > 1 << 20 && *done < size && *attempts > 1, "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
    assert!(to.images.list().await.unwrap().is_empty());

    line.set_down(false);
    line.cut_after(u64::MAX);
    let before = line.passed.load(Ordering::SeqCst);
    assert_eq!(pull(&to.images, &name).await.unwrap().image.id.to_string(), sample.id());
    let again = line.passed.load(Ordering::SeqCst) - before;
    assert!(again < size - (1 << 20) + (64 << 10), "{again} bytes of {size} came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_refused_with_both_digests() {
    let Some(registry) = Registry::start(Door::Open).await else { return };
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (sample, name) = (Sample::two_layers(gzip), at(registry.address, "app:1"));
    publish(&from, &sample, &name, Auth::Anonymous).await.unwrap();
    let layer = Digest::of(&sample.packed[0]);
    registry.damage(layer.hex());
    let error = pull(&to.images, &name).await.unwrap_err();
    let ImageError::DigestMismatch { expected, actual, what, .. } = &error else { panic!("{error}") };
    assert!(*expected == layer && actual != expected && what.contains(&registry.address.to_string()), "{error}");
    assert!(to.images.list().await.unwrap().is_empty());
    assert!(!to.path("images/partial").join(layer.hex()).exists(), "wrong bytes are not continued from");
    registry.damage(Digest::of(&sample.config).hex());
    assert!(matches!(pull(&to.images, &name).await, Err(ImageError::DigestMismatch { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_part_of_an_earlier_run_is_fetched_anew() {
    let Some(registry) = Registry::start(Door::Open).await else { return };
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (sample, name) = (Sample::two_layers(gzip), at(registry.address, "app:1"));
    publish(&from, &sample, &name, Auth::Anonymous).await.unwrap();
    let layer = Digest::of(&sample.packed[0]);
    std::fs::write(to.path("images/partial").join(layer.hex()), b"zeros after a power cut").unwrap();
    assert_eq!(pull(&to.images, &name).await.unwrap().image.id.to_string(), sample.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_gives_each_machine_its_variant() {
    let Some(registry) = Registry::start(Door::Open).await else { return };
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let (ours, theirs) = (Sample::two_layers(gzip), Sample::new(vec![tar(&[("f", b"s390x")])], gzip));
    let mut offers = Vec::new();
    let host = naru_runtime::image::Platform::host().architecture;
    for (sample, architecture) in [(&theirs, "s390x"), (&ours, host.as_str())] {
        let digest = publish(&from, sample, &at(registry.address, &format!("app:{architecture}")), Auth::Anonymous)
            .await
            .unwrap();
        offers.push(json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": sample.manifest().len(), "platform": {"os": "linux", "architecture": architecture}}));
    }
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": offers})
            .to_string();
    put(registry.address, "/v2/app/manifests/multi", "application/vnd.oci.image.index.v1+json", index.as_bytes()).await;
    let name = at(registry.address, "app:multi");
    let pulled = pull(&to.images, &name).await.unwrap();
    assert_eq!(pulled.image.id.to_string(), ours.id());
    assert!(pulled.image.digests.contains(&name.at(&Digest::of(index.as_bytes())).to_string()));
    assert_eq!(pull(&to.images, &name).await.unwrap().outcome, PullOutcome::UpToDate);
    let foreign =
        PullOptions { auth: Auth::Anonymous, platform: Some("linux/riscv64".parse().unwrap()), ..Default::default() };
    let error = to.images.pull(&name, foreign).await.unwrap_err();
    assert!(matches!(&error, ImageError::Platform { available, .. } if available.len() == 2), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_never_was_is_unreachable() {
    let Some(scratch) = Scratch::new().await else { return };
    let line = Line::to("127.0.0.1:9".parse().unwrap()).await;
    line.set_down(true);
    let error = pull(&scratch.images, &at(line.address, "app:1")).await.unwrap_err();
    assert!(matches!(&error, ImageError::RegistryUnreachable { done: 0, attempts: 5, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listens_is_asked_twice_and_says_so() {
    let Some(scratch) = Scratch::new().await else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let events: Arc<Mutex<Vec<ProgressEvent>>> = Arc::default();
    for name in [at(port, "app:1"), Reference::parse("nowhere.invalid/app:1").unwrap()] {
        let sink = events.clone();
        let options = PullOptions {
            auth: Auth::Anonymous,
            progress: Progress::to(move |event| sink.lock().unwrap().push(event)),
            ..Default::default()
        };
        let error = scratch.images.pull(&name, options).await.unwrap_err();
        assert!(matches!(&error, ImageError::Nowhere { .. }), "{error}");
        assert!(error.to_string().contains("not on this machine"), "{error}");
        let retries: Vec<ProgressEvent> = std::mem::take(&mut events.lock().unwrap());
        assert!(matches!(&retries[..], [ProgressEvent { step: Step::Retrying { attempt: 2, .. }, .. }]), "{retries:?}");
    }
}
