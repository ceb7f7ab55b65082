//! Certificate requests go when nobody needs them any more: machines make one after another, and nobody takes them away.
//!
//! They are decided on and signed where they are written (see the API server); what is left to do is this. Nobody follows
//! them for it: they are listed now and then.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use naru_api::meta;
use naru_client::{DeleteOptions, ListOptions, ObjectRef};
use serde_json::Value;

use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::CERTIFICATE_REQUESTS;

/// How often to look.
const PERIOD: SignedDuration = SignedDuration::from_mins(10);
/// How long requests are kept after they were answered: signed, denied or failed. A certificate that expired meanwhile
/// needs no rule of its own, as that is little more than the shortest life of one.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
/// How long they are kept without an answer, be it of those who decide or of those who sign.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Deletes old certificate requests. It has one key.
pub(crate) struct RequestCleaner {
    pub(crate) cluster: Arc<Cluster>,
}

impl Controller for RequestCleaner {
    type View = ();

    fn name(&self) -> &'static str {
        "certificate-request-cleaner"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, _: &Keys) {}

    fn scan(&self) -> Vec<ObjectRef> {
        vec![ObjectRef::cluster("certificatesigningrequests")]
    }

    fn view(&self, _: &ObjectRef) -> Option<()> {
        Some(())
    }

    fn plan(&self, (): &(), now: Timestamp) -> Plan {
        let mut plan = Plan::nothing("looking through certificate requests");
        plan.again_at(now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX));
        plan
    }

    fn apply<'a>(&'a self, _: &'a ObjectRef, _: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let api = self.cluster.client.dynamic(CERTIFICATE_REQUESTS, None);
            let mut page = ListOptions { limit: 500, ..ListOptions::default() };
            loop {
                let list = api.list(&page).await;
                let list =
                    list.map_err(|source| ApplyError::Write { what: "list certificate requests".into(), source })?;
                self.cluster.apply(outlived(&list.items, self.cluster.now()), Vec::new()).await?;
                if list.next.is_empty() {
                    return Ok(());
                }
                page.next = list.next;
            }
        })
    }
}

/// The deletions of those requests whose time is over.
fn outlived(requests: &[Value], now: Timestamp) -> Vec<Write> {
    let old = requests.iter().filter(|request| is_outlived(request, now));
    old.map(|request| Write::Delete {
        resource: CERTIFICATE_REQUESTS,
        key: ObjectRef::cluster(meta::name(request)),
        options: DeleteOptions::exactly(meta::uid(request)),
    })
    .collect()
}

fn is_outlived(request: &Value, now: Timestamp) -> bool {
    let conditions = request["status"]["conditions"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let signed = !meta::text(request, "status.certificate").is_empty();
    let past = |at: Option<Timestamp>, keep| at.is_some_and(|at| now.duration_since(at) > keep);
    let answered = conditions.iter().any(|condition| {
        let at = meta::text(condition, "lastUpdateTime").parse().ok();
        let keep = match meta::text(condition, "type") {
            "Denied" | "Failed" => ANSWERED,
            "Approved" if signed => ANSWERED,
            // Whoever signs it had a day's time.
            "Approved" => PENDING,
            _ => return false,
        };
        past(at, keep)
    });
    answered || conditions.is_empty() && past(meta::creation_timestamp(request), PENDING)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{at, noon};

    #[test]
    fn requests_go_an_hour_after_their_answer_and_a_day_without_one() {
        let request = |name: &str, made: i64, status: Value| json!({ "metadata": { "name": name, "uid": name, "creationTimestamp": at(-made) }, "status": status });
        let said = |of: &str, ago: i64, certificate: &str| {
            json!({ "certificate": certificate,
            "conditions": [{ "type": of, "status": "True", "lastUpdateTime": at(-ago) }] })
        };
        let requests = [
            request("signed", 9_000, said("Approved", 3_601, "c")),
            request("signed-just-now", 90_000, said("Approved", 3_600, "c")),
            request("waits-for-its-signer", 90_000, said("Approved", 86_400, "")),
            request("never-signed", 90_000, said("Approved", 86_401, "")),
            request("denied", 9_000, said("Denied", 3_601, "")),
            request("failed", 9_000, said("Failed", 3_601, "")),
            request("pending", 86_400, json!({})),
            request("forgotten", 86_401, json!({})),
            request("somebodys", 90_000, said("Mine", 90_000, "")),
        ];
        let writes: Vec<String> = outlived(&requests, noon()).iter().map(ToString::to_string).collect();
        let gone = ["signed", "never-signed", "denied", "failed", "forgotten"];
        assert_eq!(writes, gone.map(|name| format!("delete certificatesigningrequests {name}")));
    }
}
