//! Rules of pods.

use super::super::error::FieldError;
use super::super::metadata;
use super::super::names;
use super::super::spot::Spot;
use super::check;
use crate::schema::Types;

/// A pod as a whole.
pub(in super::super) fn pod(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let spec = root.field("spec");
    if !spec.field("ephemeralContainers").is_empty() && root.value.pointer("/metadata/uid").is_none() {
        let field = spec.field("ephemeralContainers");
        errors.push(field.forbidden("cannot be set on create; use the ephemeralcontainers subresource"));
    }
}

/// A template: its metadata obeys the rules of metadata.
pub(in super::super) fn template(template: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let metadata = template.field("metadata");
    metadata::labels(&metadata.field("labels"), errors);
    metadata::annotations(&metadata.field("annotations"), errors);
}

/// A pod's spec.
pub(in super::super) fn spec(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let containers = spec.field("containers");
    if containers.is_empty() {
        errors.push(containers.required(""));
    }
    unique_containers(spec, errors);
    init_containers(spec, errors);
    volumes(spec, errors);
    host_ports(spec, errors);
    check::not_negative(spec, &["terminationGracePeriodSeconds"], errors);
    let deadline = spec.field("activeDeadlineSeconds");
    if deadline.number().is_some_and(|n| n < 1) {
        errors.push(deadline.invalid("must be between 1 and 2147483647, inclusive"));
    }
    for name in ["hostname", "subdomain"] {
        check::label(&spec.field(name), errors);
    }
    for name in ["nodeName", "serviceAccountName", "priorityClassName", "runtimeClassName"] {
        check::subdomain(&spec.field(name), errors);
    }
    metadata::labels(&spec.field("nodeSelector"), errors);
    dns(spec, errors);
    if spec.field("hostPID").is_true() && spec.field("shareProcessNamespace").is_true() {
        let field = spec.field("shareProcessNamespace");
        errors.push(field.invalid("ShareProcessNamespace and HostPID cannot both be enabled"));
    }
}

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn unique_containers(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let lists = LISTS.map(|list| spec.field(list));
    let mut seen: Vec<&str> = Vec::new();
    for list in &lists {
        for container in list.items() {
            let name = container.value.get("name").and_then(|n| n.as_str()).unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            if seen.contains(&name) {
                errors.push(container.field("name").duplicate());
            }
            seen.push(name);
        }
    }
}

fn init_containers(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for container in spec.field("initContainers").items() {
        let policy = container.field("restartPolicy");
        if policy.text() == "Always" {
            continue;
        }
        for name in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            let field = container.field(name);
            if field.exists() {
                errors.push(field.forbidden("may not be set for init containers without restartPolicy=Always"));
            }
        }
    }
}

/// Volumes have names of their own, and mounts name volumes.
fn volumes(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let volumes = spec.field("volumes");
    check::unique(&volumes, "name", errors);
    let list = volumes.value.as_array().into_iter().flatten();
    let known: Vec<&str> = list.filter_map(|v| v.get("name")?.as_str()).collect();
    for list in LISTS {
        for container in spec.field(list).items() {
            let mounts = container.field("volumeMounts");
            let mut paths: Vec<&str> = Vec::new();
            for mount in mounts.items() {
                let (name, path) = (mount.field("name"), mount.field("mountPath"));
                if name.is_empty() {
                    errors.push(name.required(""));
                } else if !known.contains(&name.text()) {
                    errors.push(name.not_found());
                }
                let text = mount.value.get("mountPath").and_then(|p| p.as_str()).unwrap_or_default();
                if !text.is_empty() && paths.contains(&text) {
                    errors.push(path.invalid("must be unique"));
                }
                paths.push(text);
            }
            for device in container.field("volumeDevices").items() {
                let name = device.field("name");
                if !name.is_empty() && !known.contains(&name.text()) {
                    errors.push(name.not_found());
                }
            }
        }
    }
}

fn host_ports(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let on_host = spec.field("hostNetwork").is_true();
    let mut taken: Vec<(i64, String, String)> = Vec::new();
    for container in spec.field("containers").items() {
        for port in container.field("ports").items() {
            let host = port.field("hostPort");
            let Some(number) = host.number().filter(|n| *n != 0) else { continue };
            if on_host && port.field("containerPort").number() != Some(number) {
                errors.push(port.field("containerPort").invalid("must match `hostPort` when `hostNetwork` is true"));
            }
            let key = (number, port.field("protocol").text().to_owned(), port.field("hostIP").text().to_owned());
            if taken.contains(&key) {
                errors.push(host.duplicate());
            }
            taken.push(key);
        }
    }
}

fn dns(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let config = spec.field("dnsConfig");
    let servers = config.field("nameservers");
    if spec.field("dnsPolicy").text() == "None" && servers.is_empty() {
        errors.push(servers.required("must provide at least one DNS nameserver when `dnsPolicy` is None"));
    }
    servers.items().for_each(|server| check::ip(&server, errors));
}

/// A toleration.
pub(in super::super) fn toleration(toleration: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (key, operator, value) = (toleration.field("key"), toleration.field("operator"), toleration.field("value"));
    if !key.is_empty() {
        if let Err(why) = names::label_key(key.text()) {
            errors.push(key.invalid(why));
        }
    } else if operator.text() != "Exists" {
        let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(operator.invalid_value(format!("{:?}", operator.text()), text));
    }
    match operator.text() {
        "Exists" if !value.is_empty() => errors.push(value.invalid("value must be empty when `operator` is 'Exists'")),
        "" | "Equal" => {
            if let Err(why) = names::label_value(value.text()) {
                errors.push(value.invalid(why));
            }
        }
        _ => {}
    }
    if toleration.field("tolerationSeconds").exists() && toleration.field("effect").text() != "NoExecute" {
        let effect = toleration.field("effect");
        let shown = format!("{:?}", effect.text());
        errors.push(effect.invalid_value(shown, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    }
}

/// A spread constraint.
pub(in super::super) fn spread(constraint: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for name in ["maxSkew", "minDomains"] {
        let field = constraint.field(name);
        if field.number().is_some_and(|n| n <= 0) {
            errors.push(field.invalid("must be greater than zero"));
        }
    }
}

/// An entry of the hosts file.
pub(in super::super) fn host_alias(alias: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !alias.field("ip").is_empty() {
        check::ip(&alias.field("ip"), errors);
    }
}

/// A condition on a node's labels or fields.
pub(in super::super) fn node_requirement(term: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (operator, values) = (term.field("operator"), term.field("values"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "Gt" | "Lt" => {
            let one = values.value.as_array().filter(|l| l.len() == 1);
            if one.is_none() {
                errors.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
        }
        _ => {}
    }
}

/// The volume sources that the schema knows: every field of a volume but its name.
pub(super) fn sources(of: &str) -> Vec<String> {
    let types = Types::builtin();
    let fields = types.find(of).map(|id| &types.get(id).fields);
    let names = fields.into_iter().flatten().map(|f| f.name.to_string());
    names.filter(|n| n != "name").collect()
}
