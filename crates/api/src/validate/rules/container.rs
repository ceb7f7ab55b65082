//! Rules of containers.

use serde_json::Value;

use super::super::error::FieldError;
use super::super::spot::Spot;
use super::check;
use crate::quantity::Quantity;

/// A container, init container or ephemeral container.
pub(in super::super) fn container(container: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::label(&container.field("name"), errors);
    let image = container.field("image");
    if image.is_empty() {
        errors.push(image.required(""));
    } else if image.text().trim() != image.text() {
        errors.push(image.invalid("must not have leading or trailing whitespace"));
    }
    check::unique(&container.field("ports"), "name", errors);
    let policy = container.field("restartPolicy");
    if policy.exists() && !matches!(policy.text(), "Always" | "OnFailure" | "Never") {
        errors.push(policy.unsupported(&["Always", "Never", "OnFailure"]));
    }
    for name in ["livenessProbe", "startupProbe"] {
        let probe = container.field(name);
        let threshold = probe.field("successThreshold");
        if threshold.number().is_some_and(|n| n != 1) {
            errors.push(threshold.invalid("must be 1"));
        }
    }
    let grace = container.field("readinessProbe");
    let grace = grace.field("terminationGracePeriodSeconds");
    if grace.exists() {
        errors.push(grace.invalid("must not be set for readinessProbes"));
    }
}

/// An environment variable.
pub(in super::super) fn variable(variable: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let name = variable.field("name");
    if !name.text().bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && b != b'=') {
        let text = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        errors.push(name.invalid(text));
    }
    let from = variable.field("valueFrom");
    if !from.exists() {
        return;
    }
    const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let present = from.present(SOURCES);
    if present.is_empty() {
        errors.push(from.invalid(format!("must specify one of: `{}`", SOURCES.join("`, `"))));
    }
    if present.len() > 1 {
        errors.push(from.invalid("may not have more than one field specified at a time"));
    }
    if !variable.field("value").is_empty() {
        errors.push(from.invalid("may not be specified when `value` is not empty"));
    }
    for source in ["configMapKeyRef", "secretKeyRef"] {
        let source = from.field(source);
        if source.exists() && source.field("name").is_empty() {
            errors.push(source.field("name").required(""));
        }
    }
}

/// A source of many environment variables.
pub(in super::super) fn variables_from(from: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let present = from.present(&["configMapRef", "secretRef"]);
    match present.as_slice() {
        [] => errors.push(from.invalid("must specify one of: `configMapRef` or `secretRef`")),
        [one] => {
            let source = from.field(one);
            if source.field("name").is_empty() {
                errors.push(source.field("name").required(""));
            }
        }
        _ => errors.push(from.invalid("may not have more than one field specified at a time")),
    }
}

/// A port.
pub(in super::super) fn port(port: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::port(&port.field("containerPort"), errors);
    let host = port.field("hostPort");
    if host.number() != Some(0) {
        check::port(&host, errors);
    }
    let name = port.field("name");
    if !name.is_empty() {
        check::port_name(&name, name.text(), errors);
    }
    if !port.field("hostIP").is_empty() {
        check::ip(&port.field("hostIP"), errors);
    }
}

/// A mount of a volume.
pub(in super::super) fn mount(mount: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (path, expression) = (mount.field("subPath"), mount.field("subPathExpr"));
    check::local_path(&path, errors);
    check::local_path(&expression, errors);
    if !path.is_empty() && !expression.is_empty() {
        errors.push(expression.invalid("subPathExpr and subPath are mutually exclusive"));
    }
}

/// What a container is promised and may use.
pub(in super::super) fn resources(resources: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (requests, limits) = (resources.field("requests"), resources.field("limits"));
    for (name, request) in requests.entries() {
        let limit = limits.value.get(name).and_then(Value::as_str).and_then(|l| Quantity::parse(l).ok());
        let Ok(request) = Quantity::parse(request.text()) else { continue };
        if let Some(limit) = limit.filter(|l| request > *l) {
            let text = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(requests.invalid_value(format!("\"{request}\""), text));
        }
    }
}

/// A container's security context.
pub(in super::super) fn security(context: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::not_negative(context, &["runAsUser", "runAsGroup"], errors);
    let escalation = context.field("allowPrivilegeEscalation");
    if *escalation.value == Value::Bool(false) {
        if context.field("privileged").is_true() {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(escalation.invalid(text));
        }
        let capabilities = context.field("capabilities");
        if capabilities.field("add").items().any(|c| matches!(c.text(), "SYS_ADMIN" | "CAP_SYS_ADMIN")) {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(escalation.invalid(text));
        }
    }
}
