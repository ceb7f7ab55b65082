//! What webhook configurations say, read once.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use naru_api::FieldError;
use naru_store::{Prefix, Revision, Snapshot};
use serde_json::Value;

use crate::admission::expression::Condition;
use crate::admission::matching::Constraints;
use crate::calls::ClientConfig;
use crate::object;
use crate::state::Core;

const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";
/// How long a webhook may take that does not say.
const PATIENCE: u64 = 10;

/// All webhooks of a state.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    mutating: Vec<Hook>,
    validating: Vec<Hook>,
}

/// The newest webhooks that were read, and the state of their configurations.
#[derive(Debug, Default)]
pub(crate) struct Cache(ArcSwap<([Revision; 2], Arc<Hooks>)>);

/// One webhook.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) configuration: String,
    pub(crate) name: String,
    pub(crate) client: ClientConfig,
    pub(crate) patience: Duration,
    /// A request is refused when it cannot be asked.
    pub(crate) required: bool,
    /// It may be asked about what is not written.
    pub(crate) dry_runs: bool,
    /// It wants to see what others changed after it.
    pub(crate) reinvoked: bool,
    /// The version of `AdmissionReview` that it is sent.
    pub(crate) version: &'static str,
    pub(super) constraints: Constraints,
    pub(super) conditions: Vec<Condition>,
}

// === impl Hooks ===

impl Hooks {
    /// The webhooks of a state.
    pub(crate) fn of(core: &Core, snapshot: &Snapshot) -> Arc<Hooks> {
        let at = [snapshot.changed(MUTATING), snapshot.changed(VALIDATING)];
        let known = core.hooks.0.load();
        if known.0 == at {
            return known.1.clone();
        }
        let hooks = Arc::new(Hooks { mutating: read(snapshot, MUTATING), validating: read(snapshot, VALIDATING) });
        core.hooks.0.store(Arc::new((at, hooks.clone())));
        hooks
    }

    /// Those that change objects, in order.
    pub(crate) fn mutating(&self) -> &[Hook] {
        &self.mutating
    }

    /// Those that judge objects.
    pub(crate) fn validating(&self) -> &[Hook] {
        &self.validating
    }
}

fn read(snapshot: &Snapshot, collection: &str) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for entry in snapshot.range(&Prefix::collection(collection)) {
        let configuration = object::parse(&entry.served);
        for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
            hooks.push(Hook::read(entry.key.name(), webhook));
        }
    }
    hooks
}

// === impl Hook ===

impl Hook {
    fn read(configuration: &str, webhook: &Value) -> Hook {
        let is = |field: &str, word: &str| webhook[field] == word;
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(PATIENCE);
        let mut versions = webhook["admissionReviewVersions"].as_array().into_iter().flatten();
        let old = versions.find_map(|version| match version.as_str() {
            Some("v1") => Some("admission.k8s.io/v1"),
            Some("v1beta1") => Some("admission.k8s.io/v1beta1"),
            _ => None,
        });
        Hook {
            configuration: configuration.to_owned(),
            name: webhook["name"].as_str().unwrap_or_default().to_owned(),
            client: ClientConfig::read(&webhook["clientConfig"]),
            patience: Duration::from_secs(seconds),
            required: !is("failurePolicy", "Ignore"),
            dry_runs: is("sideEffects", "None") || is("sideEffects", "NoneOnDryRun"),
            reinvoked: is("reinvocationPolicy", "IfNeeded"),
            version: old.unwrap_or("admission.k8s.io/v1"),
            constraints: Constraints::read(webhook, "rules"),
            conditions: Condition::read(&webhook["matchConditions"], &[]),
        }
    }
}

/// What is wrong with the conditions of a new configuration: nothing else tells before they are needed.
pub(crate) fn faults(collection: &str, configuration: &Value) -> Vec<FieldError> {
    if ![MUTATING, VALIDATING].contains(&collection) {
        return Vec::new();
    }
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten().enumerate();
    webhooks
        .flat_map(|(at, webhook)| {
            Condition::faults(&webhook["matchConditions"], &format!("webhooks[{at}].matchConditions"), &[])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_is_read_with_what_it_leaves_out() {
        let hook = Hook::read(
            "all",
            &json!({"name": "a.example.org", "clientConfig": {"url": "https://x"}, "sideEffects": "None",
            "admissionReviewVersions": ["v2", "v1beta1", "v1"]}),
        );
        assert!(hook.required && hook.dry_runs && !hook.reinvoked);
        assert_eq!((hook.patience, hook.version), (Duration::from_secs(10), "admission.k8s.io/v1beta1"));
        let hook = Hook::read(
            "all",
            &json!({"failurePolicy": "Ignore", "sideEffects": "Unknown",
            "reinvocationPolicy": "IfNeeded", "timeoutSeconds": 1, "admissionReviewVersions": ["v1"]}),
        );
        assert!(!hook.required && !hook.dry_runs && hook.reinvoked);
    }
}
