//! What the command line adds to a service, as one more Compose file.
//!
//! `naru run -v … -p …` takes the short forms of the file's own keys. Laid over the files like any other, they are read,
//! checked and refused by the same rules and in the same words; a parser of its own would sooner or later differ.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use naru_compose::{Disk, Files};
use serde_json::json;

use crate::cli::RunOptions;

/// The name that messages give the overlay.
pub(crate) const NAME: &str = "<command line>";

/// The overlay of `naru run`; `None` when the command line adds nothing.
pub(crate) fn of_run(options: &RunOptions) -> Option<String> {
    let mut keys = Vec::new();
    let mut list = |key: &str, tag: &str, words: &[String]| {
        if !words.is_empty() {
            keys.push(format!("    {key}: {tag}{}\n", json!(words)));
        }
    };
    list("volumes", "", &options.volumes);
    list("ports", "!override ", &options.publish);
    list("labels", "", &options.labels);
    list("cap_add", "", &options.cap_add);
    list("cap_drop", "", &options.cap_drop);
    list("env_file", "", &options.env_from_file);
    if keys.is_empty() {
        return None;
    }
    let mut text = format!("services:\n  {}:\n{}", json!(options.service), keys.concat());
    let sources = options.volumes.iter().filter_map(|mount| mount.split_once(':').map(|(source, _)| source));
    let named: Vec<&str> = sources.filter(|source| !source.starts_with(['/', '.', '~'])).collect();
    if !named.is_empty() {
        text.push_str("volumes:\n");
        named.iter().for_each(|name| text.push_str(&format!("  {}: {{}}\n", json!(name))));
    }
    Some(text)
}

/// The disk, and one file more. Standard input is read once and kept.
pub(crate) struct Overlaid {
    text: String,
    stdin: RefCell<BTreeMap<PathBuf, String>>,
}

impl Overlaid {
    pub fn new(text: String) -> Self {
        Self { text, stdin: RefCell::default() }
    }
}

impl Files for Overlaid {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path.file_name().is_some_and(|name| name == NAME) {
            return Ok(self.text.clone());
        }
        if path.as_os_str() != "-" {
            return Disk.read(path);
        }
        if let Some(text) = self.stdin.borrow().get(path) {
            return Ok(text.clone());
        }
        let text = Disk.read(path)?;
        self.stdin.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.bytes(path)
    }

    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }
}
