//! Rules of small kinds that change what the server serves, or how pods run: further servers, addresses of Services,
//! classes of runtimes.

use std::net::IpAddr;

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;

/// An APIService: its name is its version and group.
pub(in super::super) fn api_service(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (metadata, spec) = (root.field("metadata"), root.field("spec"));
    let (name, group, version) = (metadata.field("name"), spec.field("group"), spec.field("version"));
    let wanted = format!("{}.{}", version.text(), group.text());
    if !name.is_empty() && name.text() != wanted {
        errors.push(name.invalid(format!("must be `spec.version+\".\"+spec.group`: {wanted:?}")));
    }
    if group.is_empty() && version.text() != "v1" {
        errors.push(group.required("only v1 may have an empty group and it better be legacy kube"));
    }
    check::subdomain(&group, errors);
    if let Err(why) = names::dns_1035_label(version.text()) {
        errors.push(version.invalid_value(format!("{:?}", version.text()), why));
    }
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let field = spec.field(field);
        let n = field.number().unwrap_or(0);
        if !(1..=most).contains(&n) {
            errors.push(field.invalid_value(n, format!("must be positive and less than {most}")));
        }
    }
    let (service, authorities, blind) =
        (spec.field("service"), spec.field("caBundle"), spec.field("insecureSkipTLSVerify"));
    if !service.exists() {
        if !authorities.is_empty() {
            let shown = format!("\"{} bytes\"", authorities.text().len() / 4 * 3);
            errors.push(authorities.invalid_value(shown, "local APIServices may not have a caBundle"));
        }
        if blind.is_true() {
            errors.push(blind.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return;
    }
    for field in ["namespace", "name"] {
        let field = service.field(field);
        if field.is_empty() {
            errors.push(field.required(""));
        }
    }
    super::webhook::service(&service, errors);
    if blind.is_true() && !authorities.is_empty() {
        errors.push(blind.invalid("may not be true if caBundle is present"));
    }
}

/// The state of an APIService.
pub(in super::super) fn api_service_status(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for condition in root.field("status").field("conditions").items() {
        let status = condition.field("status");
        if !matches!(status.text(), "True" | "False" | "Unknown") {
            errors.push(status.unsupported(&["True", "False", "Unknown"]));
        }
    }
}

/// An IPAddress: its name is the address, in the one form that it has.
pub(in super::super) fn ip_address(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let metadata = root.field("metadata");
    let name = metadata.field("name");
    match name.text().parse::<IpAddr>() {
        Err(_) => errors.push(name.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")),
        Ok(address) if address.to_string() != name.text() => {
            errors.push(name.invalid(format!("must be in canonical form (\"{address}\")")));
        }
        Ok(_) => {}
    }
}

/// Whose address it is.
pub(in super::super) fn parent(parent: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::subdomain(&parent.field("group"), errors);
    for field in ["resource", "name", "namespace"] {
        let field = parent.field(field);
        if !field.is_empty()
            && let Err(why) = names::path_segment(field.text())
        {
            errors.push(field.invalid(why));
        }
    }
}

/// A ServiceCIDR: one range, or one of each family.
pub(in super::super) fn service_cidr(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let ranges = spec.field("cidrs");
    let parsed: Vec<Option<ipnet::IpNet>> = ranges.items().map(|r| r.text().parse().ok()).collect();
    match parsed[..] {
        [] => errors.push(ranges.required("at least one CIDR required")),
        [_] => {}
        [Some(ipnet::IpNet::V4(_)), Some(ipnet::IpNet::V6(_))]
        | [Some(ipnet::IpNet::V6(_)), Some(ipnet::IpNet::V4(_))] => {}
        [_, _] => {
            let text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(ranges.invalid_value(spec.value, text));
            return;
        }
        _ => {
            errors.push(ranges.invalid_value(spec.value, "may only hold up to 2 values"));
            return;
        }
    }
    for range in ranges.items() {
        if let Some(parsed) = check::cidr(&range, errors)
            && parsed.trunc().to_string() != range.text()
        {
            errors.push(range.invalid(format!("must be in canonical form (\"{}\")", parsed.trunc())));
        }
    }
}

/// A RuntimeClass.
pub(in super::super) fn runtime_class(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let handler = root.field("handler");
    if let Err(why) = names::dns_label(handler.text()) {
        errors.push(handler.invalid_value(format!("{:?}", handler.text()), why));
    }
}

/// Where the pods of a RuntimeClass may run.
pub(in super::super) fn scheduling(scheduling: &Spot<'_>, errors: &mut Vec<FieldError>) {
    super::super::metadata::labels(&scheduling.field("nodeSelector"), errors);
    let tolerations = scheduling.field("tolerations");
    let key = |spot: &Spot<'_>| ["key", "operator", "value", "effect"].map(|f| spot.field(f).text().to_owned());
    let mut seen = Vec::new();
    for toleration in tolerations.items() {
        let key = key(&toleration);
        if seen.contains(&key) {
            errors.push(toleration.duplicate());
        }
        seen.push(key);
    }
}
