//! How further servers' resources are described to clients, beside this server's own.
//!
//! Version 3 of OpenAPI has a document for each group and version: those of others stay with their servers, and the index
//! tells where. Version 2 has a single one, which theirs are laid into: their paths, and the types that these need. A type
//! that goes by the name of one that is there already is taken for the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderValue;
use naru_api::openapi;
use ring::digest::{Context, SHA256};
use serde_json::{Map, Value, json};

use super::remote::Spec;
use crate::serving::Serving;
use crate::state::Core;

const DEFINITIONS: &str = "#/definitions/";

/// What a server says of one group and version, as version 2 of OpenAPI.
#[derive(Debug)]
pub(super) struct Described {
    paths: Map<String, Value>,
    definitions: Map<String, Value>,
    /// A name for all of it.
    hash: [u8; 32],
    pub(super) etag: Option<HeaderValue>,
}

/// What others say that belongs into this server's document.
#[derive(Default)]
pub(crate) struct Foreign(Vec<Arc<Described>>);

// === impl Described ===

impl Described {
    /// Takes out of a document what is about a group and version.
    pub(super) fn read(mut document: Map<String, Value>, spec: &Spec, etag: Option<HeaderValue>) -> Described {
        let mut take = |key: &str| match document.remove(key) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let (mut paths, mut definitions) = (take("paths"), take("definitions"));
        let (root, below) = (spec.path(), format!("{}/", spec.path()));
        paths.retain(|path, _| *path == root || path.starts_with(&below));
        let needed = needed(&paths, &definitions);
        definitions.retain(|name, _| needed.contains(name));
        let mut hash = Context::new(&SHA256);
        for part in [&paths, &definitions] {
            hash.update(Value::Object(part.clone()).to_string().as_bytes());
        }
        let hash = hash.finish().as_ref().try_into().unwrap_or([0; 32]);
        Described { paths, definitions, hash, etag }
    }
}

/// The definitions that paths lead to, and those that these lead to.
fn needed(paths: &Map<String, Value>, definitions: &Map<String, Value>) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<&Value> = paths.values().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                let name = map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(DEFINITIONS));
                if let Some(name) = name
                    && needed.insert(name.to_owned())
                {
                    open.extend(definitions.get(name));
                }
                open.extend(map.values());
            }
            Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    needed
}

// === impl Foreign ===

impl Foreign {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A name for all of it together with what this server says, which goes by the name `own`.
    pub(crate) fn hash(&self, own: &str) -> String {
        let mut whole = Context::new(&SHA256);
        whole.update(own.as_bytes());
        self.0.iter().for_each(|described| whole.update(&described.hash));
        whole.finish().as_ref().iter().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02X}");
            name
        })
    }

    /// As the description of this server's kinds takes it.
    pub(crate) fn parts(&self) -> Vec<openapi::Foreign<'_>> {
        self.0
            .iter()
            .map(|described| openapi::Foreign { paths: &described.paths, definitions: &described.definitions })
            .collect()
    }
}

/// What others say, as version 2 of OpenAPI.
pub(crate) fn foreign(core: &Core, serving: &Serving) -> Foreign {
    let remotes = core.aggregate.remotes.load();
    let theirs = remotes.iter().filter(|r| !serving.routes.serves(&r.spec.group, &r.spec.version));
    Foreign(theirs.filter_map(|remote| core.aggregate.found(&remote.spec.name)?.v2.clone()).collect())
}

/// Lays into the index of version 3 where others' documents are.
pub(crate) fn index(core: &Core, serving: &Serving, index: &mut Value) {
    let remotes = core.aggregate.remotes.load();
    for remote in remotes.iter().filter(|r| !serving.routes.serves(&r.spec.group, &r.spec.version)) {
        if let Some(url) = core.aggregate.found(&remote.spec.name).and_then(|found| found.v3.clone()) {
            index["paths"][remote.spec.path().trim_start_matches('/')] = json!({"serverRelativeURL": url});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::remote::tests::spec;

    fn document(text: &str) -> Map<String, Value> {
        let reference = |name: &str| json!({"$ref": format!("{DEFINITIONS}{name}")});
        let path = |name: &str| json!({"get": {"responses": {"200": {"schema": reference(name)}}}});
        let document = json!({"swagger": "2.0",
            "paths": {"/apis/far.example.com/v1/flunders": path("List"), "/apis/far.example.com/v10/x": path("Other"),
                "/version/": path("Info")},
            "definitions": {"List": {"properties": {"items": {"items": reference("Flunder")}}},
                "Flunder": {"description": text, "properties": {"again": reference("Flunder")}}, "Other": {}, "Info": {}}});
        document.as_object().expect("an object").clone()
    }

    #[test]
    fn only_what_is_about_the_group_and_version_is_kept() {
        let spec = spec("far.example.com", "v1", (1, 1));
        let described = Described::read(document("one"), &spec, None);
        assert_eq!(described.paths.keys().collect::<Vec<_>>(), ["/apis/far.example.com/v1/flunders"]);
        assert_eq!(described.definitions.keys().collect::<Vec<_>>(), ["Flunder", "List"]);
        let foreign = Foreign(vec![Arc::new(described)]);
        let same = Foreign(vec![Arc::new(Described::read(document("one"), &spec, None))]);
        let other = Foreign(vec![Arc::new(Described::read(document("two"), &spec, None))]);
        assert_eq!(foreign.hash("own"), same.hash("own"));
        assert_ne!(foreign.hash("own"), other.hash("own"));
        assert_ne!(foreign.hash("own"), foreign.hash("another"));
    }
}
