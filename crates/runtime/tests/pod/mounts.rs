//! Binds, memory filesystems, and links that point out of the root.

use std::{fs, os::unix::fs::symlink};

use naru_runtime::pod::{Mount, MountSource, PodError, Propagation, Runtime, Shm};

use crate::support::machine;

fn bind(path: impl Into<std::path::PathBuf>, target: &str) -> Mount {
    let source = MountSource::Bind { path: path.into(), subpath: None, propagation: Propagation::Private };
    Mount { target: target.into(), source, read_only: false, noexec: false }
}

#[tokio::test]
async fn files_and_folders_are_bound() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let host = m.scratch.path().join("host");
    fs::create_dir_all(host.join("data/inner")).unwrap();
    fs::write(host.join("hosts"), "1.2.3.4 db\n").unwrap();
    let script = "exec 2>&1; cat /etc/hosts; echo new > /data/file; echo no > /ro/file; ls /part; df /mem | tail -1 | cut -d' ' -f1; \
                  stat -c %a /mem; cat /mem/plain";
    let mut config = m.container(&uid, "a", script);
    let mut part = bind(&host, "/part");
    part.source =
        MountSource::Bind { path: host.clone(), subpath: Some("data".into()), propagation: Propagation::Private };
    let memory = MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o750), copy_up: true };
    fs::create_dir_all(m.image().join("mem")).unwrap();
    fs::write(m.image().join("mem/plain"), "copied up\n").unwrap();
    config.mounts = vec![
        bind(host.join("hosts"), "/etc/hosts"),
        bind(host.join("data"), "/data"),
        Mount { read_only: true, ..bind(host.join("data"), "/ro") },
        part,
        Mount { target: "/mem".into(), source: memory, read_only: false, noexec: true },
    ];
    m.run(&uid, config).await;
    let text = m.log(&uid, "a");
    assert!(text.starts_with("1.2.3.4 db\n") && text.contains("Read-only file system"), "{text}");
    assert!(text.contains("file\ninner\ntmpfs\n750\ncopied up\n"), "{text}");
    assert_eq!(fs::read_to_string(host.join("data/file")).unwrap(), "new\n");
}

#[tokio::test]
async fn shared_memory_has_the_size_asked_for_and_is_the_pods() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod_with("p", |p| p.shm_size = Some(8 << 20)).await;
    let size = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(m.output(&uid, "a", &format!("{size}; echo hello > /dev/shm/x")).await, "8192\n");
    assert_eq!(m.output(&uid, "b", "cat /dev/shm/x").await, "hello\n");
    let mut config = m.container(&uid, "c", &format!("{size}; ls /dev/shm"));
    config.shm = Shm::Private(4 << 20);
    m.run(&uid, config).await;
    assert_eq!(m.log(&uid, "c"), "4096\n");
}

/// The image's author chooses where links point; nothing may be made or mounted outside of the root.
#[tokio::test]
async fn mount_targets_never_leave_the_root() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let outside = m.scratch.path().join("outside");
    let data = m.scratch.path().join("data");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("marker"), "inside\n").unwrap();
    symlink(&outside, m.image().join("absolute")).unwrap();
    symlink("../../../../../../../../../../tmp", m.image().join("relative")).unwrap();
    let mut config = m.container(&uid, "a", "cat /absolute/x/marker /relative/y/marker /up/marker; ls /tmp");
    config.mounts = vec![bind(&data, "/absolute/x"), bind(&data, "/relative/y"), bind(&data, "/../../up")];
    m.run(&uid, config).await;
    assert!(m.log(&uid, "a").starts_with("inside\ninside\ninside\n"), "{}", m.log(&uid, "a"));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");
    assert!(!std::path::Path::new("/tmp/y").exists());

    symlink("/proc/self", m.image().join("self")).unwrap();
    let mut config = m.container(&uid, "b", "true");
    config.mounts = vec![bind(&data, "/self/attr")];
    let error = m.pods.start(&uid, config).await.unwrap_err();
    assert!(matches!(&error, PodError::Start { failure, .. } if failure.action.contains("/self/attr")), "{error:?}");
}

#[tokio::test]
async fn proc_must_not_be_a_link_of_the_image() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    fs::remove_dir(m.image().join("proc")).unwrap();
    symlink("tmp", m.image().join("proc")).unwrap();
    let error = m.pods.start(&uid, m.container(&uid, "a", "true")).await.unwrap_err();
    assert!(matches!(&error, PodError::Start { failure, .. } if failure.action.contains("/proc")), "{error:?}");
}

#[tokio::test]
async fn many_layers_with_awkward_names() {
    let Some(mut m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "cat /which; ls /layers | wc -l");
    let base = m.scratch.path().join("layers, with: signs");
    let layers: Vec<_> = (0..130)
        .map(|at| {
            let layer = base.join(format!("{at}-{}", "x".repeat(120)));
            fs::create_dir_all(layer.join("layers")).unwrap();
            fs::write(layer.join("layers").join(at.to_string()), "").unwrap();
            fs::write(layer.join("which"), format!("{at}\n")).unwrap();
            layer
        })
        .collect();
    config.root.lower = layers.into_iter().chain([m.image()]).collect();
    m.run(&uid, config).await;
    assert_eq!(m.log(&uid, "a"), "0\n130\n");
}

#[tokio::test]
async fn a_missing_source_is_named_and_nothing_stays_mounted() {
    let Some(m) = machine() else { return };
    let uid = m.pod("p").await;
    let mut config = m.container(&uid, "a", "true");
    config.mounts = vec![bind("/no/such/source", "/x")];
    let error = m.pods.start(&uid, config).await.unwrap_err();
    assert!(
        matches!(&error, PodError::Start { failure, .. } if failure.to_string().contains("/no/such/source: no such file"))
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains("overlay overlay") || !mounts.contains("pods/p/root"),
        "an overlay is in the host's table"
    );
}
