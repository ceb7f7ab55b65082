//! Rules of probes and hooks.

use super::super::error::FieldError;
use super::super::spot::Spot;
use super::check;

/// A probe.
pub(in super::super) fn probe(probe: &Spot<'_>, errors: &mut Vec<FieldError>) {
    one_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    let numbers = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    check::not_negative(probe, &numbers, errors);
    let grace = probe.field("terminationGracePeriodSeconds");
    if grace.number().is_some_and(|n| n <= 0) {
        errors.push(grace.invalid("must be greater than 0"));
    }
    let grpc = probe.field("grpc");
    check::port(&grpc.field("port"), errors);
}

/// A hook of a container's life.
pub(in super::super) fn hook(hook: &Spot<'_>, errors: &mut Vec<FieldError>) {
    one_handler(hook, &["exec", "httpGet", "tcpSocket", "sleep"], errors);
}

fn one_handler(spot: &Spot<'_>, handlers: &[&str], errors: &mut Vec<FieldError>) {
    let present = spot.present(handlers);
    if present.is_empty() {
        errors.push(spot.required("must specify a handler type"));
    }
    for extra in present.iter().skip(1) {
        errors.push(spot.field(extra).forbidden("may not specify more than 1 handler type"));
    }
}

/// A request to the pod.
pub(in super::super) fn http_get(get: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::port_or_name(&get.field("port"), errors);
}

/// A connection to the pod.
pub(in super::super) fn tcp_socket(socket: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::port_or_name(&socket.field("port"), errors);
}

/// A command.
pub(in super::super) fn exec(exec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if exec.field("command").is_empty() {
        errors.push(exec.field("command").required(""));
    }
}
