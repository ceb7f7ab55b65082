//! The parameters of a policy for a binding.

use std::sync::Arc;

use naru_api::LabelSelector;
use naru_store::{Entry, Prefix};
use serde_json::Value;

use super::read::Binding;
use crate::admission::chain::Review;
use crate::object;
use crate::versions;

/// The parameters of one binding, or why there are none.
pub(super) type Params = Result<Vec<Option<Value>>, String>;

/// The parameters, which are of `kind`: one `None` for a policy without any, or where having none is allowed; none at all
/// where nothing is to be done.
///
/// # Errors
/// Why there are none, where there must be.
pub(super) async fn of(review: &Review<'_>, kind: Option<&(String, String)>, binding: &Binding) -> Params {
    let (Some((version, kind)), true) = (kind, binding.params.is_object()) else { return Ok(vec![None]) };
    let route = review
        .core
        .route_of(version, kind)
        .map_err(|_| format!("failed to configure policy: no matches for kind {kind:?} in version {version:?}"))?;
    let wanted = |field: &str| binding.params[field].as_str().filter(|text| !text.is_empty());
    let namespace = match (route.kind.is_namespaced(), wanted("namespace")) {
        (false, Some(_)) => {
            return Err("failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped \
                        `paramKind`"
                .to_owned());
        }
        (false, None) => "",
        (true, Some(namespace)) => namespace,
        (true, None) if review.namespace.is_empty() => {
            return Err("failed to configure binding: cannot use namespaced paramRef in policy binding that matches \
                        cluster-scoped resources"
                .to_owned());
        }
        (true, None) => review.namespace,
    };
    let entries: Vec<Arc<Entry>> = match wanted("name") {
        Some(name) => review.snapshot.get(&route.key(namespace, name)).cloned().into_iter().collect(),
        None => {
            let selector =
                LabelSelector::from_object(&binding.params["selector"]).map_err(|error| error.to_string())?;
            let prefix = match namespace {
                "" => Prefix::collection(&route.collection),
                namespace => Prefix::namespace(&route.collection, namespace),
            };
            let entries = review.snapshot.range(&prefix);
            let chosen = entries.filter(|entry| selector.matches(&object::labels(&entry.served).unwrap_or_default()));
            chosen.cloned().collect()
        }
    };
    if !entries.is_empty() {
        let brought = versions::bring(review.core, &route, entries).await;
        let brought = brought.map_err(|status| format!("failed to configure binding: {}", status.message))?;
        return Ok(brought.iter().map(|entry| Some(object::parse(&entry.served))).collect());
    }
    match binding.params["parameterNotFoundAction"].as_str() {
        Some("Deny") | None => {
            Err("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
                .to_owned())
        }
        _ => Ok(Vec::new()),
    }
}
