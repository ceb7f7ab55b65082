//! Rules of the drivers that bring volumes, and of what they say.

use super::super::error::FieldError;
use super::super::names;
use super::super::spot::Spot;
use super::check;

/// How much the parameters of a class may be: entries, and bytes together.
const PARAMETERS: usize = 512;
const PARAMETERS_SIZE: usize = 256 * 1024;
/// How long the name of a node to a driver may be.
const NODE_ID: usize = 256;

/// The name of a driver: short, and a domain.
pub(super) fn driver_name(name: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        return;
    }
    if name.text().len() > 63 {
        errors.push(FieldError::too_long(name.to_string(), 63));
    }
    if let Err(why) = names::dns_subdomain(&name.text().to_lowercase()) {
        errors.push(name.invalid(why));
    }
}

fn parameters(parameters: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.push(parameters.invalid_value("\"\"", "field can not be empty."));
        }
        size += key.len() + value.text().len();
    }
    if parameters.entries().count() > PARAMETERS {
        errors.push(FieldError::too_long(parameters.to_string(), PARAMETERS));
    } else if size > PARAMETERS_SIZE {
        errors.push(FieldError::too_long(parameters.to_string(), PARAMETERS_SIZE));
    }
}

fn provisioner(name: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if !name.is_empty()
        && let Err(why) = names::label_key(&name.text().to_lowercase())
    {
        errors.push(name.invalid(why));
    }
}

/// A StorageClass.
pub(in super::super) fn storage_class(class: &Spot<'_>, errors: &mut Vec<FieldError>) {
    provisioner(&class.field("provisioner"), errors);
    parameters(&class.field("parameters"), errors);
}

/// A VolumeAttributesClass.
pub(in super::super) fn attributes_class(class: &Spot<'_>, errors: &mut Vec<FieldError>) {
    provisioner(&class.field("driverName"), errors);
    let given = class.field("parameters");
    parameters(&given, errors);
    if given.entries().next().is_none() {
        errors.push(given.required("must contain at least one key/value pair"));
    }
}

/// A CSIDriver.
pub(in super::super) fn driver(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let period = spec.field("nodeAllocatableUpdatePeriodSeconds");
    if period.number().is_some_and(|n| n < 10) {
        errors.push(period.invalid("must be greater than or equal to 10 seconds"));
    }
    let mut seen = Vec::new();
    for request in spec.field("tokenRequests").items() {
        let audience = request.value.get("audience").and_then(serde_json::Value::as_str).unwrap_or_default();
        if seen.contains(&audience) {
            let shown = serde_json::Value::from(audience);
            errors.push(FieldError::duplicate(request.field("audience").to_string(), &shown));
            continue;
        }
        seen.push(audience);
        super::access::token_request(&request, errors);
    }
}

/// A CSINode's driver.
pub(in super::super) fn node_driver(driver: &Spot<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&driver.field("name"), errors);
    let id = driver.field("nodeID");
    if id.text().len() > NODE_ID {
        errors.push(id.invalid(format!("must be {NODE_ID} characters or less")));
    }
    check::not_negative(&driver.field("allocatable"), &["count"], errors);
    let mut seen = Vec::new();
    for key in driver.field("topologyKeys").items() {
        let text = key.text();
        if text.is_empty() {
            errors.push(driver.required(""));
        } else if seen.contains(&text) {
            errors.push(FieldError::duplicate(driver.to_string(), key.value));
        } else if let Err(why) = names::label_key(text) {
            errors.push(driver.invalid_value(format!("{text:?}"), why));
        }
        seen.push(text);
    }
}

/// A CSINode.
pub(in super::super) fn node(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::unique(&spec.field("drivers"), "name", errors);
}

/// A CSIStorageCapacity.
pub(in super::super) fn capacity(capacity: &Spot<'_>, errors: &mut Vec<FieldError>) {
    let class = capacity.field("storageClassName");
    if let Err(why) = names::dns_subdomain(class.text()) {
        errors.push(class.invalid_value(format!("{:?}", class.text()), why));
    }
}

/// A VolumeAttachment's spec.
pub(in super::super) fn attachment(spec: &Spot<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&spec.field("attacher"), errors);
    check::subdomain(&spec.field("nodeName"), errors);
    let source = spec.field("source");
    let (inline, volume) = (source.field("inlineVolumeSpec"), source.field("persistentVolumeName"));
    let text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.exists(), volume.exists()) {
        (false, false) => errors.push(source.required(text)),
        (true, true) => errors.push(source.forbidden(text)),
        (false, true) if volume.is_empty() => {
            errors.push(volume.required("must specify non empty persistentVolumeName"));
        }
        _ => check::subdomain(&volume, errors),
    }
}
