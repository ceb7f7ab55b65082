//! Makes the table of the numbers that fields have in Kubernetes' protobuf form.
//!
//! Input: the folder that holds the Go modules of the Kubernetes API side by side (`api@v…`, `apimachinery@v…`,
//! `apiextensions-apiserver@v…`, `kube-aggregator@v…`). The tags of their structs say a field's number and its name in JSON,
//! and its Go type whether it is a pointer. Output: one line a type, in packages, `<number><field>`, `?` behind fields that
//! are pointers, `*` before the type of embedded structs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Groups and versions of the module `api`.
const GROUPS: &[&str] = &[
    "admissionregistration/v1",
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "flowcontrol/v1",
    "networking/v1",
    "node/v1",
    "policy/v1",
    "rbac/v1",
    "resource/v1",
    "scheduling/v1",
    "storage/v1",
];

/// Files elsewhere: module, folder, file.
const OTHERS: &[(&str, &str, &str)] = &[
    ("apimachinery", "pkg/apis/meta/v1", "types.go"),
    ("apiextensions-apiserver", "pkg/apis/apiextensions/v1", "types.go"),
    ("apiextensions-apiserver", "pkg/apis/apiextensions/v1", "types_jsonschema.go"),
    ("kube-aggregator", "pkg/apis/apiregistration/v1", "types.go"),
];

/// Writes the table of all types into `to`.
pub fn generate(modules: &Path, to: &Path) -> Result<()> {
    let mut packages: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let groups = GROUPS.iter().map(|group| ("api", *group, "types.go"));
    for (module, folder, file) in groups.chain(OTHERS.iter().copied()) {
        let path = module_folder(modules, module)?.join(folder).join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let package = format!("io.k8s.{module}.{}", folder.replace('/', "."));
        packages.entry(package).or_default().extend(structs(&text));
    }
    let mut out = String::new();
    for (package, types) in packages {
        out.push_str(&format!("package {package}\n"));
        for (name, fields) in types {
            out.push_str(&format!("{name} {fields}\n"));
        }
    }
    std::fs::write(to, out).with_context(|| format!("cannot write {}", to.display()))
}

/// The folder of a module, whatever its version.
fn module_folder(modules: &Path, module: &str) -> Result<PathBuf> {
    let folders = std::fs::read_dir(modules).with_context(|| format!("cannot read {}", modules.display()))?;
    let mut found: Vec<PathBuf> = folders
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.split('@').next() == Some(module)
        })
        .collect();
    found.sort();
    match found.pop() {
        Some(folder) => Ok(folder),
        None => bail!("{} holds no module {module}: fetch it with `go mod download`", modules.display()),
    }
}

/// The structs of a file with their fields, in order of the numbers; those without numbers are left out.
fn structs(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut current: Option<(&str, Vec<(u64, String)>)> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("type ").and_then(|l| l.strip_suffix(" struct {")) {
            current = Some((name, Vec::new()));
        } else if line.starts_with('}') {
            if let Some((name, mut fields)) = current.take().filter(|(_, fields)| !fields.is_empty()) {
                fields.sort();
                let words: Vec<String> = fields.into_iter().map(|(number, name)| format!("{number}{name}")).collect();
                out.push((name.to_owned(), words.join(" ")));
            }
        } else if let (Some((_, fields)), Some(field)) = (&mut current, field(line)) {
            fields.push(field);
        }
    }
    out
}

/// The number and the written name of a field.
fn field(line: &str) -> Option<(u64, String)> {
    let line = line.trim();
    if line.starts_with("//") {
        return None;
    }
    let (declared, rest) = line.split_once('`')?;
    let tags = rest.split_once('`')?.0;
    let number = tag(tags, "protobuf")?.split(',').nth(1)?.parse().ok()?;
    let mut json = tag(tags, "json")?.split(',');
    let name = json.next()?;
    let words: Vec<&str> = declared.split_whitespace().collect();
    if json.any(|option| option == "inline") || (name.is_empty() && words.len() == 1) {
        let of = words.last()?.trim_start_matches('*').rsplit('.').next()?;
        return Some((number, format!("*{of}")));
    }
    let pointer = if words.get(1).or(words.first())?.starts_with('*') { "?" } else { "" };
    (name != "-").then(|| (number, format!("{name}{pointer}")))
}

fn tag<'t>(tags: &'t str, key: &str) -> Option<&'t str> {
    let begin = tags.find(&format!("{key}:\""))? + key.len() + 2;
    tags[begin..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_read() {
        let text = "type Probe struct {\n\t// What is asked.\n\tProbeHandler `json:\",inline\" protobuf:\"bytes,1,opt,name=handler\"`\n\
            \t// +optional\n\tPeriod *int32 `json:\"period,omitempty\" protobuf:\"varint,4,opt,name=period\"`\n\
            \t// Old string `json:\"old\" protobuf:\"bytes,3,opt,name=old\"`\n\
            \tmetav1.ObjectMeta `json:\"metadata\" protobuf:\"bytes,2,opt,name=metadata\"`\n}\ntype Text string\ntype Raw struct {\n\tRaw []byte `json:\"-\" protobuf:\"bytes,1,opt,name=raw\"`\n}\n";
        assert_eq!(structs(text), [("Probe".to_owned(), "1*ProbeHandler 2metadata 4period?".to_owned())]);
    }
}
