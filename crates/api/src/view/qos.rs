//! The quality-of-service class of a pod, from its JSON.

use serde_json::Value;

use crate::meta;
use crate::quantity::Quantity;

/// `Guaranteed` when every container limits CPU and memory and requests just that, `BestEffort` when none says anything,
/// else `Burstable`.
pub fn qos_class(pod: &Value) -> &'static str {
    let mut any = false;
    let mut all = true;
    for list in ["containers", "initContainers"] {
        for container in meta::at(pod, "spec").get(list).and_then(Value::as_array).into_iter().flatten() {
            for resource in ["cpu", "memory"] {
                let amount = |of: &str| {
                    let text = container.get("resources")?.get(of)?.get(resource)?.as_str()?;
                    Quantity::parse(text).ok().filter(|q| !q.is_zero())
                };
                let (request, limit) = (amount("requests"), amount("limits"));
                any |= request.is_some() || limit.is_some();
                all &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
            }
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
