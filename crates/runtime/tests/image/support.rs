//! Small images, made in memory in every form that archives take.

use std::io::Write;

use naru_runtime::image::{Digest, Images};
use serde_json::{Value, json};

/// A store in a folder that goes away with it.
pub struct Scratch {
    pub images: Images,
    pub folder: tempfile::TempDir,
}

impl Scratch {
    /// None, said loudly, where layers cannot be unpacked.
    pub async fn new() -> Option<Scratch> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: unpacking layers needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path().join("images")).await.unwrap();
        Some(Scratch { images, folder })
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// How many entries a folder of the store has.
    pub fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.path("images").join(folder)).unwrap().count()
    }
}

impl Drop for Scratch {
    /// A store's flush may write its marker while the folder is being removed; then it is removed once more.
    fn drop(&mut self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::fs::remove_dir_all(self.folder.path()).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound) {
            if std::time::Instant::now() > deadline {
                break;
            }
        }
    }
}

/// An archive of files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o755);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder.append_data(&mut header, name, *contents).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Bytes that do not compress.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(step).collect()
}

/// An image: its layers uncompressed, and as they are packed.
#[derive(Clone)]
pub struct Sample {
    pub layers: Vec<Vec<u8>>,
    pub packed: Vec<Vec<u8>>,
    pub config: Vec<u8>,
}

impl Sample {
    pub fn new(layers: Vec<Vec<u8>>, pack: impl Fn(&[u8]) -> Vec<u8>) -> Sample {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({
            "architecture": naru_runtime::image::Platform::host().architecture, "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Entrypoint": ["/bin/app"], "Cmd": ["serve"], "Env": ["A=1"], "User": "65534", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"l": "v"}, "WorkingDir": "/srv"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "test"}],
        });
        let packed = layers.iter().map(|layer| pack(layer)).collect();
        Sample { layers, packed, config: serde_json::to_vec(&config).unwrap() }
    }

    /// Two layers: the second replaces `etc/two` and hides `etc/gone`.
    pub fn two_layers(pack: impl Fn(&[u8]) -> Vec<u8>) -> Sample {
        let base = tar(&[
            ("etc/", b""),
            ("etc/one", b"1"),
            ("etc/two", b"old"),
            ("etc/gone", b"x"),
            ("bin/app", b"#!/bin/sh\n"),
        ]);
        let top = tar(&[("etc/two", b"2"), ("etc/.wh.gone", b"")]);
        Sample::new(vec![base, top], pack)
    }

    pub fn id(&self) -> String {
        Digest::of(&self.config).to_string()
    }

    pub fn manifest(&self) -> Vec<u8> {
        let layers: Vec<Value> = self
            .packed
            .iter()
            .map(|layer| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest::of(layer), "size": layer.len()}))
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&self.config), "size": self.config.len()},
            "layers": layers});
        serde_json::to_vec(&manifest).unwrap()
    }

    /// Members of an OCI layout that names the image `name`.
    pub fn oci(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest();
        let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(&manifest), "size": manifest.len(), "annotations": {"org.opencontainers.image.ref.name": name}}]});
        let blobs = self.packed.iter().chain([&self.config, &manifest]);
        let mut members: Vec<(String, Vec<u8>)> =
            blobs.map(|blob| (format!("blobs/sha256/{}", Digest::of(blob).hex()), blob.clone())).collect();
        members.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        members.push(("index.json".into(), serde_json::to_vec(&index).unwrap()));
        members
    }

    /// Members of a `docker save` archive as engines wrote it until version 24.
    pub fn docker(&self, tags: &[&str]) -> Vec<(String, Vec<u8>)> {
        let config = format!("{}.json", Digest::of(&self.config).hex());
        let names: Vec<String> = (0..self.packed.len()).map(|n| format!("{n:064x}/layer.tar")).collect();
        let manifest = json!([{"Config": config, "RepoTags": tags, "Layers": names}]);
        let mut members = vec![(config, self.config.clone())];
        members.extend(names.into_iter().zip(self.packed.clone()));
        members.push(("manifest.json".into(), serde_json::to_vec(&manifest).unwrap()));
        members
    }

    /// Members of an archive from before `manifest.json`.
    pub fn legacy(&self, repository: &str, tag: &str) -> Vec<(String, Vec<u8>)> {
        let mut members = Vec::new();
        let id = |n: usize| format!("{:064x}", n + 10);
        for (n, layer) in self.packed.iter().enumerate() {
            let mut text = json!({"id": id(n), "created": "2014-01-01T00:00:00Z", "os": "linux", "architecture": "amd64",
                "config": {"Cmd": ["legacy"], "Env": null}, "container_config": {"Cmd": ["/bin/sh", "-c", "make it"]}});
            if n > 0 {
                text["parent"] = id(n - 1).into();
            }
            members.push((format!("{}/json", id(n)), serde_json::to_vec(&text).unwrap()));
            members.push((format!("{}/layer.tar", id(n)), layer.clone()));
        }
        let top = id(self.packed.len() - 1);
        members.push(("repositories".into(), serde_json::to_vec(&json!({repository: {tag: top}})).unwrap()));
        members
    }
}

/// Members as one archive.
pub fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    tar(&members)
}
