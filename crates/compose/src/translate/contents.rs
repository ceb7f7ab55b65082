//! Configs and secrets.
//!
//! Their objects are named by content: another content is another object, so that a change rolls the services that use
//! it, and a rollback finds what it had.

use std::collections::BTreeMap;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_api::naru::names as n;
use serde_json::{Value, json};

use super::{Context, names::digest, object_name};
use crate::error::ComposeError;
use crate::load::Files;
use crate::model::{Content, Project};

/// The key under which the content lies.
pub(super) const KEY: &str = "data";

/// Reads the contents of a project's configs and secrets into it.
///
/// # Errors
/// When a file cannot be read or a variable is not set.
pub fn read_contents(
    project: &mut Project,
    files: &dyn Files,
    variables: &BTreeMap<String, String>,
) -> Result<(), ComposeError> {
    for (section, entries) in [("config", &mut project.configs), ("secret", &mut project.secrets)] {
        for (name, entry) in entries.iter_mut().filter(|(_, entry)| !entry.external) {
            let bytes = if let Some(path) = &entry.file {
                let path = Path::new(path);
                files.bytes(path).map_err(|source| ComposeError::Read { path: path.to_owned(), by: None, source })?
            } else if let Some(variable) = &entry.environment {
                let value = variables.get(variable).ok_or_else(|| {
                    ComposeError::Project(format!("{section} {name}: the variable {variable} is not set"))
                })?;
                value.clone().into_bytes()
            } else {
                entry.content.clone().unwrap_or_default().into_bytes()
            };
            entry.data = Some(BASE64.encode(&bytes));
        }
    }
    Ok(())
}

impl Context<'_> {
    /// The object that holds a config or secret.
    pub(super) fn content_name(&self, entry: &Content) -> String {
        match &entry.data {
            Some(data) if !entry.external => {
                let stem = object_name(&entry.name);
                object_name(&format!(
                    "{}-{}",
                    &stem[..stem.len().min(49)].trim_end_matches('-'),
                    &digest(data.as_bytes())[..8]
                ))
            }
            _ => object_name(&entry.name),
        }
    }

    pub(super) fn contents(&self) -> Vec<Value> {
        let mut objects = Vec::new();
        for (kind, entries) in [("ConfigMap", &self.project.configs), ("Secret", &self.project.secrets)] {
            for entry in entries.values().filter(|entry| !entry.external) {
                let field = if kind == "ConfigMap" { "binaryData" } else { "data" };
                let mut object = json!({
                    "apiVersion": "v1",
                    "kind": kind,
                    "metadata": {
                        "name": self.content_name(entry),
                        "namespace": self.namespace,
                        "labels": self.labels(None),
                        "annotations": super::user_labels(&entry.labels),
                    },
                    "immutable": true,
                });
                object["metadata"]["annotations"][n::TITLE] = entry.name.clone().into();
                object[field] = json!({KEY: entry.data.clone().unwrap_or_default()});
                objects.push(object);
            }
        }
        objects
    }
}
