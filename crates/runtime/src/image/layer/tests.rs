use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;

/// Writes archives that the `tar` crate would refuse to write.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn raw(mut self, kind: u8, name: &str, link: &str, mode: u32, contents: &[u8]) -> Tar {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(mode);
        header.set_uid(11);
        header.set_gid(12);
        header.set_mtime(1_600_000_000);
        header.set_size(contents.len() as u64);
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
        self
    }

    fn file(self, name: &str, contents: &str) -> Tar {
        self.raw(b'0', name, "", 0o644, contents.as_bytes())
    }

    fn folder(self, name: &str, mode: u32) -> Tar {
        self.raw(b'5', name, "", mode, b"")
    }

    fn link(self, kind: u8, name: &str, target: &str) -> Tar {
        self.raw(kind, name, target, 0o777, b"")
    }

    fn attribute(mut self, name: &str, value: &[u8]) -> Tar {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        self
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Layers unpacked one above the other.
struct Stack {
    folder: tempfile::TempDir,
    lowers: Vec<PathBuf>,
}

impl Stack {
    fn new() -> Option<Stack> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: unpacking layers needs root");
            return None;
        }
        Some(Stack { folder: tempfile::tempdir().unwrap(), lowers: Vec::new() })
    }

    fn push(&mut self, layer: Tar) -> Result<PathBuf, Failure> {
        let target = self.folder.path().join(self.lowers.len().to_string());
        fs::create_dir(&target).unwrap();
        let bytes = layer.done();
        let unpacked = unpack(&bytes[..], &target, &self.lowers, Limits { bytes: 8 << 20, entries: 100 })?;
        assert_eq!(unpacked.diff_id, Digest::of(&bytes));
        self.lowers.insert(0, target.clone());
        Ok(target)
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 100];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn everything_about_a_file_survives() {
    let Some(mut stack) = Stack::new() else { return };
    // Version 2, effective, net_bind_service; the last byte of the word is a line feed on purpose elsewhere.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Tar::new()
        .folder("./", 0o711)
        .folder("bin/", 0o1777)
        .attribute("security.capability", &capability)
        .raw(b'0', "bin/su", "", 0o4755, b"program")
        .attribute("user.note", b"a\nb")
        .attribute("trusted.overlay.redirect", b"/etc")
        .file("bin/noted", "x")
        .link(b'1', "bin/hard", "bin/su")
        .link(b'2', "bin/soft", "/etc/passwd")
        .raw(b'6', "pipe", "", 0o622, b"")
        .raw(b'3', "null", "", 0o666, b"");
    let root = stack.push(layer).unwrap();
    let su = fs::metadata(root.join("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime(), su.nlink()), (0o4755, 11, 12, 1_600_000_000, 2));
    assert_eq!(attribute(&root.join("bin/su"), "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(attribute(&root.join("bin/noted"), "user.note").as_deref(), Some(&b"a\nb"[..]));
    assert_eq!(attribute(&root.join("bin/noted"), "trusted.overlay.redirect"), None);
    assert_eq!(fs::metadata(root.join("bin/hard")).unwrap().ino(), su.ino());
    assert_eq!(fs::read_link(root.join("bin/soft")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::symlink_metadata(root.join("bin/soft")).unwrap().uid(), 11);
    let bin = fs::metadata(root.join("bin")).unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o1777, 1_600_000_000));
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o711);
    assert!(fs::metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    let null = fs::metadata(root.join("null")).unwrap();
    assert!(
        null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3) && null.mode() & 0o777 == 0o666
    );
}

#[test]
fn zeros_become_holes() {
    let Some(mut stack) = Stack::new() else { return };
    let mut contents = vec![0; 1 << 20];
    contents[300_000] = 7;
    let root = stack
        .push(Tar::new().raw(b'0', "sparse", "", 0o600, &contents).raw(b'0', "empty", "", 0o600, &[0; 9000]))
        .unwrap();
    assert_eq!(fs::read(root.join("sparse")).unwrap(), contents);
    assert!(fs::metadata(root.join("sparse")).unwrap().blocks() * 512 < 100_000);
    assert_eq!(fs::read(root.join("empty")).unwrap(), [0; 9000]);
}

#[test]
fn entries_that_leave_the_root_are_refused_and_touch_nothing() {
    let Some(mut stack) = Stack::new() else { return };
    let outside = stack.folder.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    fs::create_dir(stack.folder.path().join("dir")).unwrap();
    let absolute = stack.folder.path().join("dir").display().to_string();
    let attempts: Vec<(&str, Tar)> = vec![
        ("climbs", Tar::new().file("../outside", "x")),
        ("climbs", Tar::new().file("a/../../outside", "x")),
        ("climbs", Tar::new().folder("..", 0o777)),
        ("climbs", Tar::new().file("/../outside", "x")),
        ("link out", Tar::new().link(b'2', "l", "..").file("l/outside", "x")),
        ("link out", Tar::new().link(b'2', "l", &absolute).file("l/planted", "x")),
        ("link out", Tar::new().link(b'2', "l", &absolute).folder("l/planted", 0o777)),
        (
            "link out",
            Tar::new().folder("a", 0o755).link(b'2', "a/l", "../..").link(b'2', "a/m", "l").file("a/m/outside", "x"),
        ),
        ("hard link out", Tar::new().link(b'1', "h", "../outside")),
        ("link out", Tar::new().link(b'2', "l", "..").link(b'1', "h", "l/outside")),
        ("not in the image", Tar::new().link(b'1', "h", "/outside")),
        ("folder", Tar::new().folder("d", 0o755).link(b'1', "h", "d")),
        ("loop", Tar::new().link(b'2', "l", "l").file("l/x", "x")),
        ("link to nothing", Tar::new().link(b'2', "l", "absent").file("l/x", "x")),
        ("not a folder", Tar::new().file("f", "x").file("f/g", "x")),
        ("root", Tar::new().file("a/..", "x")),
        ("hides no name", Tar::new().file(".wh...", "")),
        ("hides no name", Tar::new().file(".wh.", "")),
        ("255", {
            let mut tar = Tar::new();
            tar.0.append_pax_extensions([("path", "n".repeat(256).as_bytes())]).unwrap();
            tar.file("x", "")
        }),
    ];
    for (expected, attempt) in attempts {
        let target = stack.folder.path().join("0");
        let result = stack.push(attempt);
        match &result {
            Err(Failure::Refused { problem, .. }) => {
                assert!(problem.contains(expected), "{problem} instead of {expected}")
            }
            other => panic!("{other:?} instead of a refusal: {expected}"),
        }
        fs::remove_dir_all(target).unwrap();
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "untouched");
    assert_eq!(fs::read_dir(stack.folder.path().join("dir")).unwrap().count(), 0);
}

#[test]
fn links_within_the_root_are_followed_and_later_entries_replace_earlier_ones() {
    let Some(mut stack) = Stack::new() else { return };
    let layer = Tar::new()
        .folder("usr/lib", 0o755)
        .link(b'2', "lib", "usr/lib")
        .file("lib/x", "through the link")
        .link(b'2', "target", "/etc/shadow")
        .file("target", "a file now")
        .folder("tree/deep/er", 0o755)
        .file("tree/deep/er/f", "")
        .file("tree", "a file now")
        .folder("tree", 0o700)
        .file("./tree//new", "y");
    let root = stack.push(layer).unwrap();
    assert_eq!(fs::read_to_string(root.join("usr/lib/x")).unwrap(), "through the link");
    assert_eq!(fs::read_to_string(root.join("target")).unwrap(), "a file now");
    assert_eq!(fs::read_dir(root.join("tree")).unwrap().count(), 1);
}

#[test]
fn whiteouts_become_what_overlayfs_understands() {
    let Some(mut stack) = Stack::new() else { return };
    let base = stack.push(Tar::new().folder("d", 0o755).file("d/a", "").file("f", "").file(".wh.nothing", "")).unwrap();
    assert!(!base.join("nothing").exists() && !base.join(".wh.nothing").exists());
    let layer = Tar::new()
        .file(".wh.f", "")
        .file("d/.wh.a", "")
        .file("d/.wh..wh.plnk", "")
        .file("o/.wh..wh..opq", "")
        .file(".wh.replaced", "")
        .folder("replaced", 0o755)
        .folder("kept", 0o755)
        .file(".wh.kept", "")
        .file("own", "mine")
        .file(".wh.own", "");
    let root = stack.push(layer).unwrap();
    for name in ["f", "d/a"] {
        let meta = fs::symlink_metadata(root.join(name)).unwrap();
        assert!(meta.file_type().is_char_device() && meta.rdev() == 0, "{name}");
    }
    for name in ["o", "replaced", "kept"] {
        assert_eq!(attribute(&root.join(name), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert_eq!(attribute(&root.join("d"), "trusted.overlay.opaque"), None);
    assert_eq!(fs::read_to_string(root.join("own")).unwrap(), "mine");
    assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 1);
}

#[test]
fn implied_folders_and_hard_links_know_the_layers_below() {
    let Some(mut stack) = Stack::new() else { return };
    stack
        .push(Tar::new().folder("./", 0o750).folder("srv", 0o2770).raw(b'0', "srv/tool", "", 0o4711, b"tool"))
        .unwrap();
    let root = stack.push(Tar::new().file("srv/new", "x").link(b'1', "alias", "srv/tool")).unwrap();
    let srv = fs::metadata(root.join("srv")).unwrap();
    assert_eq!((srv.mode() & 0o7777, srv.uid(), srv.gid(), srv.mtime()), (0o2770, 11, 12, 1_600_000_000));
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o750);
    let (alias, tool) = (fs::metadata(root.join("alias")).unwrap(), fs::metadata(root.join("srv/tool")).unwrap());
    assert_eq!((alias.ino(), alias.mode() & 0o7777), (tool.ino(), 0o4711));
    // What a layer in between hides is gone for good.
    stack.push(Tar::new().file("srv/.wh.tool", "")).unwrap();
    assert!(matches!(stack.push(Tar::new().link(b'1', "again", "srv/tool")), Err(Failure::Refused { .. })));
}

#[test]
fn bombs_stop_at_their_bounds() {
    let Some(mut stack) = Stack::new() else { return };
    let big = vec![0; 9 << 20];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&Tar::new().raw(b'0', "bomb", "", 0o600, &big).done()).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 100_000);
    let target = stack.folder.path().join("bomb");
    fs::create_dir(&target).unwrap();
    let result = unpack(&packed[..], &target, &[], Limits { bytes: 8 << 20, entries: 100 });
    assert!(matches!(result, Err(Failure::TooLarge { limit: 8_388_608, .. })), "{result:?}");
    let many = (0..101).fold(Tar::new(), |tar, n| tar.file(&n.to_string(), ""));
    assert!(matches!(stack.push(many), Err(Failure::TooLarge { limit: 100, .. })));
    // A size that the archive only claims.
    let mut lie = Tar::new().file("x", "").done();
    lie[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 =
        lie[..512].iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    lie[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let target = stack.folder.path().join("lie");
    fs::create_dir(&target).unwrap();
    let result = unpack(&lie[..], &target, &[], Limits { bytes: 8 << 20, entries: 100 });
    assert!(matches!(result, Err(Failure::TooLarge { .. })), "{result:?}");
}

#[test]
fn a_packed_folder_unpacks_to_the_same() {
    let Some(mut stack) = Stack::new() else { return };
    let layer = Tar::new()
        .folder("./", 0o755)
        .folder("bin/", 0o1777)
        .attribute("user.note", b"a\nb")
        .raw(b'0', "bin/su", "", 0o4755, b"program")
        .link(b'1', "bin/hard", "bin/su")
        .link(b'2', "bin/soft", "su")
        .raw(b'6', "pipe", "", 0o622, b"");
    let root = stack.push(layer).unwrap();
    let first = pack(&root, Vec::new()).unwrap();
    let again = stack.folder.path().join("again");
    fs::create_dir(&again).unwrap();
    unpack(&first[..], &again, &[], Limits::default()).unwrap();
    assert!(pack(&again, Vec::new()).unwrap() == first);
    assert_eq!(attribute(&again.join("bin/su"), "user.note").as_deref(), Some(&b"a\nb"[..]));
    assert_eq!(fs::metadata(again.join("bin/hard")).unwrap().nlink(), 2);
}
