use std::fs;
use std::path::Path;

use super::*;
use crate::image::archive::{self, Opened};
use crate::image::config::ImageConfig;
use crate::image::progress::Progress;

const NAME: &str = "docker.io/library/app:latest";

fn layer(contents: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(contents.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "file", contents.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

/// Adds an image whose one file holds `contents`, as the asynchronous callers do.
fn add(store: &Store, contents: &str) -> Result<ImageId, ImageError> {
    let _gate = store.locks.gate()?;
    let reader = Box::new(std::io::Cursor::new(layer(contents)));
    let opened = Opened::Tar { name: "test".into(), reader, size: None };
    let image = archive::import_rootfs(store, opened, &ImageConfig::default(), Some(NAME.into()))?;
    let facts = store.facts(&image.id, &image.manifest)?;
    let wanted = Wanted {
        chain: facts.chains[0].clone(),
        diff_id: facts.config.rootfs.diff_ids[0].clone(),
        blob: facts.manifest.layers[0].clone(),
        lowers: Vec::new(),
    };
    if store.unpacked(&wanted.chain).is_none() {
        store.unpack(&wanted, &Progress::none())?;
    }
    store.list_image(&image.manifest, &image.names, &[])
}

/// Replaces the image by another one and removes all others.
fn replace(store: &Store) -> Result<(), ImageError> {
    let new = add(store, "new")?;
    store.update(|index| {
        index.images.retain(|id, _| *id == new);
        Ok(())
    })?;
    store.collect()?;
    Ok(())
}

/// Everything listed is whole; what is unpacked holds the right bytes.
fn check(store: &Store) {
    let index = store.index().unwrap();
    for (id, listed) in &index.images {
        let facts = store.facts(id, &listed.manifest).unwrap();
        for (layer, chain) in facts.manifest.layers.iter().zip(&facts.chains) {
            store.read_document("layer", &layer.digest).unwrap();
            if store.unpacked(chain).is_some() {
                let text = fs::read_to_string(store.layout.layer(chain).join("file")).unwrap();
                assert_eq!(layer.digest, Digest::of(&self::layer(&text)));
            }
        }
    }
    assert!(index.names.contains_key(NAME), "the name was lost");
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_death_at_any_file_operation_leaves_a_whole_store() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: unpacking layers needs root");
        return;
    }
    let mut deaths = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let open = |disk| Store::open(folder.path().to_owned(), disk, Limits::default()).unwrap();
        add(&open(Disk::default()), "old").unwrap();

        let disk = Disk::dying_after(deaths);
        let result = replace(&open(disk.clone()));
        assert_eq!(result.is_err(), disk.died(), "after {deaths} operations: {result:?}");

        let store = open(Disk::default());
        check(&store);
        assert_eq!(files(&store.layout.temporary()), 0, "leftovers after {deaths} operations");
        replace(&store).unwrap();
        check(&store);
        // One image is left: a folder and its marker; a layer, a configuration and a manifest.
        assert_eq!(files(&store.layout.layers()), 2, "after {deaths} operations");
        assert_eq!(files(&store.layout.blobs()), 3, "after {deaths} operations");
        if !disk.died() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 20, "only {deaths} operations were tried");
}

#[test]
fn layers_that_were_not_flushed_are_unpacked_again_after_a_reboot() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: unpacking layers needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path().to_owned(), Disk::default(), Limits::default()).unwrap();
    let id = add(&store, "text").unwrap();
    let facts = store.facts(&id, &store.index().unwrap().images[&id].manifest).unwrap();
    let marker = store.unpacked(&facts.chains[0]).unwrap();
    store.boot = "another boot".into();
    assert!(store.unpacked(&facts.chains[0]).is_none());
    let store = Arc::new(Store::open(folder.path().to_owned(), Disk::default(), Limits::default()).unwrap());
    store.make_durable(vec![marker]).unwrap();
    let mut store = Arc::into_inner(store).unwrap();
    store.boot = "another boot".into();
    assert!(store.unpacked(&facts.chains[0]).is_some());
}

#[test]
fn garbage_waits_for_whoever_adds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_owned(), Disk::default(), Limits::default()).unwrap();
    let gate = store.locks.gate().unwrap();
    store.keep(store.stage_bytes("a blob", b"not listed yet").unwrap()).unwrap();
    assert_eq!(store.collect().unwrap(), None);
    assert_eq!(files(&store.layout.blobs()), 1);
    drop(gate);
    store.collect_if_wanted();
    assert_eq!(files(&store.layout.blobs()), 0);
}
