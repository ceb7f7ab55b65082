//! Rules of devices, of claims to them, and of what nodes say they have.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use naru_cel::{Env, ObjectType, Type};
use serde_json::Value;

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;
use super::csi::driver_name;

/// How long lists may be.
const REQUESTS: usize = 32;
const CONSTRAINTS: usize = 32;
const CONFIGURATIONS: usize = 32;
const SELECTORS: usize = 32;
const ALTERNATIVES: usize = 8;
const DEVICES: usize = 128;
const ATTRIBUTES: usize = 32;
/// How long texts may be, in bytes.
const EXPRESSION: usize = 10 * 1024;
const PARAMETERS: usize = 10 * 1024;
const IDENTIFIER: usize = 32;
const ATTRIBUTE: usize = 64;

fn at_most(list: &Spot<'_>, limit: usize, errors: &mut Vec<FieldError>) {
    let count = list.items().count();
    if count > limit {
        errors.push(FieldError::too_many(list.to_string(), count, limit));
    }
}

/// A claim: what is asked for, and what holds for all of it.
pub(in super::super) fn claim(claim: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let requests = claim.field("requests");
    at_most(&requests, REQUESTS, errors);
    check::unique(&requests, "name", errors);
    let list = |of: &'_ Value| of.as_array().cloned().unwrap_or_default();
    let names: BTreeMap<String, Vec<String>> = list(requests.value)
        .iter()
        .map(|request| (name(request), list(&request["firstAvailable"]).iter().map(name).collect()))
        .collect();
    let constraints = claim.field("constraints");
    at_most(&constraints, CONSTRAINTS, errors);
    for constraint in constraints.items() {
        named(&constraint.field("requests"), &names, errors);
        let (same, different) = (constraint.field("matchAttribute"), constraint.field("distinctAttribute"));
        if !same.exists() && !different.exists() {
            errors.push(same.required(""));
        }
        for attribute in [same, different].iter().filter(|a| a.exists()) {
            qualified(attribute, attribute.text(), errors);
            if !attribute.is_empty() && !attribute.text().contains('/') {
                errors.push(attribute.invalid("must include a domain"));
            }
        }
    }
    let configurations = claim.field("config");
    at_most(&configurations, CONFIGURATIONS, errors);
    for configuration in configurations.items() {
        named(&configuration.field("requests"), &names, errors);
        self::configuration(&configuration, errors);
    }
}

fn name(of: &Value) -> String {
    of.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Names of a claim's requests, or of one of their alternatives.
fn named(list: &Spot<'_>, requests: &BTreeMap<String, Vec<String>>, errors: &mut Vec<FieldError>) {
    at_most(list, REQUESTS, errors);
    let mut seen = Vec::new();
    for name in list.items() {
        let known = match name.text().split_once('/') {
            None => requests.contains_key(name.text()),
            Some((request, one)) => requests.get(request).is_some_and(|all| all.iter().any(|name| name == one)),
        };
        if !known {
            let text = "must be the name of a request in the claim or the name of a request and a subrequest separated \
                        by '/'";
            errors.push(name.invalid(text));
        }
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
    }
}

/// What only the driver understands.
pub(in super::super) fn configuration(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let opaque = of.field("opaque");
    if !opaque.exists() {
        errors.push(opaque.required(""));
        return;
    }
    driver_name(&opaque.field("driver"), errors);
    let parameters = opaque.field("parameters");
    if parameters.value.to_string().len() > PARAMETERS {
        errors.push(FieldError::too_long(parameters.to_string(), PARAMETERS));
    }
}

/// One request of a claim.
pub(in super::super) fn request(request: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::label(&request.field("name"), errors);
    let (exactly, alternatives) = (request.field("exactly"), request.field("firstAvailable"));
    match (exactly.exists(), !alternatives.is_empty()) {
        (false, false) => errors.push(request.required("exactly one of `exactly` or `firstAvailable` is required")),
        (true, true) => errors.push(request.invalid_value(
            "null",
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        _ => {}
    }
    at_most(&alternatives, ALTERNATIVES, errors);
    check::unique(&alternatives, "name", errors);
}

/// Which devices are asked for, and how many.
pub(in super::super) fn wanted(request: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::label(&request.field("name"), errors);
    check::subdomain(&request.field("deviceClassName"), errors);
    selectors(&request.field("selectors"), errors);
    let count = request.field("count");
    let number = count.number().unwrap_or(0);
    match request.field("allocationMode").text() {
        "All" if number != 0 => {
            errors.push(count.invalid("must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if number <= 0 => errors.push(count.invalid_value(number, "must be greater than zero")),
        _ => {}
    }
}

/// What expressions about devices may name: `device`. Attributes and capacities are found by domain, then by name.
static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let by_name = |of: Type| Type::map(Type::String, Type::map(Type::String, of));
    let fields = [
        ("driver", Type::String),
        ("attributes", by_name(Type::Dyn)),
        ("capacity", by_name(Type::Opaque("kubernetes.Quantity"))),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
    Env::new().with("device", Type::Object(Arc::new(ObjectType { name: "kubernetes.DRADevice".to_owned(), fields })))
});

fn selectors(list: &Spot<'_>, errors: &mut Vec<FieldError>) {
    at_most(list, SELECTORS, errors);
    for selector in list.items() {
        let cel = selector.field("cel");
        let expression = cel.field("expression");
        if !cel.exists() {
            errors.push(cel.required(""));
        } else if expression.text().len() > EXPRESSION {
            errors.push(FieldError::too_long(expression.to_string(), EXPRESSION));
        } else if let Some(why) = unusable(expression.text()) {
            errors.push(expression.invalid(why));
        }
    }
}

/// Why an expression cannot select devices.
fn unusable(expression: &str) -> Option<String> {
    match DEVICE.compile(expression) {
        Err(error) => Some(format!("compilation failed: {error}")),
        Ok(program) if !Type::Bool.accepts(program.result()) => {
            Some(format!("must evaluate to bool or the unknown type, not {}", program.result()))
        }
        Ok(_) => None,
    }
}

/// A DeviceClass.
pub(in super::super) fn class(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    selectors(&spec.field("selectors"), errors);
    let configurations = spec.field("config");
    at_most(&configurations, CONFIGURATIONS, errors);
    configurations.items().for_each(|c| configuration(&c, errors));
}

/// A ResourceSlice: the devices of one node, of some, or of all.
pub(in super::super) fn slice(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&spec.field("driver"), errors);
    pool(&spec.field("pool"), errors);
    let (node, selector) = (spec.field("nodeName"), spec.field("nodeSelector"));
    check::subdomain(&node, errors);
    let terms = selector.field("nodeSelectorTerms");
    if selector.exists() && terms.items().count() != 1 {
        errors.push(terms.invalid("must have exactly one node selector term"));
    }
    let given = [
        ("`nodeName`", !node.is_empty()),
        ("`nodeSelector`", selector.exists()),
        ("`allNodes`", spec.field("allNodes").is_true()),
        ("`perDeviceNodeSelection`", spec.field("perDeviceNodeSelection").is_true()),
    ];
    let set: Vec<&str> = given.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    let text = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => errors.push(spec.required(text)),
        1 => {}
        _ => {
            let shown = format!("\"{{{}}}\"", set.join(", "));
            errors.push(spec.invalid_value(shown, format!("{text}, but multiple fields are set")));
        }
    }
    let devices = spec.field("devices");
    at_most(&devices, DEVICES, errors);
    check::unique(&devices, "name", errors);
}

fn pool(pool: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (name, slices, generation) = (pool.field("name"), pool.field("resourceSliceCount"), pool.field("generation"));
    if name.text().len() > 253 {
        errors.push(FieldError::too_long(name.to_string(), 253));
    }
    for part in name.text().split('/').filter(|_| !name.is_empty()) {
        if let Err(why) = names::dns_subdomain(part) {
            errors.push(name.invalid_value(format!("{part:?}"), why));
        }
    }
    let count = slices.number().unwrap_or(0);
    if count <= 0 {
        errors.push(slices.invalid_value(count, "must be greater than zero"));
    }
    if generation.number().is_some_and(|n| n < 0) {
        errors.push(generation.invalid("must be greater than or equal to zero"));
    }
}

/// One device of a slice.
pub(in super::super) fn device(device: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::label(&device.field("name"), errors);
    let (attributes, capacity) = (device.field("attributes"), device.field("capacity"));
    let mut count = 0;
    for (key, at) in attributes.entries().chain(capacity.entries()) {
        qualified(&at, key, errors);
        count += 1;
    }
    if count > ATTRIBUTES {
        let text = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES}");
        errors.push(device.invalid_value(count, text));
    }
    for (_, attribute) in attributes.entries() {
        let present = attribute.present(&["bool", "bools", "int", "ints", "string", "strings", "version", "versions"]);
        match present.len() {
            0 => errors.push(attribute.required("exactly one value must be specified")),
            1 => {}
            _ => errors.push(attribute.invalid("exactly one value must be specified")),
        }
        for field in ["string", "version"] {
            let text = attribute.field(field);
            if text.text().len() > ATTRIBUTE {
                errors.push(FieldError::too_long(text.to_string(), ATTRIBUTE));
            }
        }
    }
}

/// A name with or without the domain of whom it belongs to.
fn qualified(at: &Spot<'_>, name: &str, errors: &mut Vec<FieldError>) {
    let (domain, id) = match name.split_once('/') {
        Some((domain, id)) => (Some(domain), id),
        None => (None, name),
    };
    match domain {
        Some("") => errors.push(at.required("the domain must not be empty")),
        Some(domain) => {
            if let Err(why) = names::dns_subdomain(&domain.to_lowercase()) {
                errors.push(at.invalid_value(format!("{domain:?}"), why));
            }
        }
        None => {}
    }
    if id.is_empty() {
        errors.push(at.required(if domain.is_some() { "the name must not be empty" } else { "name required" }));
        return;
    }
    if id.len() > IDENTIFIER {
        errors.push(FieldError::too_long(at.to_string(), IDENTIFIER));
    }
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let text = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                    alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                    validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.push(at.invalid_value(format!("{id:?}"), text));
    }
}

/// What keeps others away from a device.
pub(in super::super) fn taint(taint: &Spot<'_>, errors: &mut Vec<FieldError>) {
    label(taint, errors);
}

/// What does not mind a taint.
pub(in super::super) fn toleration(toleration: &Spot<'_>, errors: &mut Vec<FieldError>) {
    label(toleration, errors);
    let value = toleration.field("value");
    if toleration.field("operator").text() == "Exists" && !value.is_empty() {
        errors.push(value.invalid("must be empty for operator `Exists`"));
    }
}

fn label(of: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let (key, value) = (of.field("key"), of.field("value"));
    if !key.is_empty()
        && let Err(why) = names::label_key(key.text())
    {
        errors.push(key.invalid(why));
    }
    if let Err(why) = names::label_value(value.text()) {
        errors.push(value.invalid(why));
    }
}

/// Who uses a claim, once it has devices.
pub(in super::super) fn reserved(root: &Spot<'_>, errors: &mut Vec<FieldError>) {
    const USERS: usize = 256;
    let status = root.field("status");
    let users = status.field("reservedFor");
    at_most(&users, USERS, errors);
    check::unique(&users, "uid", errors);
    for user in users.items() {
        for field in ["resource", "name", "uid"] {
            let field = user.field(field);
            if field.is_empty() {
                errors.push(field.required(""));
            }
        }
    }
    if !users.is_empty() && !status.field("allocation").exists() {
        errors.push(users.forbidden("may not be specified when `allocated` is not set"));
    }
}
