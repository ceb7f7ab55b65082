//! Volumes and mounts.
//!
//! A named volume is a claim of the local class; an anonymous one is a claim too where the service has one replica (it
//! is kept when the container is replaced, as Docker does), and the pod's own folder where it has several.

use serde_json::{Map, Value, json};

use super::{Context, names::digest, object_name, replicas};
use crate::canonical::tmpfs_options;
use crate::model::{FileReference, Mount, Service};

/// The pod's side and the container's side of the mounts of a service.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// `spec.volumes`.
    pub volumes: Vec<Value>,
    /// `volumeMounts`.
    pub mounts: Vec<Value>,
    /// Volumes that are filled from the image's folder at first use.
    pub copy_up: Vec<String>,
    /// Owners and permissions of volumes: `{"uid","gid","mode"}`.
    pub owners: Map<String, Value>,
}

/// Of a file system in memory that says none, as Docker has it.
const TMPFS_MODE: i64 = 0o1777;

impl Context<'_> {
    /// Claims of the project's named volumes.
    pub(super) fn claims(&self) -> Vec<Value> {
        let own = self.project.volumes.values().filter(|volume| !volume.external && bind_of(volume).is_none());
        own.map(|volume| self.claim(&object_name(&volume.name), &volume.name, None, &volume.labels)).collect()
    }

    /// Claims of a service's anonymous volumes.
    pub(super) fn anonymous_claims(&self, name: &str, service: &Service) -> Vec<Value> {
        let anonymous = service.volumes.iter().filter(|m| is_anonymous(m) && keeps_anonymous(service));
        anonymous
            .map(|mount| {
                let claim = anonymous_claim(name, mount);
                self.claim(
                    &claim,
                    &format!("{}_{name}:{}", self.project.name, mount.target),
                    Some(name),
                    &Default::default(),
                )
            })
            .collect()
    }

    fn claim(&self, name: &str, title: &str, service: Option<&str>, labels: &crate::model::Texts) -> Value {
        let mut annotations = super::user_labels(labels);
        annotations.insert(naru_api::naru::names::TITLE.to_owned(), title.into());
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name, "namespace": self.namespace, "labels": self.labels(service), "annotations": annotations,
            },
            // Docker's volumes have no size; the claim must name one, and the local class does not enforce it.
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        })
    }

    /// The mounts of a service; `service` is its name.
    pub(super) fn mounts(&mut self, name: &str, service: &Service) -> Mounts {
        let mut found = Mounts::default();
        for mount in &service.volumes {
            self.mount(name, service, mount, None, &mut found);
        }
        for other in &service.volumes_from {
            let (other, mode) = other.split_once(':').unwrap_or((other, "rw"));
            let Some(from) = self.project.services.get(other) else { continue };
            for mount in from.volumes.iter().filter(|m| m.kind != "tmpfs" && !is_anonymous(m)) {
                if !service.volumes.iter().any(|own| own.target == mount.target) {
                    self.mount(name, service, mount, Some(mode == "ro"), &mut found);
                }
            }
        }
        for entry in &service.tmpfs {
            let target = entry.split(':').next().unwrap_or(entry);
            // What is wrong with them was said when the project was loaded.
            let options = tmpfs_options(entry).unwrap_or_default();
            let volume = found.add(target, json!({"emptyDir": memory(options.size)}), json!({}));
            let mode = options.mode.unwrap_or(TMPFS_MODE);
            found.owners.insert(volume, owner(options.uid, options.gid, Some(mode)));
        }
        for (section, references) in [("configs", &service.configs), ("secrets", &service.secrets)] {
            for reference in references {
                self.file(section, reference, &mut found);
            }
        }
        found
    }

    fn mount(&mut self, name: &str, service: &Service, mount: &Mount, read_only: Option<bool>, found: &mut Mounts) {
        let read_only = read_only.unwrap_or(false) || mount.read_only == Some(true);
        let mut side = json!({});
        if read_only {
            side["readOnly"] = true.into();
        }
        let options = mount.volume.as_ref();
        if let Some(subpath) = options.and_then(|o| o.subpath.clone()) {
            side["subPath"] = subpath.trim_start_matches('/').into();
        }
        let source = match (mount.kind.as_str(), mount.source.as_deref()) {
            ("bind", Some(path)) => {
                let bind = mount.bind.as_ref();
                match bind.and_then(|b| b.propagation.as_deref()) {
                    Some("shared" | "rshared") => side["mountPropagation"] = "Bidirectional".into(),
                    Some("slave" | "rslave") => side["mountPropagation"] = "HostToContainer".into(),
                    _ => {}
                }
                let make = bind.and_then(|b| b.create_host_path) == Some(true);
                host_path(path, make)
            }
            ("tmpfs", _) => json!({"emptyDir": memory(mount.tmpfs.as_ref().and_then(|t| t.size).map(|s| s.0))}),
            (_, Some(key)) => {
                let volume = self.project.volumes.get(key);
                match volume.and_then(bind_of) {
                    Some(path) => host_path(path, false),
                    None => {
                        let claim = volume.map_or_else(|| object_name(key), |v| object_name(&v.name));
                        json!({"persistentVolumeClaim": {"claimName": claim}})
                    }
                }
            }
            (_, None) if keeps_anonymous(service) => {
                json!({"persistentVolumeClaim": {"claimName": anonymous_claim(name, mount)}})
            }
            (_, None) => json!({"emptyDir": {}}),
        };
        let copies = mount.kind == "volume" && !read_only && options.and_then(|o| o.nocopy) != Some(true);
        let volume = found.add(&mount.target, source, side);
        if mount.kind == "tmpfs" {
            let mode = mount.tmpfs.as_ref().and_then(|tmpfs| tmpfs.mode).unwrap_or(TMPFS_MODE);
            found.owners.insert(volume.clone(), owner(None, None, Some(mode)));
        }
        if copies && !found.copy_up.contains(&volume) {
            found.copy_up.push(volume);
        }
    }

    fn file(&mut self, section: &str, reference: &FileReference, found: &mut Mounts) {
        let entries = if section == "configs" { &self.project.configs } else { &self.project.secrets };
        let Some(entry) = entries.get(&reference.source) else { return };
        let target = match (&reference.target, section) {
            (Some(target), _) if target.starts_with('/') => target.clone(),
            (Some(target), "secrets") => format!("/run/secrets/{target}"),
            (Some(target), _) => format!("/{target}"),
            (None, "secrets") => format!("/run/secrets/{}", reference.source),
            (None, _) => format!("/{}", reference.source),
        };
        let object = self.content_name(entry);
        let items = json!([{"key": super::contents::KEY, "path": "content", "mode": reference.mode.unwrap_or(0o444)}]);
        let source = if section == "configs" {
            json!({"configMap": {"name": object, "items": items}})
        } else {
            json!({"secret": {"secretName": object, "items": items}})
        };
        let id = |text: &Option<String>| text.as_deref().and_then(|id| id.parse::<u32>().ok());
        let (uid, gid) = (id(&reference.uid), id(&reference.gid));
        let side = json!({"subPath": "content", "readOnly": true});
        if uid.is_none() && gid.is_none() {
            found.add(&target, source, side);
        } else {
            // Two owners of one content are two volumes.
            let volume = found.add_as(&target, source, side, &format!("{uid:?}:{gid:?}"));
            found.owners.insert(volume, owner(uid, gid, None));
        }
    }
}

impl Mounts {
    /// One mount; equal sources share a volume. Returns the volume's name.
    fn add(&mut self, target: &str, source: Value, side: Value) -> String {
        self.add_as(target, source, side, "")
    }

    /// As [`Mounts::add`]; volumes that `apart` tells apart are not shared.
    fn add_as(&mut self, target: &str, source: Value, mut side: Value, apart: &str) -> String {
        let name = format!("v-{}", &digest(format!("{source}{}{apart}", volatile(&source, target)).as_bytes())[..10]);
        if !self.volumes.iter().any(|volume| volume["name"] == name.as_str()) {
            let mut volume = source;
            volume["name"] = name.clone().into();
            self.volumes.push(volume);
        }
        side["name"] = name.clone().into();
        side["mountPath"] = target.into();
        self.mounts.push(side);
        name
    }
}

/// Folders of the pod's own are told apart by their place, everything else by its source.
fn volatile<'a>(source: &Value, target: &'a str) -> &'a str {
    if source.get("emptyDir").is_some() { target } else { "" }
}

fn owner(uid: Option<u32>, gid: Option<u32>, mode: Option<i64>) -> Value {
    let all = [("uid", uid.map(i64::from)), ("gid", gid.map(i64::from)), ("mode", mode)];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?)))).collect()
}

fn memory(size: Option<i64>) -> Value {
    match size {
        Some(bytes) => json!({"medium": "Memory", "sizeLimit": bytes.to_string()}),
        None => json!({"medium": "Memory"}),
    }
}

fn host_path(path: &str, make: bool) -> Value {
    json!({"hostPath": {"path": path, "type": if make { "DirectoryOrCreate" } else { "" }}})
}

/// `driver_opts: {type: none, o: bind, device: /path}`: a volume that is a folder of the machine.
fn bind_of(volume: &crate::model::Volume) -> Option<&str> {
    let option = |key: &str| volume.driver_opts.get(key).and_then(|v| v.as_deref());
    option("o").filter(|o| o.split(',').any(|word| word == "bind" || word == "rbind")).and_then(|_| option("device"))
}

fn is_anonymous(mount: &Mount) -> bool {
    mount.kind == "volume" && mount.source.is_none()
}

fn keeps_anonymous(service: &Service) -> bool {
    replicas(service) <= 1 && service.deploy.as_ref().and_then(|d| d.mode.as_deref()) != Some("global")
}

fn anonymous_claim(service: &str, mount: &Mount) -> String {
    object_name(&format!("{}-{}", object_name(service), &digest(mount.target.as_bytes())[..8]))
}
