//! The parameters of a policy for a binding.

use naru_api::LabelSelector;
use naru_store::Prefix;
use serde_json::Value;

use super::read::{Binding, Policy};
use crate::admission::chain::Review;
use crate::object;

/// The parameters: one `None` for a policy without any, or where having none is allowed; none at all where nothing is to
/// be judged.
///
/// # Errors
/// Why there are none, where there must be.
pub(super) fn of(review: &Review<'_>, policy: &Policy, binding: &Binding) -> Result<Vec<Option<Value>>, String> {
    let (Some((version, kind)), true) = (&policy.params, binding.params.is_object()) else { return Ok(vec![None]) };
    let route = review
        .core
        .route_of(version, kind)
        .map_err(|_| format!("failed to configure policy: no matches for kind {kind:?} in version {version:?}"))?;
    let wanted = |field: &str| binding.params[field].as_str().filter(|text| !text.is_empty());
    let namespace = match (route.kind.is_namespaced(), wanted("namespace")) {
        (false, _) => "",
        (true, Some(namespace)) => namespace,
        (true, None) if review.namespace.is_empty() => {
            return Err("failed to configure binding: cannot use namespaced paramRef in policy binding that matches \
                        cluster-scoped resources"
                .to_owned());
        }
        (true, None) => review.namespace,
    };
    let found: Vec<Value> = match wanted("name") {
        Some(name) => {
            let entry = review.snapshot.get(&route.key(namespace, name));
            entry.map(|entry| object::parse(&entry.served)).into_iter().collect()
        }
        None => {
            let selector =
                LabelSelector::from_object(&binding.params["selector"]).map_err(|error| error.to_string())?;
            let prefix = match namespace {
                "" => Prefix::collection(&route.collection),
                namespace => Prefix::namespace(&route.collection, namespace),
            };
            let entries = review.snapshot.range(&prefix);
            let chosen = entries.filter(|entry| selector.matches(&object::labels(&entry.served).unwrap_or_default()));
            chosen.map(|entry| object::parse(&entry.served)).collect()
        }
    };
    if !found.is_empty() {
        return Ok(found.into_iter().map(Some).collect());
    }
    match binding.params["parameterNotFoundAction"].as_str() {
        Some("Deny") | None => {
            Err("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
                .to_owned())
        }
        _ => Ok(Vec::new()),
    }
}
