use std::collections::HashSet;
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use naru_runtime::image::{
    Healthcheck, ImageConfig, ImageError, ImageRecord, Images, Progress, ProgressEvent, PruneOptions, Reference,
    Source, Step,
};

use crate::support::{Sample, Scratch, archive, gzip, tar, zstd};

async fn load(images: &Images, bytes: Vec<u8>) -> Result<Vec<ImageRecord>, ImageError> {
    images.load(Source::Stream(Box::new(Cursor::new(bytes))), Progress::none()).await
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[tokio::test]
async fn every_kind_of_archive_loads_to_the_same_image() {
    for pack in [plain as fn(&[u8]) -> Vec<u8>, gzip, zstd] {
        let sample = Sample::two_layers(pack);
        for (kind, members) in [
            ("docker", sample.docker(&["app:1", "other.example/app:2"])),
            ("oci", sample.oci("docker.io/library/app:1")),
        ] {
            for (wrapped, outer) in [("plain", plain as fn(&[u8]) -> Vec<u8>), ("gzip", gzip), ("zstd", zstd)] {
                let Some(scratch) = Scratch::new().await else { return };
                let records = load(&scratch.images, outer(&archive(&members)))
                    .await
                    .unwrap_or_else(|e| panic!("{kind} {wrapped}: {e}"));
                assert_eq!(records.len(), 1);
                let image = &records[0];
                assert_eq!(image.id.to_string(), sample.id(), "{kind} {wrapped}");
                assert!(image.tags.contains(&"docker.io/library/app:1".to_owned()), "{:?}", image.tags);
                assert_eq!(
                    (image.config.entrypoint.as_slice(), image.config.volumes.as_slice()),
                    (&["/bin/app".to_owned()][..], &["/data".to_owned()][..])
                );
                assert_eq!(image.layers.len(), 2);
                let rootfs = scratch.images.rootfs(&image.id).await.unwrap();
                assert_eq!(std::fs::read_to_string(rootfs.lower[0].join("etc/two")).unwrap(), "2");
                assert_eq!(std::fs::read_to_string(rootfs.lower[1].join("etc/two")).unwrap(), "old");
            }
        }
    }
}

#[tokio::test]
async fn layouts_in_folders_and_archives_of_old_engines_load() {
    let Some(scratch) = Scratch::new().await else { return };
    let sample = Sample::two_layers(gzip);
    for (name, bytes) in sample.oci("reg.example/app:9") {
        let path = scratch.path("layout").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let loaded = scratch.images.load(Source::Folder(scratch.path("layout")), Progress::none()).await.unwrap();
    assert_eq!(loaded[0].tags, ["reg.example/app:9"]);
    assert!(scratch.path("layout/index.json").exists(), "the folder is only read");

    let legacy = load(&scratch.images, archive(&Sample::two_layers(plain).legacy("old/app", "0.1"))).await.unwrap();
    assert_eq!(legacy[0].tags, ["docker.io/old/app:0.1"]);
    assert_eq!(legacy[0].config.cmd, ["legacy"]);
    assert_eq!(legacy[0].history[0].created_by.as_deref(), Some("/bin/sh -c make it"));
    assert_eq!(legacy[0].layers, loaded[0].layers, "the same layers, whatever they are packed in");
    assert_eq!(scratch.count("layers"), 4, "unpacked once");
}

#[tokio::test]
async fn an_old_archive_may_name_one_layer_twice_by_links() {
    let Some(scratch) = Scratch::new().await else { return };
    let layer = tar(&[("f", b"x")]);
    let sample = Sample::new(vec![layer.clone(), layer], plain);
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in sample.docker(&["app"]) {
        let mut header = tar::Header::new_gnu();
        if name.starts_with("00") && name.contains("1/") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, &name, format!("../{:064x}/layer.tar", 0)).unwrap();
        } else {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, &name, bytes.as_slice()).unwrap();
        }
    }
    let loaded = load(&scratch.images, builder.into_inner().unwrap()).await.unwrap();
    assert_eq!(scratch.images.rootfs(&loaded[0].id).await.unwrap().lower.len(), 2);
}

#[tokio::test]
async fn a_saved_archive_loads_elsewhere_as_both_forms() {
    let (Some(from), Some(to)) = (Scratch::new().await, Scratch::new().await) else { return };
    let sample = Sample::two_layers(zstd);
    load(&from.images, archive(&sample.oci("reg.example/app:9"))).await.unwrap();
    from.images.tag("reg.example/app:9", &Reference::parse("app").unwrap()).await.unwrap();
    let path = from.path("saved.tar");
    let names = ["reg.example/app:9".to_owned(), "app".to_owned()];
    from.images.save(&names, Box::new(tokio::fs::File::create(&path).await.unwrap())).await.unwrap();
    let loaded = to.images.load(Source::File(path.clone()), Progress::none()).await.unwrap();
    assert_eq!((loaded.len(), loaded[0].id.to_string()), (1, sample.id()));
    assert_eq!(loaded[0].tags, ["docker.io/library/app:latest", "reg.example/app:9"]);
    assert_eq!(
        loaded[0].manifest,
        from.images.inspect("app").await.unwrap().manifest,
        "the manifest is carried as it is"
    );

    let mut docker_only = Vec::new();
    let mut archive_read = tar::Archive::new(std::fs::File::open(&path).unwrap());
    for entry in archive_read.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).unwrap();
        if name != "index.json" && name != "oci-layout" {
            docker_only.push((name, bytes));
        }
    }
    let Some(third) = Scratch::new().await else { return };
    let loaded = load(&third.images, archive(&docker_only)).await.unwrap();
    assert_eq!((loaded[0].id.to_string(), loaded[0].tags.len()), (sample.id(), 2));
}

#[tokio::test]
async fn a_damaged_archive_changes_nothing_and_says_what_is_wrong() {
    let Some(scratch) = Scratch::new().await else { return };
    let sample = Sample::two_layers(gzip);
    let good = sample.oci("app:1");
    let changed = |name: &str, bytes: &[u8]| -> Vec<u8> {
        let replaced = good.iter().map(|(n, b)| (n.clone(), if n.contains(name) { bytes.to_vec() } else { b.clone() }));
        archive(&replaced.collect::<Vec<_>>())
    };
    let without = |name: &str| archive(&good.iter().filter(|(n, _)| !n.contains(name)).cloned().collect::<Vec<_>>());
    let layer = naru_runtime::image::Digest::of(&sample.packed[0]);
    let whole = archive(&good);
    // A layer that is what the manifest promises, but not what the configuration does.
    let mut lying = sample.clone();
    lying.packed[1] = gzip(&tar(&[("etc/two", b"something else")]));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("got sha256:", changed(layer.hex(), &gzip(b"other bytes"))),
        ("is missing", without(layer.hex())),
        ("is missing", without(&sample.id()[7..])),
        ("malformed", changed("index.json", b"{")),
        ("neither an index.json", archive(&[("etc/passwd".to_owned(), b"x".to_vec())])),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("not a tar archive", b"just some text that is long enough".repeat(40)),
        ("truncated", Vec::new()),
        ("uncompressed layer", archive(&lying.oci("app:1"))),
    ];
    for (expected, bytes) in cases {
        let error = load(&scratch.images, bytes).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} instead of {expected:?}");
        assert_eq!(scratch.images.list().await.unwrap(), []);
        assert_eq!(scratch.count("tmp"), 0);
    }
    scratch.images.prune(PruneOptions::default()).await.unwrap();
    assert_eq!((scratch.count("blobs/sha256"), scratch.count("layers")), (0, 0));
}

#[tokio::test]
async fn names_are_given_moved_and_taken_away() {
    let Some(scratch) = Scratch::new().await else { return };
    let images = &scratch.images;
    let (one, two) = (Sample::two_layers(gzip), Sample::new(vec![tar(&[("f", b"2")])], gzip));
    load(images, archive(&one.oci("app:1"))).await.unwrap();
    images.tag("app:1", &Reference::parse("reg.example/app").unwrap()).await.unwrap();
    load(images, archive(&two.oci("app:1"))).await.unwrap();
    assert_eq!(images.inspect("app:1").await.unwrap().id.to_string(), two.id());
    let old = images.inspect("reg.example/app").await.unwrap();
    assert_eq!(old.id.to_string(), one.id());
    assert_eq!(images.inspect(&one.id()[7..19]).await.unwrap().id, old.id);
    assert!(matches!(images.inspect("app:2").await, Err(ImageError::NotFound { .. })));

    let used = HashSet::from([old.id.clone()]);
    let none = HashSet::new();
    assert!(matches!(images.remove("reg.example/app", false, &used).await, Err(ImageError::InUse { .. })));
    assert!(matches!(images.remove(&one.id(), true, &used).await, Err(ImageError::InUse { .. })));
    let forced = images.remove("reg.example/app", true, &used).await.unwrap();
    assert_eq!((forced.untagged.as_slice(), forced.deleted.len()), (&["reg.example/app:latest".to_owned()][..], 0));
    images.rootfs(&old.id).await.expect("an image in use stays whole");

    images.tag("app:1", &Reference::parse("app:2").unwrap()).await.unwrap();
    assert!(matches!(images.remove(&two.id(), false, &none).await, Err(ImageError::InUse { .. })));
    let untagged = images.remove("app:2", false, &none).await.unwrap();
    assert_eq!(untagged.deleted, []);
    let kept = images
        .prune(PruneOptions { all: true, in_use: HashSet::from([images.inspect("app:1").await.unwrap().id]) })
        .await
        .unwrap();
    assert_eq!(kept.deleted, [old.id], "only the nameless one was free to go");
    let gone = images.remove("app:1", false, &none).await.unwrap();
    assert!(gone.reclaimed > 0 && gone.deleted.len() == 1);
    assert_eq!((scratch.count("blobs/sha256"), scratch.count("layers")), (0, 0));
}

#[tokio::test]
async fn shared_layers_outlive_one_of_their_images() {
    let Some(scratch) = Scratch::new().await else { return };
    let base = tar(&[("base", b"b")]);
    let (one, two) = (
        Sample::new(vec![base.clone(), tar(&[("a", b"1")])], gzip),
        Sample::new(vec![base, tar(&[("b", b"2")])], gzip),
    );
    load(&scratch.images, archive(&one.oci("app:1"))).await.unwrap();
    load(&scratch.images, archive(&two.oci("app:2"))).await.unwrap();
    assert_eq!(scratch.count("layers"), 6);
    let usage = scratch.images.usage(&HashSet::new()).await.unwrap();
    assert_eq!((usage.images, usage.reclaimable), (2, usage.blobs + usage.layers));
    scratch.images.remove("app:1", false, &HashSet::new()).await.unwrap();
    let image = scratch.images.inspect("app:2").await.unwrap();
    let rootfs = scratch.images.rootfs(&image.id).await.unwrap();
    assert_eq!(std::fs::read(rootfs.lower[1].join("base")).unwrap(), b"b");
    assert_eq!(scratch.count("layers"), 4);
    assert_eq!(scratch.images.usage(&HashSet::from([image.id])).await.unwrap().reclaimable, 0);
}

#[tokio::test]
async fn a_root_file_system_becomes_an_image() {
    let Some(scratch) = Scratch::new().await else { return };
    let root = scratch.path("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/name"), "naru").unwrap();
    let config = ImageConfig {
        entrypoint: vec!["/app".into()],
        healthcheck: Some(Healthcheck {
            test: vec!["CMD".into(), "/app".into(), "check".into()],
            ..Default::default()
        }),
        exposed: vec!["80/tcp".into()],
        ..Default::default()
    };
    let name = Reference::parse("naru.local/app:1").unwrap();
    let folder = scratch.images.import_rootfs(Source::Folder(root), config.clone(), Some(&name)).await.unwrap();
    assert_eq!((folder.config.clone(), folder.tags.as_slice()), (config.clone(), &["naru.local/app:1".to_owned()][..]));
    let rootfs = scratch.images.rootfs(&folder.id).await.unwrap();
    assert_eq!(std::fs::read_to_string(rootfs.lower[0].join("etc/name")).unwrap(), "naru");
    let packed = Source::Stream(Box::new(Cursor::new(zstd(&tar(&[("f", b"x")])))));
    let nameless = scratch.images.import_rootfs(packed, config, None).await.unwrap();
    assert_eq!(nameless.tags, [] as [String; 0]);
    assert_eq!(scratch.images.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn progress_ends_with_done_for_every_layer() {
    let Some(scratch) = Scratch::new().await else { return };
    let events: Arc<Mutex<Vec<ProgressEvent>>> = Arc::default();
    let sink = events.clone();
    let sample = Sample::two_layers(gzip);
    let path = scratch.file("app.tar", &archive(&sample.oci("app")));
    scratch.images.load(Source::File(path), Progress::to(move |event| sink.lock().unwrap().push(event))).await.unwrap();
    for layer in &sample.packed {
        let item = naru_runtime::image::Digest::of(layer).short().to_owned();
        let last = events.lock().unwrap().iter().rfind(|event| event.item == item).cloned();
        assert_eq!(last.map(|event| event.step), Some(Step::Done));
    }
}

#[tokio::test]
async fn several_stores_on_one_folder_agree() {
    let Some(scratch) = Scratch::new().await else { return };
    let other = Images::open(scratch.path("images")).await.unwrap();
    let sample = Sample::two_layers(gzip);
    let bytes = archive(&sample.oci("app:1"));
    let loads = (0..6).map(|n| {
        let images = if n % 2 == 0 { scratch.images.clone() } else { other.clone() };
        let bytes = bytes.clone();
        tokio::spawn(async move {
            let loaded = load(&images, bytes).await.unwrap();
            images.tag("app:1", &Reference::parse(&format!("app:n{n}")).unwrap()).await.unwrap();
            images.rootfs(&loaded[0].id).await.unwrap()
        })
    });
    for load in loads.collect::<Vec<_>>() {
        load.await.unwrap();
    }
    assert_eq!(other.inspect("app:1").await.unwrap().tags.len(), 7, "no change was lost");
    assert_eq!(scratch.count("layers"), 4);
}
