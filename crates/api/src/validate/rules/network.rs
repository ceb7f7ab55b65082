//! Rules of ingresses, policies and networks.

use super::super::error::FieldError;
use super::super::spot::Spot;
use super::check;

/// An Ingress.
pub(in super::super) fn ingress(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !spec.field("defaultBackend").exists() && spec.field("rules").is_empty() {
        errors.push(spec.invalid("either `defaultBackend` or `rules` must be specified"));
    }
}

/// A rule of an Ingress.
pub(in super::super) fn ingress_rule(rule: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let host = rule.field("host");
    if host.text().parse::<std::net::IpAddr>().is_ok() {
        errors.push(host.invalid("must be a DNS name, not an IP address"));
    } else if !host.is_empty()
        && let Err(why) = super::super::names::dns_subdomain(host.text().trim_start_matches("*."))
    {
        errors.push(host.invalid(why));
    }
}

/// A path of an Ingress.
pub(in super::super) fn ingress_path(path: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (text, kind) = (path.field("path"), path.field("pathType"));
    if matches!(kind.text(), "Exact" | "Prefix") && !text.text().starts_with('/') {
        errors.push(text.invalid_value(format!("{:?}", text.text()), "must be an absolute path"));
    }
}

/// Where an Ingress leads.
pub(in super::super) fn ingress_backend(backend: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (service, resource) = (backend.field("service"), backend.field("resource"));
    match (service.exists(), resource.exists()) {
        (true, true) => errors.push(backend.invalid("cannot set both resource and service backends")),
        (false, false) => errors.push(backend.required("must specify a `service` or `resource`")),
        _ => {}
    }
    let port = service.field("port");
    if service.exists() && port.present(&["name", "number"]).len() != 1 {
        errors.push(port.required("port name or number is required"));
    }
    check::port(&port.field("number"), errors);
}

/// An IngressClass: who serves it, and with which parameters.
pub(in super::super) fn ingress_class(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    const LENGTH: usize = 250;
    let controller = spec.field("controller");
    if controller.text().len() > LENGTH {
        errors.push(FieldError::too_long(controller.to_string(), LENGTH));
    }
    match controller.text().split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            if let Err(why) = super::super::names::dns_subdomain(host) {
                errors.push(controller.invalid_value(format!("{host:?}"), why));
            }
        }
        _ if controller.is_empty() => errors.push(controller.required("")),
        _ => errors.push(controller.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")")),
    }
    let parameters = spec.field("parameters");
    let namespace = parameters.field("namespace");
    match parameters.field("scope").text() {
        "Namespace" if namespace.is_empty() => {
            errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        "Cluster" if !namespace.is_empty() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        _ => {}
    }
}

/// Whom a policy speaks of.
pub(in super::super) fn peer(peer: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let present = peer.present(&["podSelector", "namespaceSelector", "ipBlock"]);
    if present.is_empty() {
        errors.push(peer.required("must specify a peer"));
    }
    if present.len() > 1 && present.contains(&"ipBlock") {
        errors.push(peer.forbidden("may not specify both ipBlock and another peer"));
    }
}

/// A range of addresses without some.
pub(in super::super) fn block(block: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let whole = block.field("cidr");
    if whole.is_empty() {
        return;
    }
    let Some(range) = check::cidr(&whole, errors) else { return };
    for except in block.field("except").items() {
        if let Some(part) = check::cidr(&except, errors)
            && (!range.contains(&part) || range == part)
        {
            errors.push(except.invalid(format!("must be a strict subset of `cidr`: {range}")));
        }
    }
}

/// A port of a policy.
pub(in super::super) fn policy_port(port: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (first, last) = (port.field("port"), port.field("endPort"));
    check::port_or_name(&first, errors);
    if !last.exists() {
        return;
    }
    check::port(&last, errors);
    match (first.number(), last.number()) {
        (None, _) => errors.push(last.required("may not be specified when `port` is not a number")),
        (Some(first), Some(end)) if end < first => {
            errors.push(last.invalid("must be greater than or equal to `port`"));
        }
        _ => {}
    }
}

/// A Network of ours.
pub(in super::super) fn own_network(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::cidrs(&spec.field("subnets"), errors);
    check::label(&spec.field("namespace"), errors);
}
