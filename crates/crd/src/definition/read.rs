//! From JSON to a definition.

use serde_json::Value;

use super::{Conversion, Definition, Names, Scale, Version};
use crate::column::Column;
use crate::jsonpath::JsonPath;
use crate::order::version_order;
use crate::path::Path;
use crate::rules;
use crate::schema::Schema;

impl Definition {
    /// Reads a definition that was found to be right when it was written.
    pub fn read(crd: &Value) -> Definition {
        let spec = &crd["spec"];
        let mut versions: Vec<Version> = list(&spec["versions"]).iter().map(version).collect();
        versions.sort_by(|a, b| version_order(&a.name, &b.name));
        let webhook = &spec["conversion"]["webhook"];
        let conversion = match text(&spec["conversion"]["strategy"]) {
            "Webhook" => Conversion::Webhook {
                client: webhook["clientConfig"].clone(),
                reviews: texts(&webhook["conversionReviewVersions"]),
            },
            _ => Conversion::None,
        };
        Definition {
            group: text(&spec["group"]).to_owned(),
            names: Names::read(&spec["names"]),
            namespaced: text(&spec["scope"]) == "Namespaced",
            conversion,
            versions,
        }
    }
}

impl Names {
    /// Reads names, as they are wanted (`spec.names`) or were accepted (`status.acceptedNames`).
    pub fn read(names: &Value) -> Names {
        Names {
            plural: text(&names["plural"]).to_owned(),
            singular: text(&names["singular"]).to_owned(),
            kind: text(&names["kind"]).to_owned(),
            list_kind: text(&names["listKind"]).to_owned(),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
        }
    }
}

fn version(raw: &Value) -> Version {
    let source = &raw["schema"]["openAPIV3Schema"];
    let mut schema = Schema::read(source);
    // What is wrong with them was told when they were written; a rule that no longer compiles says so when it is asked.
    let _ = rules::compile(&mut schema, source, &Path::start(""));
    let scale = &raw["subresources"]["scale"];
    let path = |key: &str| JsonPath::fields(text(&scale[key]));
    Version {
        name: text(&raw["name"]).to_owned(),
        served: raw["served"] == true,
        storage: raw["storage"] == true,
        deprecation: (raw["deprecated"] == true).then(|| text(&raw["deprecationWarning"]).to_owned()),
        schema,
        status: raw["subresources"]["status"].is_object(),
        scale: scale.is_object().then(|| Scale {
            wanted: path("specReplicasPath"),
            observed: path("statusReplicasPath"),
            selector: (!text(&scale["labelSelectorPath"]).is_empty()).then(|| path("labelSelectorPath")),
        }),
        columns: list(&raw["additionalPrinterColumns"]).iter().filter_map(Column::read).collect(),
        selectable: list(&raw["selectableFields"]).iter().map(|f| text(&f["jsonPath"]).to_owned()).collect(),
        hash: hash(raw),
        source: source.to_string().into(),
    }
}

/// FNV-1a: a name, not a defence; the same in every server.
fn hash(raw: &Value) -> u64 {
    let text = raw.to_string();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
