//! Defaults of claims to devices.

use super::edit::{Object, child, each, set, text};

/// A ResourceClaim, or the claim of a ResourceClaimTemplate: one device a request.
pub(super) fn claim(object: &mut Object) {
    child(object, "spec", |spec| {
        child(spec, "devices", |devices| {
            each(devices, "requests", |request| {
                child(request, "exactly", wanted);
                each(request, "firstAvailable", wanted);
            });
        });
    });
}

fn wanted(request: &mut Object) {
    set(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" && request.get("count").is_none_or(|c| c.is_null() || *c == 0) {
        request.insert("count".to_owned(), 1.into());
    }
}
