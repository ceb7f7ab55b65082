//! Volumes on a scratch folder; what needs mounts says so when it cannot.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use naru_api::k8s::api::core::v1::{Pod, Volume};
use naru_runtime::{
    image::{ImageConfig, Rootfs},
    pod::MountSource,
};
use serde_json::{Value, json};

use super::{payload::payload, *};
use crate::translate::{Facts, Lookup, Paths};

fn entry(text: &str) -> Entry {
    Entry { bytes: text.as_bytes().to_vec(), mode: 0o644 }
}

fn pod(annotations: Value, spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "n", "annotations": annotations}, "spec": spec}),
    )
    .unwrap()
}

fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: mounting needs root");
    }
    root
}

/// Unmounts what a failed test left.
struct Guard(Paths);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = unmount(&self.0);
    }
}

#[test]
fn files_change_as_one_and_keep_their_links() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("v");
    let first = [("a".to_owned(), entry("1")), ("sub/b".to_owned(), entry("2"))].into();
    assert!(write_payload(&volume, &first, None).unwrap());
    assert!(!write_payload(&volume, &first, None).unwrap(), "the same again changes nothing");
    assert_eq!(fs::read_to_string(volume.join("sub/b")).unwrap(), "2");
    let open = fs::read_link(volume.join("..data")).unwrap();
    let second: Payload = [("a".to_owned(), entry("3")), ("c".to_owned(), Entry { mode: 0o400, ..entry("4") })].into();
    assert!(write_payload(&volume, &second, None).unwrap());
    assert_ne!(fs::read_link(volume.join("..data")).unwrap(), open);
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
    assert_eq!(fs::metadata(volume.join("c")).unwrap().permissions().mode() & 0o777, 0o400);
    assert!(!volume.join("sub").exists(), "names that went are gone");
    assert_eq!(fs::read_link(volume.join("a")).unwrap(), Path::new("..data/a"));
    let kept = fs::read_dir(&volume).unwrap().count();
    assert_eq!(kept, 4, "one data folder, its link, two names");
}

#[test]
fn paths_that_climb_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["../x", "/x", "a/../../x", ""] {
        let files = [(bad.to_owned(), entry("1"))].into();
        assert!(write_payload(&dir.path().join("v"), &files, None).is_err(), "{bad:?}");
    }
}

#[test]
fn payloads_come_from_every_object() {
    let config: naru_api::k8s::api::core::v1::ConfigMap =
        serde_json::from_value(json!({"data": {"k": "v", "l": "w"}, "binaryData": {"bin": "AAE="}})).unwrap();
    let secret = serde_json::from_value(json!({"data": {"p": "cGFzcw=="}})).unwrap();
    let lookup = Lookup {
        namespace: "n".into(),
        config_maps: [("cm".to_owned(), Arc::new(config))].into(),
        secrets: [("s".to_owned(), Arc::new(secret))].into(),
    };
    let pod = pod(json!({}), json!({"containers": [{"name": "c", "resources": {"limits": {"memory": "2Mi"}}}]}));
    let tokens = [((String::new(), 600), "tok".to_owned())].into();
    let sources = Sources { pod: &pod, facts: &Facts::default(), lookup: &lookup, tokens: &tokens };
    let files = |volume: Value| {
        let mut volume = volume;
        volume["name"] = "v".into();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        payload(&volume, &sources)
    };
    let all = files(json!({"configMap": {"name": "cm", "defaultMode": 0o400}})).unwrap().unwrap();
    assert_eq!((all.len(), all["bin"].bytes.clone(), all["k"].mode), (3, vec![0, 1], 0o400));
    let some = json!({"configMap": {"name": "cm", "items": [{"key": "k", "path": "d/k", "mode": 0o600}]}});
    let some = files(some).unwrap().unwrap();
    assert_eq!((some.len(), some["d/k"].mode), (1, 0o600));
    let mixed = json!({"projected": {"sources": [
        {"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory"}}]}}]}});
    let mixed = files(mixed).unwrap().unwrap();
    assert_eq!(mixed["p"].bytes, b"pass");
    assert_eq!(
        (&*mixed["token"].bytes, &*mixed["name"].bytes, &*mixed["mem"].bytes),
        (&b"tok"[..], &b"p"[..], &b"2097152"[..])
    );
    assert!(files(json!({"secret": {"secretName": "none", "optional": true}})).unwrap().unwrap().is_empty());
    let missing = files(json!({"secret": {"secretName": "none"}})).unwrap_err();
    assert!(missing.to_string().contains("secret \"none\" not found"));
    assert!(files(json!({"emptyDir": {}})).unwrap().is_none());
}

#[test]
fn mounts_follow_the_spec_and_docker_annotations() {
    let spec = json!({
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "db"}}, {"name": "conf"}],
        "containers": [{"name": "c", "volumeMounts": [
            {"name": "conf", "mountPath": "/a/b/c", "subPathExpr": "$(X)", "mountPropagation": "HostToContainer"},
            {"name": "data", "mountPath": "/data"}]}]});
    let notes = json!({"naru.io/copy-up": "[\"db\"]", "naru.io/volumes-from-image": "{\"c\":[\"/cache\"]}"});
    let pod = pod(notes, spec);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let paths = Paths::new("/s".as_ref(), "n", "p", "u");
    let prepared = Prepared {
        paths: [("data".to_owned(), "/vol/db".into()), ("conf".to_owned(), "/vol/conf".into())].into(),
        read_only: vec!["conf".into()],
        refresh_at: None,
    };
    let image = ImageConfig { volumes: vec!["/data".into(), "/img".into()], ..ImageConfig::default() };
    let (mounts, copies) =
        container_mounts(&pod, container, &prepared, &paths, &image, |name| (name == "X").then(|| "deep".into()))
            .unwrap();
    let targets: Vec<_> = mounts.iter().map(|mount| mount.target.to_str().unwrap()).collect();
    assert_eq!(targets, ["/data", "/cache", "/img", "/a/b/c"], "outer mounts first");
    let MountSource::Bind { subpath, .. } = &mounts[3].source else { panic!("a bind") };
    assert_eq!((subpath.as_deref(), mounts[3].read_only), (Some(Path::new("deep")), true));
    let copied: Vec<_> = copies.iter().map(|copy| copy.inside.to_str().unwrap()).collect();
    assert_eq!(copied, ["/data", "/cache", "/img"]);
}

#[test]
fn sub_paths_that_climb_are_refused() {
    let pod = pod(
        json!({}),
        json!({"containers": [
        {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/../../etc"}]}]}),
    );
    let prepared = Prepared { paths: [("v".to_owned(), "/v".into())].into(), ..Prepared::default() };
    let paths = Paths::new("/s".as_ref(), "n", "p", "u");
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let error = container_mounts(&pod, container, &prepared, &paths, &ImageConfig::default(), |_| None).unwrap_err();
    assert!(error.to_string().contains("\"..\""));
}

#[test]
fn an_empty_volume_is_filled_from_the_images_layers() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (low, high) = (dir.path().join("low"), dir.path().join("high"));
    for (layer, file, text) in [(&low, "data/old", "old"), (&low, "data/both", "low"), (&high, "data/both", "high")] {
        fs::create_dir_all(layer.join("data")).unwrap();
        fs::write(layer.join(file), text).unwrap();
    }
    fs::set_permissions(high.join("data"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(high.join("data"), Some(11), Some(12)).unwrap();
    let rootfs = Rootfs { base: dir.path().into(), lower: vec![high, low] };
    let copy = CopyUp { host: dir.path().join("volume"), inside: "/data".into() };
    copy_up(&rootfs, std::slice::from_ref(&copy), dir.path()).unwrap();
    assert_eq!(fs::read_to_string(copy.host.join("both")).unwrap(), "high");
    assert_eq!(fs::read_to_string(copy.host.join("old")).unwrap(), "old");
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(&copy.host).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (11, 12, 0o750));
    fs::write(copy.host.join("both"), "mine").unwrap();
    copy_up(&rootfs, std::slice::from_ref(&copy), dir.path()).unwrap();
    assert_eq!(fs::read_to_string(copy.host.join("both")).unwrap(), "mine", "data is never overwritten");
}

#[test]
fn removal_unmounts_first_and_never_deletes_through_a_mount() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    let paths = Paths::new(dir.path(), "n", "p", "u");
    let _guard = Guard(paths.clone());
    let inside = paths.volumes().join("with blank");
    fs::create_dir_all(&inside).unwrap();
    rustix::mount::mount_bind(&precious, &inside).unwrap();
    let error = clean(&paths).unwrap_err();
    assert!(matches!(error, VolumeError::StillMounted { .. }), "{error}");
    unmount(&paths).unwrap();
    unmount(&paths).unwrap();
    clean(&paths).unwrap();
    assert!(precious.join("file").exists() && !paths.root.exists());
    clean(&paths).unwrap();
}

/// An API server that knows nothing.
struct Empty;

impl naru_client::Transport for Empty {
    fn call(
        &self,
        _: http::Request<naru_client::Body>,
    ) -> naru_client::BoxFuture<'static, Result<http::Response<naru_client::Body>, naru_client::TransportError>> {
        Box::pin(async { Err(naru_client::TransportError::Closed) })
    }

    fn upgrade(
        &self,
        _: http::Request<naru_client::Body>,
    ) -> naru_client::BoxFuture<'static, Result<(http::Response<()>, naru_client::BoxedIo), naru_client::UpgradeError>>
    {
        Box::pin(async { Err(naru_client::TransportError::Closed.into()) })
    }
}

async fn prepare_spec(state: &Path, paths: &Paths, spec: Value) -> Result<Prepared, VolumeError> {
    let client = naru_client::Client::new(Arc::new(Empty));
    let pod = pod(json!({}), spec);
    let lookup = Lookup {
        namespace: "n".into(),
        secrets: [("s".to_owned(), Arc::new(serde_json::from_value(json!({"data": {"p": "cGFzcw=="}})).unwrap()))]
            .into(),
        ..Lookup::default()
    };
    prepare(Prepare {
        pod: &pod,
        paths,
        state,
        client: &client,
        facts: &Facts::default(),
        labels: &BTreeMap::new(),
        lookup: &lookup,
        tokens: &BTreeMap::new(),
    })
    .await
}

#[tokio::test]
async fn empty_dirs_and_secrets_are_prepared_and_taken_away() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path(), "n", "p", "u");
    let _guard = Guard(paths.clone());
    let spec = json!({"containers": [], "securityContext": {"fsGroup": 4242}, "volumes": [
        {"name": "disk", "emptyDir": {}}, {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "key", "secret": {"secretName": "s"}}]});
    for _ in 0..2 {
        let prepared = prepare_spec(dir.path(), &paths, spec.clone()).await.unwrap();
        let kind = |name: &str| rustix::fs::statfs(&prepared.paths[name]).unwrap();
        assert_eq!(kind("mem").f_blocks * u64::try_from(kind("mem").f_bsize).unwrap(), 1 << 20);
        assert_eq!(kind("key").f_type, 0x0102_1994, "secrets are in memory");
        assert_eq!(fs::read_to_string(prepared.paths["key"].join("p")).unwrap(), "pass");
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(&prepared.paths["disk"]).unwrap();
        assert_eq!((meta.gid(), meta.mode() & 0o7777), (4242, 0o2777));
        assert_eq!(prepared.read_only, ["key"]);
    }
    unmount(&paths).unwrap();
    clean(&paths).unwrap();
    assert!(!paths.root.exists());
}

#[tokio::test]
async fn host_paths_are_checked_by_type() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path(), "n", "p", "u");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let made = dir.path().join("made");
    for (path, kind, fits) in [
        (&file, "File", true),
        (&file, "Directory", false),
        (&file, "", true),
        (&made, "", false),
        (&made, "DirectoryOrCreate", true),
        (&made, "Directory", true),
        (&file, "Socket", false),
    ] {
        let spec = json!({"containers": [], "volumes": [{"name": "h", "hostPath": {"path": path, "type": kind}}]});
        assert_eq!(prepare_spec(dir.path(), &paths, spec).await.is_ok(), fits, "{path:?} as {kind:?}");
    }
}

#[tokio::test]
async fn unknown_volume_kinds_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path(), "n", "p", "u");
    let spec = json!({"containers": [], "volumes": [{"name": "n", "nfs": {"server": "x", "path": "/"}}]});
    let error = prepare_spec(dir.path(), &paths, spec).await.unwrap_err();
    assert!(error.to_string().contains("\"n\"") && error.to_string().contains("not supported"));
}
