use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use naru_runtime::image::{ImageError, Images, Progress, Rootfs, Source};

use crate::support::{Sample, Scratch, archive, gzip, noise, tar};

/// Runs a script in mount namespace of its own, so that nothing it mounts stays. None where that is not possible.
pub fn with_own_mounts(script: &str) -> Option<String> {
    let output = Command::new("unshare").args(["--mount", "sh", "-ec", script]).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("SKIPPED: unshare cannot be run ({error})");
            None
        }
    }
}

fn overlay(rootfs: &Rootfs, work: &Path) -> String {
    let names: Vec<String> =
        rootfs.lower.iter().map(|p| p.strip_prefix(&rootfs.base).unwrap().display().to_string()).collect();
    std::fs::create_dir_all(work.join("up")).unwrap();
    std::fs::create_dir_all(work.join("work")).unwrap();
    std::fs::create_dir_all(work.join("merged")).unwrap();
    let (base, work) = (rootfs.base.display(), work.display());
    format!(
        "cd {base}; mount -t overlay overlay -o lowerdir={},upperdir={work}/up,workdir={work}/work {work}/merged; cd {work}/merged\n",
        names.join(":")
    )
}

#[tokio::test]
async fn the_kernel_merges_the_layers_as_the_image_means_them() {
    let Some(scratch) = Scratch::new().await else { return };
    let base = tar(&[
        ("a/", b""),
        ("a/hidden", b"h"),
        ("a/kept", b"k"),
        ("b/", b""),
        ("b/old", b"o"),
        ("c/", b""),
        ("c/gone", b"g"),
        ("f", b"1"),
    ]);
    let middle = tar(&[("a/.wh.hidden", b""), ("b/.wh..wh..opq", b""), ("b/new", b"n"), (".wh.c", b"")]);
    let top = tar(&[("c/", b""), ("c/back", b"b"), ("f", b"2")]);
    let sample = Sample::new(vec![base, middle, top], gzip);
    let path = scratch.file("app.tar", &archive(&sample.oci("app")));
    let loaded = scratch.images.load(Source::File(path), Progress::none()).await.unwrap();
    let rootfs = scratch.images.rootfs(&loaded[0].id).await.unwrap();
    let script = overlay(&rootfs, &scratch.path("mount")) + "find . -type f | sort; cat f";
    let Some(seen) = with_own_mounts(&script) else { return };
    assert_eq!(seen, "./a/kept\n./b/new\n./c/back\n./f\n2");
}

#[tokio::test]
async fn forty_layers_fit_one_mount() {
    let Some(scratch) = Scratch::new().await else { return };
    let layers = (0..40).map(|n: u8| tar(&[(format!("f{n}").as_str(), &[n])])).collect();
    let path = scratch.file("app.tar", &archive(&Sample::new(layers, gzip).oci("app")));
    let loaded = scratch.images.load(Source::File(path), Progress::none()).await.unwrap();
    let rootfs = scratch.images.rootfs(&loaded[0].id).await.unwrap();
    let Some(seen) = with_own_mounts(&(overlay(&rootfs, &scratch.path("mount")) + "ls | wc -l")) else { return };
    assert_eq!(seen.trim(), "40");
}

#[tokio::test]
async fn a_layer_that_leaves_its_root_is_refused_and_nothing_stays() {
    let Some(scratch) = Scratch::new().await else { return };
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..13].copy_from_slice(b"../../escaped");
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let evil = builder.into_inner().unwrap();
    let path = scratch.file("app.tar", &archive(&Sample::new(vec![evil], gzip).oci("app")));
    let error = scratch.images.load(Source::File(path), Progress::none()).await.unwrap_err();
    assert!(matches!(&error, ImageError::Layer { entry, .. } if entry == "../../escaped"), "{error}");
    assert!(scratch.images.list().await.unwrap().is_empty());
    assert_eq!((scratch.count("layers"), scratch.count("tmp")), (0, 0));
    assert!(!scratch.path("escaped").exists() && !scratch.path("images/escaped").exists());
}

const INSIDE: &str = "NARU_TEST_SMALL_DISK";

/// The same test once more, in a mount namespace where a small disk is mounted; there it does the real work.
#[test]
fn a_full_disk_is_said_with_numbers_and_leaves_nothing() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(fill(Path::new(&folder)));
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: mounting a small disk needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let test = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=24m tmpfs {path}; {INSIDE}={path} {} --exact rootfs::a_full_disk_is_said_with_numbers_and_leaves_nothing --nocapture",
        test.display()
    );
    with_own_mounts(&script);
}

async fn fill(folder: &Path) {
    let images = Images::open(folder.join("images")).await.unwrap();
    let small = tar(&[("f", b"fits")]);
    let load = |bytes: Vec<u8>| images.load(Source::Stream(Box::new(Cursor::new(bytes))), Progress::none());
    load(archive(&Sample::new(vec![small], gzip).oci("small:1"))).await.unwrap();
    let free = || rustix::fs::statvfs(folder).unwrap().f_bavail;
    let before = free();
    let blobs = || {
        let held =
            ["blobs/sha256", "layers"].map(|below| std::fs::read_dir(folder.join("images").join(below)).unwrap());
        held.into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let listed = blobs();

    // Compressed it fits, unpacked it does not.
    let mut contents = noise(4096, 1).repeat(8192);
    contents.truncate(32 << 20);
    let unpacked = tar(&[("big", &contents)]);
    let error = load(archive(&Sample::new(vec![unpacked.clone()], gzip).oci("big"))).await.unwrap_err();
    let ImageError::DiskFull { needed, free: said, path, .. } = &error else { panic!("{error}") };
    assert_eq!(*needed, unpacked.len() as u64);
    assert!(*said < *needed && path.starts_with(folder), "{error}");
    let large = |name: &std::fs::DirEntry| name.metadata().unwrap().len() > 4096 || name.metadata().unwrap().is_dir();
    let left: Vec<_> =
        std::fs::read_dir(folder.join("images/tmp")).unwrap().map(Result::unwrap).filter(large).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(blobs(), listed, "what was begun stays");

    // Not even the archive fits.
    let error = load(archive(&Sample::new(vec![tar(&[("big", &noise(32 << 20, 2))])], |b| b.to_vec()).oci("big")))
        .await
        .unwrap_err();
    assert!(matches!(&error, ImageError::DiskFull { needed, .. } if *needed > 32 << 20), "{error}");

    assert_eq!(blobs(), listed, "what was begun stays");
    assert!(free() + 64 > before, "{} of {before} blocks are free", free());
    assert_eq!(images.list().await.unwrap().len(), 1);
}
