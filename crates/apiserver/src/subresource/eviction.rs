//! Evicting a pod: deleting it unless a disruption budget says not now.

use http::{Response, StatusCode};
use jiff::Timestamp;
use naru_api::{LabelSelector, Reason, Status, meta};
use naru_store::{Prefix, Snapshot};
use serde_json::{Map, Value, json};

use super::posted::Posted;
use crate::call::Call;
use crate::object;
use crate::verbs::WriteOptions;
use crate::verbs::delete::{By, DeleteOptions, delete};
use crate::verbs::update::{Part, update};
use crate::wire::body::RequestBody;
use crate::wire::payload::Payload;
use crate::wire::respond;

const BUDGETS: &str = "poddisruptionbudgets.policy";

/// Answers POST of a `policy/v1 Eviction`.
///
/// # Errors
/// 429 while a budget forbids it.
pub(crate) async fn answer(call: &Call<'_>, body: RequestBody) -> Result<Response<Payload>, Status> {
    let asked = WriteOptions::of(call)?;
    let mut sent = call.document(body).await?;
    if sent["apiVersion"] == "policy/v1beta1" {
        sent["apiVersion"] = "policy/v1".into(); // what older clients still send, and the same
    }
    let key = call.route.key(call.namespace(), call.name());
    let absent = || Status::not_found(&call.route.kind, call.name());
    call.core.store.snapshot().get(&key).ok_or_else(absent)?;
    let (route, name) = (call.route, call.name());
    let posted = Posted { route, subresource: "eviction", name, api_version: "policy/v1", kind: "Eviction" };
    let eviction = posted.admitted(call, sent, asked).await?;
    let mut options = DeleteOptions::of(&eviction["deleteOptions"])?;
    options.dry_run |= asked.dry_run;
    let snapshot = call.core.store.snapshot();
    let entry = snapshot.get(&key).ok_or_else(absent)?;
    let pod = object::parse(&entry.served);
    if needs_permission(&pod) {
        match budgets(&snapshot, &pod).as_slice() {
            [] => {}
            [budget] => spend(call, budget, options.dry_run).await?,
            several => {
                let names: Vec<&str> = several.iter().map(String::as_str).collect();
                let text = format!(
                    "This pod has more than one PodDisruptionBudget ({}), which the eviction subresource does not support.",
                    names.join(", ")
                );
                return Err(Status::internal(text));
            }
        }
    }
    // Whoever has a say was asked about the eviction.
    let by = By { user: call.user, notes: None };
    delete(call.core, by, call.route, call.place(), &options).await?;
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    let mut response = respond::value(StatusCode::CREATED, call.accepted.media, &status);
    respond::warn(&mut response, &call.notes.warnings());
    Ok(response)
}

/// Pods that do not run, or are going already, disrupt nothing.
fn needs_permission(pod: &Value) -> bool {
    !meta::is_deleting(pod) && !matches!(meta::text(pod, "status.phase"), "Succeeded" | "Failed" | "Pending" | "")
}

/// The names of the budgets that the pod counts in.
fn budgets(snapshot: &Snapshot, pod: &Value) -> Vec<String> {
    let none = Map::new();
    let labels = meta::labels(pod).unwrap_or(&none);
    snapshot
        .range(&Prefix::namespace(BUDGETS, meta::namespace(pod)))
        .filter(|entry| {
            let budget = object::parse(&entry.served);
            LabelSelector::from_object(&budget["spec"]["selector"]).is_ok_and(|s| s.matches(labels))
        })
        .map(|entry| entry.key.name().to_owned())
        .collect()
}

/// Takes one disruption off the budget, in the budget's own status, so that two evictions cannot spend the same one.
async fn spend(call: &Call<'_>, budget: &str, dry_run: bool) -> Result<(), Status> {
    let route = call.core.route("policy", "v1", "poddisruptionbudgets")?;
    let pod = call.name();
    let change = |present: &Value| {
        let mut new = present.clone();
        meta::unset(&mut new, "resourceVersion");
        let status = &mut new["status"];
        let observed = status["observedGeneration"].as_i64().unwrap_or(0);
        let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
        let healthy = (&status["currentHealthy"], &status["desiredHealthy"]);
        let why = if observed < meta::generation(present) {
            Some("the budget is newer than what is known of its pods".to_owned())
        } else if allowed <= 0 {
            Some(format!(
                "The disruption budget {budget} needs {} healthy pods and has {} currently",
                healthy.1, healthy.0
            ))
        } else {
            None
        };
        if let Some(why) = why {
            // Without a time to wait: client libraries would wait it out in silence, where `kubectl drain` says why.
            let mut refusal =
                Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
            refusal.reason = Reason::TooManyRequests;
            if let Some(details) = &mut refusal.details {
                details.causes.push(naru_api::status::Cause {
                    reason: "DisruptionBudget".to_owned(),
                    message: why,
                    field: String::new(),
                });
            }
            return Err(refusal);
        }
        status["disruptionsAllowed"] = (allowed - 1).into();
        if !status["disruptedPods"].is_object() {
            status["disruptedPods"] = json!({});
        }
        status["disruptedPods"][pod] = meta::time(Timestamp::now()).into();
        Ok(new)
    };
    let options = WriteOptions { dry_run, ..WriteOptions::default() };
    update(call.core, call.user, &route, (call.namespace(), budget), Part::Trusted, &change, options).await?;
    Ok(())
}
