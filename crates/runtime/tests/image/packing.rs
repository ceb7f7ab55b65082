use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use naru_runtime::image::{Progress, Source};

use crate::support::Scratch;

#[tokio::test]
async fn a_packed_image_starts_and_packing_again_gives_the_same_bytes() {
    let Some(scratch) = Scratch::new().await else { return };
    let known = Command::new("apt-cache").args(["show", "busybox-static"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: apt knows no package busybox-static: run apt-get update on Debian or Ubuntu");
        return;
    }
    let script =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo")).join("../../scripts/pack-image.sh");
    let note = scratch.file("note", b"of our own");
    let mut archives = Vec::new();
    for run in ["first", "second"] {
        let out = scratch.path(&format!("{run}.tar"));
        let mut pack = Command::new(&script);
        pack.args([
            "--name",
            "naru.local/packed:1",
            "--deb",
            "busybox-static",
            "--busybox-links",
            "--user",
            "worker:1234",
        ])
        .args(["--volume", "/data", "--expose", "80", "--env", "QUOTED=a \"b\" \\c", "--cmd", r#"["sh","-c","id"]"#])
        .args(["--add", &format!("{}:/srv/note", note.display()), "-o"])
        .arg(&out)
        // A cache of its own, so that the second run packs anew.
        .env("NARU_CACHE", scratch.path(run));
        let output = pack.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        if words.contains("could not be downloaded") {
            eprintln!("SKIPPED: packages cannot be downloaded here: {words}");
            return;
        }
        assert!(output.status.success(), "{words}");
        archives.push(out);
    }
    assert!(std::fs::read(&archives[0]).unwrap() == std::fs::read(&archives[1]).unwrap());

    let loaded = scratch.images.load(Source::File(archives.remove(0)), Progress::none()).await.unwrap();
    let image = &loaded[0];
    assert_eq!(
        (image.tags.as_slice(), image.config.user.as_str()),
        (&["naru.local/packed:1".to_owned()][..], "worker")
    );
    assert_eq!(
        (image.config.exposed.as_slice(), image.config.volumes.as_slice()),
        (&["80/tcp".to_owned()][..], &["/data".to_owned()][..])
    );
    assert!(image.config.env.contains(&"QUOTED=a \"b\" \\c".to_owned()), "{:?}", image.config.env);
    let root = scratch.images.rootfs(&image.id).await.unwrap().lower.remove(0);
    assert_eq!(std::fs::metadata(root.join("data")).unwrap().uid(), 1234);
    assert_eq!(std::fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    let run = Command::new("chroot")
        .args(["--userspec=1234:1234".as_ref(), root.as_os_str()])
        .args(["/bin/sh", "-c", "id -un; cat /srv/note"])
        .output();
    assert_eq!(String::from_utf8_lossy(&run.unwrap().stdout), "worker\nof our own");
}
