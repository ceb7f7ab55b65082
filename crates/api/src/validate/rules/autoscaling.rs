//! Rules of autoscalers.

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;
use crate::quantity::Quantity;

/// The longest period of a policy and the longest window, in seconds.
const PERIOD: i64 = 1800;
const WINDOW: i64 = 3600;

const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

/// A HorizontalPodAutoscaler's spec (`autoscaling/v2`, the stored form).
pub(in super::super) fn autoscaler(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (least, most) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    let maximum = most.number().unwrap_or(0);
    if least.number().is_some_and(|n| n < 1) {
        errors.push(least.invalid("must be greater than or equal to 1"));
    }
    if maximum < 1 {
        errors.push(most.invalid_value(maximum, "must be greater than 0"));
    }
    if least.number().is_some_and(|n| maximum < n) {
        errors.push(most.invalid_value(maximum, "must be greater than or equal to `minReplicas`"));
    }
}

/// What is scaled, or measured.
pub(in super::super) fn reference(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    for name in ["kind", "name"] {
        segment(&of.field(name), errors);
    }
}

fn segment(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !of.is_empty()
        && let Err(why) = names::path_segment(of.text())
    {
        errors.push(of.invalid(why));
    }
}

/// One metric: the source that its type names, and no other.
pub(in super::super) fn metric(metric: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let sort = metric.field("type");
    if sort.is_empty() {
        errors.push(sort.required("must specify a metric source type"));
        return;
    }
    let Some((_, expected)) = SOURCES.iter().find(|(name, _)| *name == sort.text()) else {
        errors.push(sort.unsupported(TYPES));
        return;
    };
    let wanted = metric.field(expected);
    if wanted.exists() {
        source(expected, &wanted, errors);
    } else {
        errors.push(wanted.required("must populate information for the given metric source"));
    }
    for (_, other) in SOURCES.iter().filter(|(_, field)| field != expected) {
        let other = metric.field(other);
        if other.exists() {
            errors.push(other.forbidden("must populate the given metric source only"));
        }
    }
}

fn source(field: &str, of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let target = of.field("target");
    let (value, average, share) =
        (target.field("value"), target.field("averageValue"), target.field("averageUtilization"));
    match field {
        "resource" | "containerResource" => {
            if of.field("name").is_empty() {
                errors.push(of.field("name").required("must specify a resource name"));
            }
            if !share.exists() && !average.exists() {
                errors.push(share.required("must set either a target raw value or a target utilization"));
            }
            if share.exists() && average.exists() {
                errors.push(average.forbidden("may not set both a target raw value and a target utilization"));
            }
        }
        "pods" if !average.exists() => {
            errors.push(average.required("must specify a positive target averageValue"));
        }
        "object" if !value.exists() && !average.exists() => {
            errors.push(average.required("must set either a target value or averageValue"));
        }
        "external" if !value.exists() && !average.exists() => {
            errors.push(average.required("must set either a target value for metric or a per-pod target"));
        }
        "external" if value.exists() && average.exists() => {
            errors.push(value.forbidden("may not set both a target value for metric and a per-pod target"));
        }
        _ => {}
    }
    if field == "containerResource" {
        let container = of.field("container");
        if container.is_empty() {
            errors.push(container.required("must specify a container"));
        }
        check::label(&container, errors);
    }
}

/// What a metric is called.
pub(in super::super) fn identifier(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let name = of.field("name");
    if name.is_empty() {
        errors.push(name.required("must specify a metric name"));
    }
    segment(&name, errors);
}

/// What a metric is to be.
pub(in super::super) fn target(target: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let sort = target.field("type");
    if sort.is_empty() {
        errors.push(sort.required("must specify a metric target type"));
    } else if !matches!(sort.text(), "Utilization" | "Value" | "AverageValue") {
        let shown = format!("{:?}", sort.text());
        errors.push(sort.invalid_value(shown, "must be either Utilization, Value, or AverageValue"));
    }
    for name in ["value", "averageValue"] {
        let amount = target.field(name);
        let positive = |text: &str| Quantity::parse(text).is_ok_and(|q| q > Quantity::default());
        if amount.exists() && !positive(amount.text()) {
            errors.push(amount.invalid("must be positive"));
        }
    }
    let share = target.field("averageUtilization");
    if share.number().is_some_and(|n| n < 1) {
        errors.push(share.invalid("must be greater than 0"));
    }
}

/// How fast it goes in one direction.
pub(in super::super) fn scaling(rules: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (window, policies) = (rules.field("stabilizationWindowSeconds"), rules.field("policies"));
    match window.number() {
        Some(n) if n < 0 => errors.push(window.invalid("must be greater than or equal to zero")),
        Some(n) if n > WINDOW => errors.push(window.invalid(format!("must be less than or equal to {WINDOW}"))),
        _ => {}
    }
    if policies.is_empty() {
        errors.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        let (value, period) = (policy.field("value"), policy.field("periodSeconds"));
        for number in [&value, &period] {
            let n = number.number().unwrap_or(0);
            if n <= 0 {
                errors.push(number.invalid_value(n, "must be greater than zero"));
            }
        }
        if period.number().is_some_and(|n| n > PERIOD) {
            errors.push(period.invalid(format!("must be less than or equal to {PERIOD}")));
        }
    }
}
