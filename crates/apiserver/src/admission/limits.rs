//! LimitRange: what containers ask for when they do not say, and what pods, containers and claims may ask for.

use naru_api::quota::{self, Amounts, amounts};
use naru_api::{Quantity, Status, meta};
use naru_store::Prefix;
use serde_json::{Value, json};

use super::chain::{Operation, Review};
use crate::object;

const COLLECTION: &str = "limitranges";
/// Where it is written down what was added to a pod.
const ADDED: &str = "kubernetes.io/limit-ranger";

/// The limits of the review's namespace, all ranges together.
fn limits(review: &Review<'_>) -> Vec<Value> {
    if review.namespace.is_empty() {
        return Vec::new();
    }
    let prefix = Prefix::namespace(COLLECTION, review.namespace);
    let ranges = review.snapshot.range(&prefix).map(|entry| object::parse(&entry.served));
    ranges
        .flat_map(|mut range| range["spec"]["limits"].as_array_mut().map(std::mem::take).unwrap_or_default())
        .collect()
}

/// Gives the containers of a new pod what its namespace says that they ask for.
pub(super) fn complete(review: &Review<'_>, pod: &mut Value) {
    let about = &*review.route.collection == "pods" && review.operation == Operation::Create;
    if !about || !review.subresource.is_empty() {
        return;
    }
    let limits = limits(review);
    let of = |field: &str| -> Amounts {
        let own = limits.iter().filter(|limit| limit["type"] == "Container");
        own.flat_map(|limit| amounts(&limit[field])).collect()
    };
    let (requests, limits) = (of("defaultRequest"), of("default"));
    if requests.is_empty() && limits.is_empty() {
        return;
    }
    let mut told = Vec::new();
    for (list, sort) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (field, word, wanted) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let added = add(&mut container["resources"], field, wanted);
                if !added.is_empty() {
                    told.push(format!("{} {word} for {sort} {name}", added.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        meta::set_annotation(pod, ADDED, &format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

/// Adds amounts that are not there; answers their names.
fn add(resources: &mut Value, field: &str, wanted: &Amounts) -> Vec<String> {
    if !resources.is_object() {
        *resources = json!({});
    }
    let mut added = Vec::new();
    for (name, amount) in wanted {
        if resources[field].get(name).is_none() {
            resources[field][name] = amount.to_string().into();
            added.push(name.clone());
        }
    }
    added
}

/// Says whether a pod or claim asks for what its namespace allows.
///
/// # Errors
/// 403 with everything that is too much or too little.
pub(super) fn judge(review: &Review<'_>, object: &Value) -> Result<(), Status> {
    let broken = match &*review.route.collection {
        // Once made, a pod asks for something else only by resizing.
        "pods"
            if review.operation == Operation::Create && review.subresource.is_empty()
                || review.subresource == "resize" =>
        {
            limits(review).iter().flat_map(|limit| pod(limit, &object["spec"])).collect::<Vec<_>>()
        }
        "persistentvolumeclaims" if review.subresource.is_empty() => {
            limits(review).iter().flat_map(|limit| claim(limit, &object["spec"])).collect()
        }
        _ => return Ok(()),
    };
    match broken.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::forbidden(&review.route.kind, review.name, one)),
        all => Err(Status::forbidden(&review.route.kind, review.name, &format!("[{}]", all.join(", ")))),
    }
}

fn pod(limit: &Value, spec: &Value) -> Vec<String> {
    let list = |list: &str| spec[list].as_array().into_iter().flatten().collect::<Vec<_>>();
    match limit["type"].as_str() {
        Some("Container") => {
            let all = list("containers").into_iter().chain(list("initContainers"));
            all.flat_map(|container| {
                let of = |of: &str| amounts(&container["resources"][of]);
                broken(limit, "Container", &of("requests"), &of("limits"))
            })
            .collect()
        }
        Some("Pod") => broken(limit, "Pod", &quota::pod(spec, "requests"), &quota::pod(spec, "limits")),
        _ => Vec::new(),
    }
}

fn claim(limit: &Value, spec: &Value) -> Vec<String> {
    if limit["type"] != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let asked = amounts(&spec["resources"]["requests"]);
    let mut told = Vec::new();
    for (bound, low) in [("min", true), ("max", false)] {
        for (name, bounded) in amounts(&limit[bound]) {
            let Some(amount) = asked.get(&name) else { continue };
            if if low { *amount < bounded } else { *amount > bounded } {
                let bound = if low { "minimum" } else { "maximum" };
                told.push(format!(
                    "{bound} {name} usage per PersistentVolumeClaim is {bounded}, but request is {amount}"
                ));
            }
        }
    }
    told
}

/// Every bound of a limit that is not kept, as sentences.
fn broken(limit: &Value, of: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut told = Vec::new();
    for (name, bound) in amounts(&limit["min"]) {
        let says = |rest: String| format!("minimum {name} usage per {of} is {bound}{rest}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => told.push(says(". No request is specified".to_owned())),
            (Some(request), _) if *request < bound => told.push(says(format!(", but request is {request}"))),
            (_, Some(limit)) if *limit < bound => told.push(says(format!(", but limit is {limit}"))),
            _ => {}
        }
    }
    for (name, bound) in amounts(&limit["max"]) {
        let says = |rest: String| format!("maximum {name} usage per {of} is {bound}{rest}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => told.push(says(". No limit is specified".to_owned())),
            (_, Some(limit)) if *limit > bound => told.push(says(format!(", but limit is {limit}"))),
            (Some(request), _) if *request > bound => told.push(says(format!(", but request is {request}"))),
            _ => {}
        }
    }
    for (name, bound) in amounts(&limit["maxLimitRequestRatio"]) {
        let says = |rest: String| format!("{name} max limit to request ratio per {of} is {bound}, but {rest}");
        let zero = |amount: Option<&Quantity>| amount.is_none_or(Quantity::is_zero);
        match (requests.get(&name), limits.get(&name)) {
            (request, _) if zero(request) => told.push(says("no request is specified or request is 0".to_owned())),
            (_, limit) if zero(limit) => told.push(says("no limit is specified or limit is 0".to_owned())),
            (Some(request), Some(limit)) => {
                let ratio = limit.milli() as f64 / request.milli() as f64;
                if ratio > bound.milli() as f64 / 1000.0 {
                    told.push(says(format!("provided ratio is {ratio:.6}")));
                }
            }
            _ => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(request: Option<&str>, limit: Option<&str>) -> Value {
        let mut container = json!({"name": "a", "resources": {}});
        for (field, amount) in [("requests", request), ("limits", limit)] {
            if let Some(amount) = amount {
                container["resources"][field]["cpu"] = amount.into();
            }
        }
        json!({"containers": [container.clone(), container]})
    }

    #[test]
    fn bounds_are_those_of_each_container_or_of_the_pod() {
        let of = |sort: &str| json!({"type": sort, "min": {"cpu": "50m"}, "max": {"cpu": "500m"}});
        assert!(pod(&of("Container"), &spec(Some("100m"), Some("300m"))).is_empty());
        assert_eq!(
            pod(&of("Pod"), &spec(Some("100m"), Some("300m"))),
            ["maximum cpu usage per Pod is 500m, but limit is 600m"]
        );
        let told = pod(&of("Container"), &spec(Some("10m"), Some("600m")));
        assert_eq!(told.len(), 4);
        assert_eq!(told[0], "minimum cpu usage per Container is 50m, but request is 10m");
        assert_eq!(
            pod(&of("Container"), &spec(None, None))[..2],
            [
                "minimum cpu usage per Container is 50m. No request is specified",
                "maximum cpu usage per Container is 500m. No limit is specified"
            ]
        );
        assert!(pod(&of("PersistentVolumeClaim"), &spec(None, None)).is_empty());
    }

    #[test]
    fn limits_are_no_more_than_so_many_times_the_request() {
        let of = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        assert!(pod(&of, &spec(Some("100m"), Some("200m"))).is_empty());
        let told = pod(&of, &spec(Some("100m"), Some("300m")));
        assert_eq!(told[0], "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000");
        assert!(pod(&of, &spec(None, Some("1")))[0].ends_with("no request is specified or request is 0"));
    }

    #[test]
    fn claims_have_bounds_too() {
        let of = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let asks = |amount: &str| claim(&of, &json!({"resources": {"requests": {"storage": amount}}}));
        assert!(asks("1Gi").is_empty());
        assert_eq!(asks("3Gi"), ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
        assert_eq!(asks("1Mi"), ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]);
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let mut resources = json!({"requests": {"cpu": "1"}});
        let wanted = amounts(&json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(add(&mut resources, "requests", &wanted), ["memory"]);
        assert_eq!(resources, json!({"requests": {"cpu": "1", "memory": "1Gi"}}));
    }
}
