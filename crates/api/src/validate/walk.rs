//! The walk along the schema.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::enums::ENUMS;
use super::error::FieldError;
use super::rules::{RULES, Rule};
use super::spot::Spot;
use crate::quantity::Quantity;
use crate::schema::{Schema, Shape, TypeId, Types};

/// What concerns one type besides its fields.
#[derive(Default)]
struct Extra {
    enums: Vec<(&'static str, &'static [&'static str])>,
    rules: Vec<Rule>,
}

/// Rules and possible values by type name. Types of kinds added at run time have none.
static EXTRAS: LazyLock<HashMap<&'static str, Extra>> = LazyLock::new(|| {
    let mut extras: HashMap<&'static str, Extra> = HashMap::new();
    for (name, field, values) in ENUMS {
        extras.entry(name).or_default().enums.push((field, values));
    }
    for (name, rule) in RULES {
        extras.entry(name).or_default().rules.push(*rule);
    }
    extras
});

/// Checks everything but status and metadata, which the server answers for itself.
pub(super) fn object(schema: &Schema, root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    fields(schema.types(), schema.root_id(), root, true, errors);
}

/// The name that extras are registered under: package and type without the common prefix.
fn short(name: &str) -> &str {
    name.strip_prefix("io.k8s.api.").or_else(|| name.strip_prefix("io.k8s.apimachinery.pkg.apis.")).unwrap_or(name)
}

fn fields(types: &Types, id: TypeId, spot: &Spot<'_>, top: bool, errors: &mut Vec<FieldError>) {
    let of = types.get(id);
    let extra = EXTRAS.get(short(&of.name));
    for field in &of.fields {
        if top && matches!(field.name.as_ref(), "status" | "metadata") {
            continue;
        }
        let inner = spot.field(&field.name);
        let absent = match inner.value {
            Value::Null => true,
            Value::String(text) => text.is_empty() && !may_be_empty(&field.name),
            _ => false,
        };
        if absent {
            if field.required && !optional(&of.name, &field.name) {
                errors.push(inner.required(""));
            }
            continue;
        }
        let values = extra.and_then(|e| e.enums.iter().find(|(name, _)| *name == field.name));
        if let Some((_, values)) = values {
            one_of(&inner, values, errors);
        }
        walk(types, &field.shape, &inner, errors);
    }
    for rule in extra.map_or(&[] as &[Rule], |e| &e.rules) {
        rule(spot, errors);
    }
}

/// Required texts that may be empty.
fn may_be_empty(field: &str) -> bool {
    matches!(field, "value" | "message" | "reason")
}

/// Fields that the schema calls required, but that a rule judges more exactly, or that may be left out.
fn optional(of: &str, field: &str) -> bool {
    let of = short(of);
    matches!(
        (of, field),
        ("core.v1.PodSpec", "containers")
            | ("core.v1.VolumeMount", "name")
            | ("rbac.v1.RoleRef", "apiGroup")
            | ("discovery.v1.EndpointSlice", "endpoints")
            | ("events.v1.Event", "eventTime")
    ) || (of == "core.v1.SecretReference")
        || JUDGED.iter().any(|(judged, fields)| *judged == of && fields.contains(&field))
}

/// Fields of which a rule says more than that they are missing, or that mean something when they are absent.
const JUDGED: &[(&str, &[&str])] = &[
    ("admissionregistration.v1.AuditAnnotation", &["valueExpression"]),
    ("admissionregistration.v1.MatchCondition", &["expression", "name"]),
    ("admissionregistration.v1.MutatingWebhook", &["admissionReviewVersions", "sideEffects"]),
    ("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", &["policyName", "validationActions"]),
    ("admissionregistration.v1.ValidatingWebhook", &["admissionReviewVersions", "sideEffects"]),
    ("admissionregistration.v1.Validation", &["expression"]),
    ("admissionregistration.v1.Variable", &["expression", "name"]),
    ("autoscaling.v2.ContainerResourceMetricSource", &["container", "name"]),
    ("autoscaling.v2.HPAScalingPolicy", &["periodSeconds", "value"]),
    ("autoscaling.v2.HorizontalPodAutoscalerSpec", &["maxReplicas"]),
    ("autoscaling.v2.MetricIdentifier", &["name"]),
    ("autoscaling.v2.MetricSpec", &["type"]),
    ("autoscaling.v2.MetricTarget", &["type"]),
    ("autoscaling.v2.ResourceMetricSource", &["name"]),
    ("flowcontrol.v1.LimitResponse", &["type"]),
    ("flowcontrol.v1.NonResourcePolicyRule", &["nonResourceURLs", "verbs"]),
    ("flowcontrol.v1.PolicyRulesWithSubjects", &["subjects"]),
    ("flowcontrol.v1.PriorityLevelConfigurationReference", &["name"]),
    ("flowcontrol.v1.PriorityLevelConfigurationSpec", &["type"]),
    ("flowcontrol.v1.ResourcePolicyRule", &["apiGroups", "resources", "verbs"]),
    ("flowcontrol.v1.ServiceAccountSubject", &["namespace"]),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec", &["groupPriorityMinimum", "versionPriority"]),
    ("node.v1.RuntimeClass", &["handler"]),
    ("resource.v1.ResourcePool", &["generation", "resourceSliceCount"]),
    ("storage.v1.CSINodeSpec", &["drivers"]),
    ("storage.v1.CSIStorageCapacity", &["storageClassName"]),
    ("storage.v1.TokenRequest", &["audience"]),
];

/// Checks a text, or every text of a list, against possible values.
fn one_of(spot: &Spot<'_>, values: &[&str], errors: &mut Vec<FieldError>) {
    if spot.value.is_array() {
        spot.items().for_each(|item| one_of(&item, values, errors));
    } else if !values.contains(&spot.text()) {
        errors.push(spot.unsupported(values));
    }
}

fn walk(types: &Types, shape: &Shape, spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    match shape {
        Shape::Object(id) => fields(types, *id, spot, false, errors),
        Shape::List(inner) if is_deep(inner) => spot.items().for_each(|item| walk(types, inner, &item, errors)),
        Shape::Map(inner) if is_deep(inner) => spot.entries().for_each(|(_, entry)| walk(types, inner, &entry, errors)),
        Shape::Quantity if Quantity::parse(spot.text()).is_ok_and(|q| q.is_negative()) => {
            errors.push(spot.invalid("must be greater than or equal to 0"));
        }
        _ => {}
    }
}

/// Checks a status: what is required of it is judged by whoever observes, but a time stamp that is missing would keep
/// readers from reading the object at all.
pub(super) fn status(schema: &Schema, root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let of = schema.root();
    if let Some(field) = of.field("status") {
        stamps(schema.types(), &field.shape, &root.field("status"), errors);
    }
}

fn stamps(types: &Types, shape: &Shape, spot: &Spot<'_>, errors: &mut Vec<FieldError>) {
    match shape {
        Shape::Object(id) if spot.exists() => {
            for field in &types.get(*id).fields {
                let inner = spot.field(&field.name);
                let stamp = matches!(field.shape, Shape::Time | Shape::MicroTime);
                if stamp && field.required && !inner.exists() {
                    errors.push(inner.required(""));
                }
                stamps(types, &field.shape, &inner, errors);
            }
        }
        Shape::List(inner) if is_deep(inner) => spot.items().for_each(|item| stamps(types, inner, &item, errors)),
        Shape::Map(inner) if is_deep(inner) => {
            spot.entries().for_each(|(_, entry)| stamps(types, inner, &entry, errors));
        }
        _ => {}
    }
}

fn is_deep(shape: &Shape) -> bool {
    matches!(shape, Shape::Object(_) | Shape::List(_) | Shape::Map(_) | Shape::Quantity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_and_value_names_a_type_that_is_there() {
        let types = Types::builtin();
        let known = |name: &str| types.iter().find(|(_, t)| short(&t.name) == name).map(|(_, t)| t);
        for (name, field, _) in ENUMS {
            let found = known(name).unwrap_or_else(|| panic!("{name}"));
            assert!(found.field(field).is_some(), "{name}.{field}");
        }
        for (name, _) in RULES {
            assert!(known(name).is_some(), "{name}");
        }
        for (name, fields) in JUDGED {
            let found = known(name).unwrap_or_else(|| panic!("{name}"));
            assert!(fields.iter().all(|field| found.field(field).is_some_and(|f| f.required)), "{name}: {fields:?}");
        }
    }
}
