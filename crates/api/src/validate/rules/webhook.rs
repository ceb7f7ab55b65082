//! Rules of admission webhooks, and of the requests that webhooks and policies mean.

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;

/// Versions of `AdmissionReview` that the server speaks.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const FORM: &str = "; desired format: https://host[/path]";

/// The names of a configuration's webhooks are different.
pub(in super::super) fn configuration(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::unique(&root.field("webhooks"), "name", errors);
}

/// One webhook. Its conditions are judged where they are compiled.
pub(in super::super) fn webhook(hook: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let name = hook.field("name");
    if !name.is_empty() {
        if let Err(why) = names::dns_subdomain(name.text()) {
            errors.push(name.invalid(why));
        } else if name.text().split('.').count() < 3 {
            errors.push(name.invalid("should be a domain with at least three segments separated by dots"));
        }
    }
    let effects = hook.field("sideEffects");
    if effects.is_empty() {
        errors.push(effects.required("must specify one of None, NoneOnDryRun"));
    }
    let timeout = hook.field("timeoutSeconds");
    if timeout.number().is_some_and(|n| !(1..=30).contains(&n)) {
        errors.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    let config = hook.field("clientConfig");
    let (url, service) = (config.field("url"), config.field("service"));
    match (url.exists(), service.exists()) {
        (true, false) => address(&url, errors),
        (false, true) => self::service(&service, errors),
        _ => errors.push(config.required("exactly one of url or service is required")),
    }
    versions(&hook.field("admissionReviewVersions"), errors);
}

fn versions(list: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if list.is_empty() {
        errors.push(list.required(&format!("must specify one of {}", VERSIONS.join(", "))));
        return;
    }
    let mut seen = Vec::new();
    for version in list.items() {
        if seen.contains(&version.text()) {
            errors.push(version.invalid("duplicate version"));
            continue;
        }
        seen.push(version.text());
        if let Err(why) = names::dns_1035_label(version.text()) {
            errors.push(version.invalid(why));
        }
    }
    if !seen.iter().any(|version| VERSIONS.contains(version)) {
        errors.push(list.invalid(format!("must include at least one of {}", VERSIONS.join(", "))));
    }
}

/// The address of a webhook outside the cluster.
fn address(url: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (scheme, rest) = url.text().split_once("://").unwrap_or_default();
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut tell = |value: &str, why: String| errors.push(url.invalid_value(format!("{value:?}"), why));
    if scheme != "https" {
        tell(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        tell(host, format!("host must be specified{FORM}"));
    }
    if authority.contains('@') {
        tell(user, "user information is not permitted in the URL".to_owned());
    }
    if !fragment.is_empty() {
        tell(fragment, "fragments are not permitted in the URL".to_owned());
    }
    if !query.is_empty() {
        tell(query, "query parameters are not permitted in the URL".to_owned());
    }
}

/// A Service that is called; names that are missing are told by the schema.
pub(super) fn service(service: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let port = service.field("port");
    if port.number().is_some_and(|n| !(1..=65_535).contains(&n)) {
        errors.push(port.invalid(format!("port is not valid: {}", check::PORT)));
    }
    let path = service.field("path");
    match path.text() {
        "" | "/" => return,
        "//" => {
            errors.push(path.invalid("segment[0] may not be empty"));
            return;
        }
        text if !text.starts_with('/') => errors.push(path.invalid("must start with a '/'")),
        _ => {}
    }
    let steps = path.text().strip_prefix('/').unwrap_or(path.text());
    for (i, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.push(path.invalid(format!("segment[{i}] may not be empty")));
        } else if let Err(why) = names::dns_subdomain(step) {
            errors.push(path.invalid(format!("segment[{i}]: {why}")));
        }
    }
}

/// Which requests are meant.
pub(in super::super) fn rule(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for (field, what) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.field(field);
        if list.is_empty() {
            errors.push(list.required(""));
        }
        check::alone(&list, what, errors);
    }
    for version in rule.field("apiVersions").items().filter(|v| v.is_empty()) {
        errors.push(version.required(""));
    }
    resources(&rule.field("resources"), errors);
}

/// As [`rule`], for objects of certain names.
pub(in super::super) fn named_rule(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let given = rule.field("resourceNames");
    let mut seen = Vec::new();
    for name in given.items() {
        if let Err(why) = names::path_segment(name.text()) {
            errors.push(name.invalid(why));
        }
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
    }
    self::rule(rule, errors);
}

/// Resources and subresources: what a wildcard covers is not named again.
fn resources(list: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if list.is_empty() {
        errors.push(list.required(""));
    }
    let (mut whole, mut below) = (Vec::new(), Vec::new());
    let (mut everything, mut plain, mut single) = (false, false, false);
    for resource in list.items() {
        let text = resource.text();
        if text.is_empty() {
            errors.push(resource.required(""));
            continue;
        }
        everything |= text == "*/*";
        let Some((of, sub)) = text.split_once('/') else {
            if text == "*" {
                single = true
            } else {
                plain = true
            }
            continue;
        };
        if whole.contains(&of) {
            errors.push(resource.invalid(format!("if '{of}/*' is present, must not specify {text}")));
        }
        if below.contains(&sub) {
            errors.push(resource.invalid(format!("if '*/{sub}' is present, must not specify {text}")));
        }
        if sub == "*" {
            whole.push(of);
        }
        if of == "*" {
            below.push(sub);
        }
    }
    if everything && list.items().count() > 1 {
        errors.push(list.invalid("if '*/*' is present, must not specify other resources"));
    }
    if single && plain {
        errors.push(list.invalid("if '*' is present, must not specify other resources without subresources"));
    }
}
