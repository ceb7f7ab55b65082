//! Variables: the shell's above those of environment files; and the environment of each service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Files, Loader, Request, show};
use crate::dotenv::{self, Format};
use crate::error::{ComposeError, Position};
use crate::yaml::Node;

/// A request with what variables say in place of what the command line does not: `COMPOSE_FILE` (parted by
/// `COMPOSE_PATH_SEPARATOR`), `COMPOSE_PROFILES` and `COMPOSE_ENV_FILES`; the first two may also stand in `.env`.
pub(super) fn completed(request: &Request, files: &dyn Files) -> Result<Request, ComposeError> {
    let mut request = request.clone();
    let shell = &request.variables;
    let list = |text: Option<&String>, by: &str| -> Vec<String> {
        text.into_iter().flat_map(|text| text.split(by)).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    if request.env_files.is_empty() {
        request.env_files = list(shell.get("COMPOSE_ENV_FILES"), ",").into_iter().map(PathBuf::from).collect();
    }
    let dir = match (&request.project_dir, request.files.first()) {
        (Some(dir), _) => request.current_dir.join(dir),
        (None, Some(file)) => request.current_dir.join(file).parent().unwrap_or(&request.current_dir).to_owned(),
        (None, None) => request.current_dir.clone(),
    };
    let mut known = shell.clone();
    let path = dir.join(".env");
    if request.env_files.is_empty() && !is_disabled(shell) && files.exists(&path) {
        let text = files.read(&path).map_err(|source| ComposeError::Read { path: path.clone(), by: None, source })?;
        for (name, value) in
            dotenv::parse(&show(&path), &text, Format::Compose, &|name: &str| shell.get(name).cloned())?
        {
            if let Some(value) = value.filter(|_| name.starts_with("COMPOSE_")) {
                known.entry(name).or_insert(value);
            }
        }
    }
    if request.files.is_empty() {
        let separator = known.get("COMPOSE_PATH_SEPARATOR").filter(|by| !by.is_empty()).map_or(":", String::as_str);
        request.files = list(known.get("COMPOSE_FILE"), separator).into_iter().map(PathBuf::from).collect();
    }
    if request.profiles.is_empty() {
        request.profiles = list(known.get("COMPOSE_PROFILES"), ",");
    }
    Ok(request)
}

/// Whether `.env` is not to be read.
pub(super) fn is_disabled(variables: &BTreeMap<String, String>) -> bool {
    variables.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| matches!(value.as_str(), "1" | "true"))
}

impl Loader<'_> {
    /// The variables of a project: `outer` above the given files, a later file above an earlier one. A file marked
    /// `true` must be there.
    pub(super) fn environment(
        &self,
        env_files: &[(PathBuf, bool)],
        outer: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ComposeError> {
        let mut found = BTreeMap::new();
        for (path, required) in env_files {
            if !required && !self.files.exists(path) {
                continue;
            }
            let text =
                self.files.read(path).map_err(|source| ComposeError::Read { path: path.clone(), by: None, source })?;
            let lookup = |name: &str| outer.get(name).or_else(|| found.get(name)).cloned();
            let pairs = dotenv::parse(&show(path), &text, Format::Compose, &lookup)?;
            found.extend(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))));
        }
        found.extend(outer.iter().map(|(name, value)| (name.clone(), value.clone())));
        Ok(found)
    }

    /// Fills a service's `labels` from its files; what is written in `labels` stands over them.
    pub(super) fn service_labels(
        &mut self,
        service: &mut Node,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        let mut filled: Vec<(String, Node)> = Vec::new();
        let mut set = |name: &str, value: Node| match filled.iter_mut().find(|known| known.0 == name) {
            Some(old) => old.1 = value,
            None => filled.push((name.to_owned(), value)),
        };
        for file in service.get("label_file").and_then(Node::as_list).unwrap_or_default() {
            let Some(path) = file.as_text().map(PathBuf::from) else { continue };
            let text = self.files.read(&path).map_err(|source| ComposeError::Read {
                path: path.clone(),
                by: Some(file.at.clone()),
                source,
            })?;
            let lookup = |name: &str| variables.get(name).cloned();
            for (name, value) in dotenv::parse(&show(&path), &text, Format::Compose, &lookup)? {
                set(&name, Node::text(value.unwrap_or_default(), &file.at));
            }
        }
        if filled.is_empty() {
            return Ok(());
        }
        let filled: Vec<(String, Node)> = filled;
        let at = service.at.clone();
        let own = service.get("labels").and_then(Node::as_map).unwrap_or_default().to_vec();
        let mut labels = Node::map(Vec::new(), &at);
        filled.into_iter().for_each(|(name, value)| labels.set(&name, value));
        own.into_iter().for_each(|(name, value)| labels.set(&name.text, value));
        service.set("labels", labels);
        Ok(())
    }

    /// Fills a service's `environment` from its files and from `variables`: a key without a value takes the
    /// variable's, and goes when there is none.
    pub(super) fn service_environment(
        &mut self,
        service: &mut Node,
        variables: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        let mut filled: Vec<(String, Option<String>, Position)> = Vec::new();
        let mut set = |name: &str, value: Option<String>, at: &Position| match filled.iter_mut().find(|f| f.0 == name) {
            Some(old) => old.1 = value,
            None => filled.push((name.to_owned(), value, at.clone())),
        };
        for file in service.get("env_file").and_then(Node::as_list).unwrap_or_default() {
            let (Some(path), at) = (file.get("path").and_then(Node::as_text), &file.at) else { continue };
            let path = PathBuf::from(path);
            let required = file.get("required").and_then(Node::as_bool).unwrap_or(true);
            if !required && !self.files.exists(&path) {
                continue;
            }
            let raw = file.get("format").and_then(Node::as_text) == Some("raw");
            let text = self.files.read(&path).map_err(|source| ComposeError::Read {
                path: path.clone(),
                by: Some(at.clone()),
                source,
            })?;
            let format = if raw { Format::Raw } else { Format::Compose };
            for (name, value) in dotenv::parse(&show(&path), &text, format, &|n: &str| variables.get(n).cloned())? {
                set(&name, value, at);
            }
        }
        for (name, value) in service.get("environment").and_then(Node::as_map).unwrap_or_default() {
            let given = value.as_text().map(str::to_owned).or_else(|| {
                self.noticed.used.insert(name.text.clone());
                variables.get(&name.text).cloned()
            });
            set(&name.text, given, &value.at);
        }
        if filled.is_empty() {
            return Ok(());
        }
        let at = service.at.clone();
        let entries = filled
            .into_iter()
            .filter_map(|(name, value, at)| Some((super::made(&name, &at), Node::text(value?, &at))))
            .collect();
        service.set("environment", Node::map(entries, &at));
        Ok(())
    }
}
