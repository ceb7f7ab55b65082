//! Objects of one version become objects of another: by name alone, or by the webhook that their definition names.
//!
//! Objects are brought to the version asked for before anything is done with them, many in one call; what has that
//! version already is not sent. From then on they are like all others, and nothing else knows of versions. Refused:
//! conversion where an object is shown, which would be a call for each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use naru_api::{Kind, Reason, Status, meta};
use naru_store::{Entry, Revision};
use serde_json::Value;

use super::{Custom, form, review};
use crate::calls::ClientConfig;
use crate::kept::FIELD;
use crate::object;
use crate::routes::Route;
use crate::state::Core;

/// How long a webhook may take: Kubernetes' limit.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many objects are sent in one call.
const AT_ONCE: usize = 500;
/// About how many bytes of objects are sent in one call.
const LARGEST: usize = 4 << 20;

/// Who converts objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Webhook {
    client: ClientConfig,
    /// The reviews that both sides understand, if there are such.
    reviews: Option<review::Version>,
}

// === impl Webhook ===

impl Webhook {
    /// Reads what a definition says.
    pub(super) fn read(client: &Value, reviews: &[String]) -> Webhook {
        Webhook { client: ClientConfig::read(client), reviews: review::Version::first_of(reviews) }
    }

    /// Asks how these objects are in the version `wanted`.
    async fn ask(&self, core: &Core, wanted: &str, originals: Vec<Value>) -> Result<Vec<Value>, Status> {
        let Some(version) = self.reviews else {
            let why = "failed: no supported conversion review versions (v1 and v1beta1 are spoken)";
            return Err(self.failure(wanted, &originals, why));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let question = review::question(version, &uid, wanted, originals);
        let answer = core.caller.post(&core.store.snapshot(), &self.client, &question, PATIENCE).await;
        let originals = review::asked(question);
        let answered =
            answer.map_err(|error| error.to_string()).and_then(|answer| review::answered(version, answer, &uid));
        let converted = answered.map_err(|why| self.failure(wanted, &originals, &format!("failed: {why}")))?;
        if converted.len() != originals.len() {
            let why = format!("returned {} objects, expected {}", converted.len(), originals.len());
            return Err(self.failure(wanted, &originals, &why));
        }
        let pairs = originals.iter().zip(converted).enumerate();
        let judged = pairs.map(|(at, (original, converted))| {
            review::restored(original, converted, wanted).map_err(|why| {
                let why = format!("returned invalid converted object at index {at}: {why}");
                self.failure(wanted, std::slice::from_ref(original), &why)
            })
        });
        judged.collect()
    }

    /// What clients are told when it does not do what it is there for: Kubernetes' words, then what they leave open.
    fn failure(&self, wanted: &str, objects: &[Value], why: &str) -> Status {
        let Some(first) = objects.first() else { return Status::internal(why) };
        let (version, kind) = (meta::api_version(first), meta::kind(first));
        let whom = match (meta::namespace(first), meta::name(first)) {
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let others = match objects.len() - 1 {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            more => format!(" and {more} others"),
        };
        let url = self.client.url();
        let text = format!("conversion webhook for {version}, Kind={kind} {why} ({whom}{others} to {wanted} by {url})");
        Status::new(Reason::InternalError, text)
    }
}

/// Objects in the version that `kind` is, in their order.
///
/// # Errors
/// 500 with what went wrong when they cannot be converted.
pub(crate) async fn convert(
    core: &Core,
    custom: &Custom,
    kind: &Kind,
    mut objects: Vec<Value>,
) -> Result<Vec<Value>, Status> {
    let wanted = kind.api_version();
    let foreign: Vec<usize> = (0..objects.len()).filter(|at| meta::api_version(&objects[*at]) != wanted).collect();
    let Some(webhook) = &custom.webhook else {
        foreign.into_iter().for_each(|at| form::rename(custom, kind, &mut objects[at]));
        return Ok(objects);
    };
    let mut rest = &foreign[..];
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(fitting(&objects, rest));
        rest = later;
        let mut originals: Vec<Value> = batch.iter().map(|at| objects[*at].take()).collect();
        // Whose the fields are is nobody's business outside.
        let owners: Vec<Option<Value>> = originals.iter_mut().map(|object| meta::unset(object, FIELD)).collect();
        let converted = webhook.ask(core, &wanted, originals).await?;
        for ((at, mut object), owners) in batch.iter().zip(converted).zip(owners) {
            if let Some(version) = kind.custom() {
                let _ = version.schema.prune(&mut object);
            }
            if let Some(owners) = owners {
                meta::set(&mut object, FIELD, owners);
            }
            objects[*at] = object;
        }
    }
    Ok(objects)
}

/// How many of these are sent in the next call: one at least.
fn fitting(objects: &[Value], rest: &[usize]) -> usize {
    let mut room = LARGEST;
    let fits = rest.iter().take(AT_ONCE).take_while(|at| {
        let there = room > 0;
        room = room.saturating_sub(weight(&objects[**at]));
        there
    });
    fits.count().max(1)
}

/// About how many bytes a value is written in.
fn weight(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::String(text) => text.len() + 2,
        _ => 6,
    }
}

/// Entries of the store in the form in which the route serves them, in their order; those that lie there so are the same
/// ones.
///
/// # Errors
/// When they cannot be converted.
pub(crate) async fn bring(core: &Core, route: &Route, mut entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
    let Some(custom) = &route.custom else { return Ok(entries) };
    let there = |entry: &Entry| form::is_as_served(route, custom, &entry.served, Some(entry.modified));
    let foreign: Vec<usize> = (0..entries.len()).filter(|at| !there(&entries[*at])).collect();
    let open = |at: &usize| form::opened(custom, &entries[*at].served, Some(entries[*at].modified));
    let objects = foreign.iter().map(open).collect();
    for (at, object) in foreign.iter().zip(convert(core, custom, &route.kind, objects).await?) {
        entries[*at] = Arc::new(entries[*at].shown_as(form::bytes(&object)));
    }
    Ok(entries)
}

/// An entry's object in the form of the route, and whether what lies in the store is not what would be stored now.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn open(
    core: &Core,
    route: &Route,
    custom: &Custom,
    entry: &Arc<Entry>,
) -> Result<(Value, bool), Status> {
    let brought = bring(core, route, vec![entry.clone()]).await?;
    let object = brought.first().map_or(Value::Null, |entry| object::parse(&entry.served));
    Ok((object, !form::is_as_stored(custom, &entry.served, entry.modified)))
}

/// As [`bring`], for those who watch: what several of them ask for at once is asked for once.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn bring_shared(
    core: &Arc<Core>,
    route: &Arc<Route>,
    mut entries: Vec<Arc<Entry>>,
) -> Result<Vec<Arc<Entry>>, Status> {
    let Some(custom) = route.custom.as_ref().filter(|custom| custom.webhook.is_some()) else {
        return bring(core, route, entries).await;
    };
    let there = |entry: &Entry| form::is_as_served(route, custom, &entry.served, Some(entry.modified));
    let foreign: Vec<usize> = (0..entries.len()).filter(|at| !there(&entries[*at])).collect();
    if foreign.is_empty() {
        return Ok(entries);
    }
    let states = foreign.iter().map(|at| entries[*at].clone()).collect();
    for (at, entry) in foreign.into_iter().zip(custom.lately.bring(core, route, states).await?) {
        entries[at] = entry;
    }
    Ok(entries)
}

/// As [`bring`], for the bytes of objects: the answers to writes.
///
/// # Errors
/// As [`bring`].
pub(crate) async fn bring_bytes(core: &Core, route: &Route, mut all: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
    let Some(custom) = &route.custom else { return Ok(all) };
    let written: Vec<Option<Revision>> = all.iter().map(|bytes| form::revision(bytes)).collect();
    let foreign: Vec<usize> =
        (0..all.len()).filter(|at| !form::is_as_served(route, custom, &all[*at], written[*at])).collect();
    let objects = foreign.iter().map(|at| form::opened(custom, &all[*at], written[*at])).collect();
    for (at, object) in foreign.iter().zip(convert(core, custom, &route.kind, objects).await?) {
        all[*at] = form::bytes(&object);
    }
    Ok(all)
}

/// What is stored of an object in the form of the route: it is converted, and gets what the stored version defaults.
///
/// # Errors
/// When it cannot be converted.
pub(crate) async fn to_storage(core: &Core, custom: &Custom, object: Value) -> Result<Value, Status> {
    if meta::api_version(&object) == custom.storage.api_version() {
        return Ok(object);
    }
    let mut stored = convert(core, custom, &custom.storage, vec![object]).await?.pop().unwrap_or_default();
    if let Some(version) = custom.storage.custom() {
        let _ = version.shape(&mut stored);
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_are_bounded_in_number_and_size() {
        let small = vec![json!({"a": "b"}); 1200];
        let all: Vec<usize> = (0..small.len()).collect();
        assert_eq!((fitting(&small, &all), fitting(&small, &all[1000..])), (AT_ONCE, 200));
        let large = vec![json!({"a": "b".repeat(LARGEST / 3)}); 5];
        assert_eq!(fitting(&large, &[0, 1, 2, 3, 4]), 3);
        assert_eq!(fitting(&[json!("b".repeat(2 * LARGEST)), json!(1)], &[0, 1]), 1, "one is always sent");
    }

    #[test]
    fn failures_name_the_webhook_and_the_object() {
        let client = json!({"service": {"namespace": "shop", "name": "hook", "path": "convert"}});
        let object =
            |name: &str| json!({"apiVersion": "e.io/v1", "kind": "W", "metadata": {"name": name, "namespace": "shop"}});
        let webhook = Webhook::read(&client, &["v2".to_owned()]);
        assert_eq!(webhook.reviews, None);
        let status = webhook.failure("e.io/v2", &[object("a"), object("b"), object("c")], "failed: no");
        assert_eq!(status.code(), 500);
        let told = "conversion webhook for e.io/v1, Kind=W failed: no (shop/a and 2 others to e.io/v2 by \
                    https://hook.shop.svc:443/convert)";
        assert_eq!(status.message, told);
    }
}
