//! The pods this node last accepted, on disk: they keep running, and are restarted, while the API is away.
//!
//! One small file a pod, replaced by rename. It is a copy and never wins over the API: once the API answers, a pod that
//! it does not know is removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use naru_api::{View, k8s::api::core::v1::Pod};
use serde_json::{Value, json};

use crate::machine::Marks;

/// The folder of files.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    dir: PathBuf,
}

/// A pod as saved.
pub(crate) struct Saved {
    /// The object with the status that was last told.
    pub pod: Pod,
    /// The power wish that was acted on (the annotation's text).
    pub power: Option<String>,
    /// What else nobody but this node knows of it.
    pub marks: Marks,
}

impl Ledger {
    /// Opens the ledger, making its folder.
    pub fn open(state: &Path) -> io::Result<Ledger> {
        let dir = state.join("agent").join("ledger");
        fs::create_dir_all(&dir)?;
        Ok(Ledger { dir })
    }

    /// Saves a pod. Not synced: after a power cut the pods are gone anyway and the API has them.
    pub fn save(&self, uid: &str, pod: &Pod, power: Option<&str>, marks: &Marks) -> io::Result<()> {
        let text = json!({"pod": pod.to_value(), "power": power, "marks": marks}).to_string();
        let temporary = self.dir.join(format!(".{uid}"));
        fs::write(&temporary, text)?;
        fs::rename(&temporary, self.dir.join(format!("{uid}.json")))
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        match fs::remove_file(self.dir.join(format!("{uid}.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Every saved pod; unreadable files are skipped with a warning, since the API has the truth.
    pub fn load(&self) -> io::Result<Vec<Saved>> {
        let mut pods = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(saved) => pods.push(saved),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a saved pod cannot be read"),
            }
        }
        Ok(pods)
    }
}

fn read(path: &Path) -> Result<Saved, Box<dyn std::error::Error + Send + Sync>> {
    let value: Value = serde_json::from_slice(&fs::read(path)?)?;
    let pod = Pod::from_value(&value["pod"])?;
    let marks = serde_json::from_value(value["marks"].clone()).unwrap_or_default();
    Ok(Saved { pod, power: value["power"].as_str().map(str::to_owned), marks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_survive_and_damage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": []}})).unwrap();
        let marks = Marks { held: vec!["c".into()], unhealthy: vec!["d".into()] };
        ledger.save("u", &pod, Some("stopped"), &marks).unwrap();
        fs::write(dir.path().join("agent/ledger/bad.json"), "{").unwrap();
        let saved = Ledger::open(dir.path()).unwrap().load().unwrap();
        assert_eq!((saved.len(), saved[0].power.as_deref()), (1, Some("stopped")));
        assert_eq!(saved[0].marks, marks);
        assert_eq!(saved[0].pod.metadata.name.as_deref(), Some("p"));
        ledger.remove("u").unwrap();
        ledger.remove("u").unwrap();
        assert!(ledger.load().unwrap().is_empty());
    }
}
