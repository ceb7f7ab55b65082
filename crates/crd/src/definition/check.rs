//! Whether a definition may be written.

use serde_json::Value;

use super::names::{label, subdomain};
use super::read::{list, text};
use crate::check;
use crate::column;
use crate::fault::Fault;
use crate::jsonpath::field_path;
use crate::path::Path;
use crate::schema::{Schema, Type};

/// Groups in which a definition needs an approval, which is an annotation.
const PROTECTED: [&str; 2] = ["k8s.io", "kubernetes.io"];
pub(super) const APPROVAL: &str = "api-approved.kubernetes.io";
/// How many fields objects can be selected by.
const SELECTABLE: usize = 8;

/// What is wrong with a definition, whose absent fields were filled in. With `old` also what may not change, and what was
/// stored and must stay readable.
pub fn faults(crd: &Value, old: Option<&Value>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (root, spec) = (Path::start("spec"), &crd["spec"]);
    let (plural, group) = (text(&spec["names"]["plural"]), text(&spec["group"]));
    let name = text(&crd["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        faults.push(Fault::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    group_and_scope(spec, &root, &mut faults);
    names(&spec["names"], &root.field("names"), &mut faults);
    versions(spec, &root, &mut faults);
    conversion(spec, &root.field("conversion"), &mut faults);
    if spec["preserveUnknownFields"] == true {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.push(Fault::invalid(root.field("preserveUnknownFields"), true, why));
    }
    match old {
        Some(old) => changes(old, crd, &mut faults),
        None => faults.extend(approved(crd)),
    }
    faults
}

fn changes(old: &Value, new: &Value, faults: &mut Vec<Fault>) {
    let established = list(&old["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    let fixed: &[&str] = if established {
        &["/spec/group", "/spec/names/plural", "/spec/scope", "/spec/names/kind"]
    } else {
        &["/spec/group", "/spec/names/plural"]
    };
    for pointer in fixed {
        let (before, after) = (old.pointer(pointer), new.pointer(pointer));
        if before != after {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            faults.push(Fault::invalid(path, after.cloned().unwrap_or_default(), "field is immutable"));
        }
    }
    let stored = list(&new["status"]["storedVersions"]);
    let path = "status.storedVersions";
    if stored.is_empty() {
        faults.push(Fault::invalid(path, stored.to_vec(), "must have at least one stored version"));
    }
    for (index, version) in stored.iter().enumerate() {
        if !list(&new["spec"]["versions"]).iter().any(|v| v["name"] == *version) {
            let name = text(version);
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            faults.push(Fault::invalid(format!("{path}[{index}]"), name, why));
        }
    }
    if Approval::of(old) != Approval::of(new) {
        faults.extend(approved(new));
    }
}

/// Whether a definition in a group of Kubernetes itself was approved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Approval<'a> {
    /// Its group needs none.
    Needless,
    /// Where it was approved.
    Given(&'a str),
    /// Why it was not, said openly.
    Bypassed(&'a str),
    /// Words that are neither.
    Unclear(&'a str),
    Missing,
}

impl Approval<'_> {
    pub(super) fn of(crd: &Value) -> Approval<'_> {
        let group = text(&crd["spec"]["group"]);
        if !PROTECTED.iter().any(|p| group == *p || group.strip_suffix(p).is_some_and(|g| g.ends_with('.'))) {
            return Approval::Needless;
        }
        match text(&crd["metadata"]["annotations"][APPROVAL]) {
            "" => Approval::Missing,
            given if given.starts_with("unapproved") => Approval::Bypassed(given),
            given if given.contains("://") => Approval::Given(given),
            given => Approval::Unclear(given),
        }
    }
}

/// What is wrong with the approval of a definition.
fn approved(crd: &Value) -> Option<Fault> {
    let path = format!("metadata.annotations[{APPROVAL}]");
    match Approval::of(crd) {
        Approval::Needless | Approval::Given(_) | Approval::Bypassed(_) => None,
        Approval::Unclear(given) => {
            let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a \
                       reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
            Some(Fault::invalid(path, given, why))
        }
        Approval::Missing => {
            let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                       https://github.com/kubernetes/enhancements/pull/1111";
            Some(Fault::required(path, why))
        }
    }
}

fn group_and_scope(spec: &Value, root: &Path<'_>, faults: &mut Vec<Fault>) {
    let (group, scope) = (text(&spec["group"]), text(&spec["scope"]));
    let at = root.field("group");
    if group.is_empty() {
        faults.push(Fault::required(at, ""));
    } else if let Some(why) = subdomain(group) {
        faults.push(Fault::invalid(at, group, why));
    } else if !group.contains('.') {
        faults.push(Fault::invalid(at, group, "should be a domain with at least one dot"));
    }
    match scope {
        "" => faults.push(Fault::required(root.field("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => faults.push(Fault::not_supported(root.field("scope"), other, ["Cluster", "Namespaced"])),
    }
}

fn names(names: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    for key in ["plural", "singular", "kind", "listKind"] {
        let (name, at) = (text(&names[key]), path.field(key));
        let mixed = key.to_lowercase().ends_with("kind");
        if name.is_empty() {
            faults.push(Fault::required(at, ""));
        } else if mixed {
            if let Some(why) = label(&name.to_lowercase()) {
                let why = format!("may have mixed case, but should otherwise match: {why}");
                faults.push(Fault::invalid(at, name, why));
            }
        } else if let Some(why) = label(name) {
            faults.push(Fault::invalid(at, name, why));
        }
    }
    let (kind, list_kind) = (text(&names["kind"]), text(&names["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        faults.push(Fault::invalid(path.field("listKind"), list_kind, "kind and listKind may not be the same"));
    }
    for key in ["shortNames", "categories"] {
        let at = path.field(key);
        for (index, name) in list(&names[key]).iter().enumerate() {
            if let Some(why) = label(text(name)) {
                faults.push(Fault::invalid(at.item(index), name.clone(), why));
            }
        }
    }
}

fn versions(spec: &Value, root: &Path<'_>, faults: &mut Vec<Fault>) {
    let (all, at) = (list(&spec["versions"]), root.field("versions"));
    let mut seen: Vec<&str> = Vec::new();
    for (index, version) in all.iter().enumerate() {
        let place = at.item(index);
        let name = text(&version["name"]);
        if let Some(why) = label(name) {
            faults.push(Fault::invalid(place.field("name"), name, why));
        }
        seen.push(name);
        one_version(version, &place, faults);
    }
    seen.sort_unstable();
    let shown = || all.iter().map(|v| v["name"].clone()).collect::<Vec<_>>();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        faults.push(Fault::invalid(at, shown(), "must contain unique version names"));
    }
    if all.iter().filter(|version| version["storage"] == true).count() != 1 {
        faults.push(Fault::invalid(at, shown(), "must have exactly one version marked as storage version"));
    }
}

fn one_version(version: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    deprecation(version, path, faults);
    let source = &version["schema"]["openAPIV3Schema"];
    let schema_path = path.field("schema");
    let at = schema_path.field("openAPIV3Schema");
    if source.is_object() {
        let status = version["subresources"]["status"].is_object();
        faults.extend(check::schema(source, &at, status));
    } else {
        faults.push(Fault::required(at, "schemas are required"));
    }
    scale(&version["subresources"]["scale"], &path.field("subresources"), faults);
    let columns = path.field("additionalPrinterColumns");
    for (index, raw) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
        column::check(raw, &columns.item(index), faults);
    }
    selectable(list(&version["selectableFields"]), source, &path.field("selectableFields"), faults);
}

fn deprecation(version: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let why = if version["deprecated"] != true {
        "can only be set for deprecated versions"
    } else if warning.is_empty() {
        "must not be an empty string"
    } else if warning.len() > 256 {
        "must be <= 256 characters long"
    } else if warning.chars().any(char::is_control) {
        "must only contain printable UTF-8 characters"
    } else {
        return;
    };
    faults.push(Fault::invalid(path.field("deprecationWarning"), warning, why));
}

fn scale(scale: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    if !scale.is_object() {
        return;
    }
    let path = path.field("scale");
    for (key, roots, why) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ] {
        let (given, at) = (text(&scale[key]), path.field(key));
        if given.is_empty() {
            if key != "labelSelectorPath" {
                faults.push(Fault::required(at, ""));
            }
        } else if !given.starts_with('.') {
            faults.push(Fault::invalid(at, given, "must be a simple json path starting with ."));
        } else if !roots.iter().any(|root| given.starts_with(root)) {
            faults.push(Fault::invalid(at, given, why));
        }
    }
}

fn selectable(fields: &[Value], source: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    if fields.is_empty() || !source.is_object() {
        return;
    }
    let schema = Schema::read(source);
    let mut seen = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (given, item) = (text(&field["jsonPath"]), path.item(index));
        let at = item.field("jsonPath");
        if given.is_empty() {
            faults.push(Fault::required(at, ""));
            continue;
        }
        let found = if given.contains('[') {
            Err("array notation is not allowed".to_owned())
        } else {
            field_path(&schema, given)
        };
        match found {
            Err(why) => faults.push(Fault::invalid(at, given, format!("is an invalid path: {why}"))),
            Ok((name, found)) => {
                if name.split('.').next() == Some("metadata") {
                    faults.push(Fault::invalid(at, given, "must not point to fields in metadata"));
                }
                if !matches!(found.kind, Some(Type::String | Type::Boolean | Type::Integer)) {
                    let why = "must point to a field of type string, boolean or integer. Enum string fields and strings \
                               with formats are allowed.";
                    faults.push(Fault::invalid(at, given, why));
                }
                if seen.contains(&name) {
                    faults.push(Fault::duplicate(at, given));
                } else {
                    seen.push(name);
                }
            }
        }
    }
    if seen.len() > SELECTABLE {
        faults.push(Fault::too_many(path, seen.len(), SELECTABLE as u64));
    }
}

fn conversion(spec: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let conversion = &spec["conversion"];
    if !conversion.is_object() {
        return;
    }
    let webhook = &conversion["webhook"];
    let at = path.field("webhook");
    match text(&conversion["strategy"]) {
        "" => faults.push(Fault::required(path.field("strategy"), "")),
        "None" => {
            if webhook.is_object() {
                faults.push(Fault::forbidden(at, "should not be set when strategy is not set to Webhook"));
            }
        }
        "Webhook" => {
            let client = &webhook["clientConfig"];
            if !client.is_object() {
                faults.push(Fault::required(at.field("clientConfig"), "required when strategy is set to Webhook"));
            } else if client["url"].is_string() == client["service"].is_object() {
                faults.push(Fault::required(at.field("clientConfig"), "exactly one of url or service is required"));
            } else if let Some(url) = client["url"].as_str() {
                let place = at.field("clientConfig");
                if !url.starts_with("https://") {
                    let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                    faults.push(Fault::invalid(place.field("url"), url, why));
                }
            } else {
                let place = at.field("clientConfig");
                let place = place.field("service");
                for key in ["name", "namespace"] {
                    if text(&client["service"][key]).is_empty() {
                        faults.push(Fault::required(place.field(key), ""));
                    }
                }
            }
            reviews(&webhook["conversionReviewVersions"], &at.field("conversionReviewVersions"), faults);
        }
        other => faults.push(Fault::not_supported(path.field("strategy"), other, ["None", "Webhook"])),
    }
}

fn reviews(versions: &Value, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let versions = list(versions);
    if versions.is_empty() {
        faults.push(Fault::required(path, ""));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            faults.push(Fault::invalid(path.item(index), version.clone(), "duplicate version"));
        } else if let Some(why) = label(text(version)) {
            faults.push(Fault::invalid(path.item(index), version.clone(), why));
        }
    }
    if !versions.iter().any(|version| matches!(text(version), "v1" | "v1beta1")) {
        faults.push(Fault::invalid(path, versions.to_vec(), "must include at least one of v1, v1beta1"));
    }
}
