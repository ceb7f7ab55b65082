//! Sending a project to the server, which compiles it into objects and answers what it changed.

use anyhow::Context;
use http::Method;
use naru_client::Client;
use serde_json::{Value, json};

use super::project::Project;
use crate::output;

/// What the server did to one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// `created`, `updated`, `unchanged`, `removed`.
    pub action: String,
    /// Its kind.
    pub kind: String,
    /// Its name, as people know it.
    pub name: String,
    /// The service it belongs to, if any.
    pub service: Option<String>,
}

/// Applies a project; `prune` removes services that the file no longer has.
///
/// # Errors
/// When the server refuses; nothing is half-compiled then.
pub(crate) async fn apply(client: &Client, project: &Project, prune: bool) -> anyhow::Result<Vec<Change>> {
    let loaded = &project.loaded;
    let files: Vec<Value> = loaded.sources.iter().map(|(path, text)| json!({"path": path, "text": text})).collect();
    let variables: serde_json::Map<String, Value> = loaded
        .used_variables
        .iter()
        .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?.into())))
        .collect();
    let body = json!({
        "apiVersion": "naru.io/v1",
        "kind": "Project",
        "metadata": {"name": project.namespace, "namespace": project.namespace},
        "spec": {
            "title": loaded.project.name,
            "workingDir": loaded.project.working_dir,
            "files": files,
            "environment": variables,
            "model": serde_json::to_string(&loaded.project)?,
        },
    });
    let path = format!(
        "/apis/naru.io/v1/namespaces/{0}/projects/{0}/apply{1}",
        project.namespace,
        if prune { "?prune=true" } else { "" }
    );
    let answer = client
        .json(Method::POST, &path, "application/json", Some(&body))
        .await
        .with_context(|| format!("the project {:?} was not applied", loaded.project.name))?;
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::warn(warning);
    }
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Ok(answer["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| Change {
            action: text(change, "action"),
            kind: text(change, "kind"),
            name: text(change, "title"),
            service: change["service"].as_str().map(str::to_owned),
        })
        .collect())
}

/// Says what changed, in the words of Compose.
pub(crate) fn report(changes: &[Change]) {
    for change in changes {
        let word = match change.action.as_str() {
            "created" => "Created",
            "updated" => "Changed",
            "removed" => "Removed",
            _ => continue,
        };
        let what = match change.kind.as_str() {
            "Network" => "Network",
            "PersistentVolumeClaim" => "Volume",
            "Deployment" | "DaemonSet" | "Job" => "Service",
            "ConfigMap" => "Config",
            "Secret" => "Secret",
            _ => continue,
        };
        eprintln!(" {what} {}  {word}", change.name);
    }
}
