//! What further servers say of themselves: which resources they have, and how these are described.
//!
//! Fetched beside requests and kept, so that a server which is slow or away slows down nobody who asks for the whole.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::described::Described;
use super::fetch;
use super::remote::Spec;
use crate::state::Core;

const JSON: &str = "application/json";
/// Aggregated discovery, in both versions that servers speak, else the plain one.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// What a server said.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Its resources, in the aggregated form. None: it never said.
    pub(super) resources: Option<Arc<Vec<Value>>>,
    /// Whether it said so when it was last asked.
    pub(super) fresh: bool,
    /// Where the description of its group and version is, as version 3 of OpenAPI.
    pub(super) v3: Option<String>,
    /// What it says in version 2.
    pub(super) v2: Option<Arc<Described>>,
}

/// Asks a server for everything that it says of itself.
pub(super) async fn refresh(core: &Core, spec: &Spec) {
    let known = core.aggregate.found(&spec.name).map(|found| Found::clone(&found)).unwrap_or_default();
    let (resources, fresh) = match resources(core, spec).await {
        Ok(resources) => (Some(Arc::new(resources)), true),
        Err(error) => {
            tracing::debug!(error, service = spec.name, "a further server does not say which resources it has");
            (known.resources.clone(), false)
        }
    };
    // At once the resources: descriptions may be large.
    core.aggregate.find_out(&spec.name, Found { resources: resources.clone(), fresh, ..known.clone() });
    let v3 = v3(core, spec).await.unwrap_or(known.v3);
    let v2 = v2(core, spec, known.v2).await;
    core.aggregate.find_out(&spec.name, Found { resources, fresh, v3, v2 });
}

/// Notes that a server is away: what it said may no longer be so.
pub(super) fn outdate(core: &Core, spec: &Spec) {
    let known = core.aggregate.found(&spec.name).map(|found| Found::clone(&found)).unwrap_or_default();
    core.aggregate.find_out(&spec.name, Found { fresh: false, ..known });
}

async fn json(core: &Core, spec: &Spec, path: &str, accept: &'static str) -> Result<Value, String> {
    let answer = fetch::get(core, spec, path, accept, None).await?;
    if answer.code != StatusCode::OK {
        return Err(format!("{path}: answered {}", answer.code.as_u16()));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("{path}: {error}"))
}

async fn resources(core: &Core, spec: &Spec) -> Result<Vec<Value>, String> {
    if let Ok(document) = json(core, spec, "/apis", DISCOVERY).await
        && document["kind"] == "APIGroupDiscoveryList"
    {
        return aggregated(&document, spec)
            .ok_or_else(|| format!("/apis: {}/{} is not among the groups", spec.group, spec.version));
    }
    Ok(plain(&json(core, spec, &spec.path(), JSON).await?, spec))
}

/// The resources of a group and version in an aggregated document.
fn aggregated(document: &Value, spec: &Spec) -> Option<Vec<Value>> {
    let mut groups = document["items"].as_array()?.iter();
    let group = groups.find(|group| group["metadata"]["name"] == spec.group.as_str())?;
    let mut versions = group["versions"].as_array()?.iter();
    let version = versions.find(|version| version["version"] == spec.version.as_str())?;
    Some(version["resources"].as_array().cloned().unwrap_or_default())
}

/// The resources of an `APIResourceList` in the aggregated form: those below others become theirs.
fn plain(list: &Value, spec: &Spec) -> Vec<Value> {
    let mut resources: Vec<Value> = Vec::new();
    let all = || list["resources"].as_array().into_iter().flatten();
    let kind = |entry: &Value| {
        let or = |field: &str, own: &str| entry[field].as_str().filter(|t| !t.is_empty()).unwrap_or(own).to_owned();
        json!({"group": or("group", &spec.group), "version": or("version", &spec.version), "kind": entry["kind"]})
    };
    let scope = |entry: &Value| if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
    for entry in all().filter(|entry| !entry["name"].as_str().unwrap_or_default().contains('/')) {
        let mut resource = json!({"resource": entry["name"], "responseKind": kind(entry), "scope": scope(entry),
            "singularResource": entry["singularName"], "verbs": entry["verbs"]});
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                resource[field] = entry[field].clone();
            }
        }
        resources.push(resource);
    }
    for entry in all() {
        let Some((of, below)) = entry["name"].as_str().and_then(|name| name.split_once('/')) else { continue };
        let at = resources.iter().position(|resource| resource["resource"] == of).unwrap_or_else(|| {
            // A server may have only what is below.
            resources.push(json!({"resource": of, "scope": scope(entry), "singularResource": "", "verbs": []}));
            resources.len() - 1
        });
        let part = json!({"subresource": below, "responseKind": kind(entry), "verbs": entry["verbs"]});
        match resources[at]["subresources"].as_array_mut() {
            Some(parts) => parts.push(part),
            None => resources[at]["subresources"] = json!([part]),
        }
    }
    resources
}

/// Where the description in version 3 is; `None` where there is none.
async fn v3(core: &Core, spec: &Spec) -> Result<Option<String>, String> {
    let index = json(core, spec, "/openapi/v3", JSON).await?;
    let path = spec.path();
    let url = index["paths"][path.trim_start_matches('/')]["serverRelativeURL"].as_str();
    // Elsewhere on its server it could not be fetched through this one.
    Ok(url.filter(|url| url.starts_with(&format!("/openapi/v3{path}"))).map(str::to_owned))
}

/// The description in version 2, if there is a newer one; else the one that is known.
async fn v2(core: &Core, spec: &Spec, known: Option<Arc<Described>>) -> Option<Arc<Described>> {
    let etag: Option<HeaderValue> = known.as_ref().and_then(|known| known.etag.clone());
    let Ok(answer) = fetch::get(core, spec, "/openapi/v2", JSON, etag.as_ref()).await else { return known };
    match answer.code {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return known,
        _ => return None,
    }
    let document: Map<String, Value> = serde_json::from_slice(&answer.body).ok()?;
    Some(Arc::new(Described::read(document, spec, answer.etag)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::remote::tests::spec;

    #[test]
    fn both_forms_tell_the_same() {
        let spec = spec("far.example.com", "v1", (1, 1));
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"],
                "shortNames": ["fl"]},
            {"name": "flunders/status", "namespaced": true, "kind": "Flunder", "verbs": ["update"]},
            {"name": "pods/evict", "namespaced": true, "kind": "Eviction", "group": "policy", "verbs": ["create"]},
        ]});
        let told = plain(&list, &spec);
        let kind = json!({"group": "far.example.com", "version": "v1", "kind": "Flunder"});
        assert_eq!(
            told[0],
            json!({"resource": "flunders", "responseKind": kind, "scope": "Namespaced", "singularResource": "flunder",
                "verbs": ["get"], "shortNames": ["fl"],
                "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["update"]}]})
        );
        assert_eq!(told[1]["subresources"][0]["responseKind"]["group"], "policy");
        let document = json!({"items": [{"metadata": {"name": "far.example.com"},
            "versions": [{"version": "v2", "resources": []}, {"version": "v1", "resources": told}]}]});
        assert_eq!(aggregated(&document, &spec), Some(told));
        assert_eq!(aggregated(&json!({"items": []}), &spec), None);
    }
}
