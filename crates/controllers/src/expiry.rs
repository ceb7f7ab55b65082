//! Events go when their time is up.
//!
//! Nobody follows Events for this: they are many and short-lived, so they are listed now and then.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use naru_client::{DeleteOptions, ListOptions, ObjectRef};
use serde_json::Value;

use crate::cluster::{ApplyError, Cluster};
use crate::driver::{Controller, Keys};
use crate::plan::{Plan, Write};
use crate::resources::EVENTS;

/// How often to look.
const PERIOD: SignedDuration = SignedDuration::from_mins(5);

/// Deletes old Events. It has one key.
pub(crate) struct EventExpiry {
    pub(crate) cluster: Arc<Cluster>,
    /// How long an Event is kept after it was last seen.
    pub(crate) keep: SignedDuration,
}

impl Controller for EventExpiry {
    type View = ();

    fn name(&self) -> &'static str {
        "event-expiry"
    }

    fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    fn watch(&self, _: &Keys) {}

    fn scan(&self) -> Vec<ObjectRef> {
        vec![ObjectRef::cluster("events")]
    }

    fn view(&self, _: &ObjectRef) -> Option<()> {
        Some(())
    }

    fn plan(&self, (): &(), now: Timestamp) -> Plan {
        let mut plan = Plan::nothing("looking through events");
        plan.again_at(now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX));
        plan
    }

    fn apply<'a>(&'a self, _: &'a ObjectRef, _: Plan) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let api = self.cluster.client.dynamic(EVENTS, None);
            let mut page = ListOptions { limit: 500, ..ListOptions::default() };
            loop {
                let list = api.list(&page).await;
                let list = list.map_err(|source| ApplyError::Write { what: "list events".into(), source })?;
                self.cluster.apply(expired(&list.items, self.keep, self.cluster.now()), Vec::new()).await?;
                if list.next.is_empty() {
                    return Ok(());
                }
                page.next = list.next;
            }
        })
    }
}

/// The deletions of those events that were last seen too long ago.
fn expired(events: &[Value], keep: SignedDuration, now: Timestamp) -> Vec<Write> {
    let last_seen = |event: &Value| {
        let fields = [
            &event["series"]["lastObservedTime"],
            &event["lastTimestamp"],
            &event["eventTime"],
            &event["metadata"]["creationTimestamp"],
        ];
        fields.into_iter().filter_map(|field| field.as_str()?.parse::<Timestamp>().ok()).max()
    };
    let old = events.iter().filter(|event| last_seen(event).is_some_and(|seen| now.duration_since(seen) >= keep));
    old.map(|event| {
        let key = ObjectRef::new(naru_api::meta::namespace(event), naru_api::meta::name(event));
        Write::Delete { resource: EVENTS, key, options: DeleteOptions::exactly(naru_api::meta::uid(event)) }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{at, noon};

    #[test]
    fn events_go_an_hour_after_they_were_last_seen() {
        let event = |name: &str, fields: Value| {
            let mut event =
                json!({ "metadata": { "name": name, "namespace": "n", "uid": name, "creationTimestamp": at(-7200) } });
            crate::fixtures::merge(&mut event, &fields);
            event
        };
        let events = [
            event("old", json!({ "lastTimestamp": at(-3600) })),
            event("repeated", json!({ "lastTimestamp": at(-3600), "series": { "lastObservedTime": at(-10) } })),
            event("young", json!({ "lastTimestamp": at(-3599) })),
            event("timeless", json!({})),
        ];
        let writes = expired(&events, SignedDuration::from_hours(1), noon());
        let names: Vec<_> = writes.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["delete events n/old", "delete events n/timeless"]);
    }
}
