//! Defaults of what is registered with the server: webhooks, policies and further servers.

use super::edit::{Object, child, each, make, set};

/// A ValidatingWebhookConfiguration.
pub(super) fn validating(object: &mut Object) {
    each(object, "webhooks", webhook);
}

/// A MutatingWebhookConfiguration.
pub(super) fn mutating(object: &mut Object) {
    each(object, "webhooks", |hook| {
        webhook(hook);
        set(hook, "reinvocationPolicy", "Never");
    });
}

fn webhook(hook: &mut Object) {
    set(hook, "failurePolicy", "Fail");
    set(hook, "timeoutSeconds", 10);
    matching(hook);
    each(hook, "rules", |rule| set(rule, "scope", "*"));
    child(hook, "clientConfig", |config| child(config, "service", |service| set(service, "port", 443)));
}

/// What webhooks and policies say alike of the requests that they mean.
fn matching(object: &mut Object) {
    set(object, "matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        make(object, selector, |_| {});
    }
}

/// A ValidatingAdmissionPolicy or MutatingAdmissionPolicy.
pub(super) fn policy(object: &mut Object) {
    make(object, "spec", |spec| {
        set(spec, "failurePolicy", "Fail");
        child(spec, "matchConstraints", resources);
    });
}

/// A binding of a policy.
pub(super) fn policy_binding(object: &mut Object) {
    child(object, "spec", |spec| {
        child(spec, "matchResources", resources);
        child(spec, "paramRef", |reference| set(reference, "parameterNotFoundAction", "Deny"));
    });
}

fn resources(resources: &mut Object) {
    matching(resources);
    for rules in ["resourceRules", "excludeResourceRules"] {
        each(resources, rules, |rule| set(rule, "scope", "*"));
    }
}

/// An APIService.
pub(super) fn api_service(object: &mut Object) {
    child(object, "spec", |spec| child(spec, "service", |service| set(service, "port", 443)));
}
