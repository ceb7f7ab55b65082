//! `extends`: a service laid over another one, of this file or of another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Loader;
use crate::canonical::Base;
use crate::error::ComposeError;
use crate::merge::merge;
use crate::yaml::Node;

impl Loader<'_> {
    /// Follows every `extends` of a prepared file.
    pub(super) fn extend(
        &mut self,
        document: &mut Node,
        path: &Path,
        dir: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        let services: Vec<String> = document
            .get("services")
            .and_then(Node::as_map)
            .unwrap_or_default()
            .iter()
            .filter(|(_, service)| service.get("extends").is_some())
            .map(|(name, _)| name.text.clone())
            .collect();
        for name in services {
            let extended = self.extended(document, &name, path, dir, environment, &mut Vec::new())?;
            if let Some(place) = document.get_mut("services").and_then(|s| s.get_mut(&name)) {
                *place = extended;
            }
        }
        Ok(())
    }

    /// A service of `document` with what it extends, all the way down. `chain` is the way here.
    fn extended(
        &mut self,
        document: &Node,
        name: &str,
        path: &Path,
        dir: &Path,
        environment: &BTreeMap<String, String>,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Result<Node, ComposeError> {
        let Some(service) = document.get("services").and_then(|s| s.get(name)) else {
            return Err(ComposeError::Project(format!("{}: no service {name:?} to extend", path.display())));
        };
        let mut service = service.clone();
        let Some(extends) = service.remove("extends").filter(|e| !e.is_null()) else { return Ok(service) };
        let key = format!("services.{name}.extends");
        let step = (path.to_owned(), name.to_owned());
        if chain.contains(&step) {
            let way: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).chain([name]).collect();
            return Err(ComposeError::invalid(&extends.at, key, format!("a circle: {}", way.join(" → "))));
        }
        chain.push(step);
        let Some(base_name) = extends.get("service").and_then(Node::as_text) else {
            return Err(ComposeError::invalid(&extends.at, key, "expected `service`: the service to extend"));
        };
        let missing = |file: &Path| {
            let problem = format!("{} has no service {base_name:?}", file.display());
            ComposeError::invalid(&extends.at, key.clone(), problem)
        };
        let has = |document: &Node| document.get("services").and_then(|s| s.get(base_name)).is_some();
        let mut base = match extends.get("file").and_then(Node::as_text) {
            None if !has(document) => return Err(missing(path)),
            None => self.extended(document, base_name, path, dir, environment, chain)?,
            Some(file) => {
                let file = Base { dir, home: None }.resolve(file);
                let other_dir = file.parent().unwrap_or(dir).to_owned();
                let Some(mut other) = self.read(&file, Some(&extends.at))?.into_iter().next() else {
                    return Err(missing(&file));
                };
                self.prepare(&mut other, &other_dir, environment)?;
                if !has(&other) {
                    return Err(missing(&file));
                }
                self.extended(&other, base_name, &file, &other_dir, environment, chain)?
            }
        };
        merge(&mut base, service, name);
        Ok(base)
    }
}
