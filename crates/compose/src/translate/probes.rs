//! A health test as probes.
//!
//! Docker has one test with a start period; Kubernetes has three probes. The start probe carries the start period (its
//! failures do not restart anything until the period and the retries are used up, as in Docker) and asks often, so that
//! a service counts as healthy soon after it is; then one test decides both readiness and, after `retries` failures,
//! the restart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::model::{Healthcheck, Service};
use crate::units::Span;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: i64 = 3;
/// How often a start is looked at when nothing says how often.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// Adds the probes of a service's health test to its container.
pub(super) fn add(container: &mut Value, service: &Service) {
    let Some(check) = &service.healthcheck else { return };
    let Some(command) = command(check) else { return };
    let span = |given: Option<Span>, otherwise: Duration| given.filter(|s| !s.0.is_zero()).unwrap_or(Span(otherwise));
    let interval = span(check.interval, INTERVAL);
    let retries = check.retries.filter(|n| *n > 0).unwrap_or(RETRIES);
    let start_interval = span(check.start_interval, interval.0.min(START_INTERVAL));
    let period = start_interval.seconds().max(1);
    let patience = check.start_period.unwrap_or_default().seconds() + retries * interval.seconds().max(1);
    let timeout = span(check.timeout, TIMEOUT).seconds().max(1);
    let probe = |period: i64, failures: i64| {
        json!({
            "exec": {"command": command},
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "failureThreshold": failures.max(1),
            "successThreshold": 1,
        })
    };
    container["startupProbe"] = probe(period, (patience + period - 1) / period);
    container["readinessProbe"] = probe(interval.seconds().max(1), retries);
    container["livenessProbe"] = probe(interval.seconds().max(1), retries);
}

/// The words of the test; `None` when there is none.
fn command(check: &Healthcheck) -> Option<Vec<String>> {
    if check.disable == Some(true) {
        return None;
    }
    let (first, rest) = check.test.as_ref()?.split_first()?;
    match first.as_str() {
        "NONE" => None,
        "CMD" => Some(rest.to_vec()),
        "CMD-SHELL" => Some(["/bin/sh".to_owned(), "-c".to_owned()].into_iter().chain(rest.iter().cloned()).collect()),
        _ => check.test.clone(),
    }
}
