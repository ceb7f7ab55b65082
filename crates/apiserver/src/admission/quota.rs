//! ResourceQuota: what a namespace may hold.
//!
//! A write that takes more is charged in its own transaction, to the quotas' status: of two writers who would share the
//! last of something, one plans again and is refused, so that no limit is ever overshot. What is given back, and what
//! was there before the quota, is put right by [`keep`] from the state as it is.

mod keeper;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use naru_api::Status;
use naru_api::quota::{self, Amounts};
use naru_store::{Entry, Key, Prefix, Revision, Snapshot};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::chain::{Operation, Review};
use crate::encode;
use crate::object;

pub(crate) use keeper::keep;

pub(super) const COLLECTION: &str = "resourcequotas";

/// What a write changes along with its object: a quota's status, as long as the quota is as it was seen.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) key: Key,
    pub(crate) seen: Revision,
    pub(crate) stored: Bytes,
}

/// Says whether an object may be written, and what is charged for it.
///
/// # Errors
/// 403 when a quota would be exceeded, or cannot be reckoned because containers do not say what they need.
pub(super) fn charge(review: &Review<'_>, object: &Value) -> Result<Vec<Charge>, Status> {
    if !review.subresource.is_empty() && review.subresource != "resize" || review.namespace.is_empty() {
        return Ok(Vec::new());
    }
    let prefix = Prefix::namespace(COLLECTION, review.namespace);
    let mut quotas = review.snapshot.range(&prefix).peekable();
    if quotas.peek().is_none() {
        return Ok(Vec::new());
    }
    let (collection, now) = (&*review.route.collection, Timestamp::now());
    let after = quota::usage(collection, object, now);
    let before = review.old.map(|old| quota::usage(collection, old, now)).unwrap_or_default();
    let more: Amounts = after
        .into_iter()
        .map(|(name, amount)| {
            let less = before.get(&name).copied().unwrap_or_default();
            (name, amount.minus(less))
        })
        .filter(|(_, amount)| !amount.is_zero() && !amount.is_negative())
        .collect();
    let mut charges = Vec::new();
    for entry in quotas {
        if let Some(charge) = charge_one(review, entry, object, &more)? {
            charges.push(charge);
        }
    }
    Ok(charges)
}

fn charge_one(
    review: &Review<'_>,
    entry: &Arc<Entry>,
    object: &Value,
    more: &Amounts,
) -> Result<Option<Charge>, Status> {
    let mut quota = object::parse(&entry.served);
    let collection = &*review.route.collection;
    if !quota::covers(&quota, collection, object) {
        return Ok(None);
    }
    let hard = quota::amounts(&quota["spec"]["hard"]);
    let mut counted = more.clone();
    counted.retain(|name, _| hard.contains_key(name));
    let refuse = |why: &str| Err(Status::forbidden(&review.route.kind, review.name, why));
    let name = entry.key.name();
    if collection == "pods" && review.operation == Operation::Create {
        let unnamed = quota::unnamed(&hard, object);
        if !unnamed.is_empty() {
            return refuse(&format!("failed quota: {name}: must specify {}", unnamed.join("; ")));
        }
    }
    if counted.is_empty() {
        return Ok(None);
    }
    let mut used = used(review.snapshot, &quota, &hard, &counted);
    let over: Vec<&String> = counted
        .iter()
        .filter(|(name, amount)| used.get(*name).copied().unwrap_or_default().plus(**amount) > hard[*name])
        .map(|(name, _)| name)
        .collect();
    if !over.is_empty() {
        let told = |amounts: &Amounts| {
            let one = |name: &&String| format!("{name}={}", amounts.get(*name).copied().unwrap_or_default());
            over.iter().map(one).collect::<Vec<_>>().join(",")
        };
        return refuse(&format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            told(&counted),
            told(&used),
            told(&hard)
        ));
    }
    quota::add(&mut used, &counted);
    quota["status"] = status(&quota, &used);
    let stored = encode::encode(&review.core.sealer, &entry.key, &quota).map_err(Status::internal)?;
    Ok(Some(Charge { key: entry.key.clone(), seen: entry.modified, stored }))
}

/// What is used of what a quota limits, as its status says; of what is `needed` counted from the state where it does not.
fn used(snapshot: &Snapshot, quota: &Value, hard: &Amounts, needed: &Amounts) -> Amounts {
    let mut used = quota::amounts(&quota["status"]["used"]);
    used.retain(|name, _| hard.contains_key(name));
    let missing: Amounts =
        needed.iter().filter(|(name, _)| !used.contains_key(*name)).map(|(name, most)| (name.clone(), *most)).collect();
    if !missing.is_empty() {
        used.extend(count(snapshot, quota, &missing));
    }
    used
}

/// What is used of each of `hard`, counted from the state.
fn count(snapshot: &Snapshot, quota: &Value, hard: &Amounts) -> Amounts {
    let namespace = quota["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut by_collection: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for name in hard.keys() {
        by_collection.entry(quota::collection_of(name)).or_default().push(name);
    }
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Default::default())).collect();
    let now = Timestamp::now();
    for (collection, names) in by_collection {
        let prefix = Prefix::namespace(collection, namespace);
        for entry in snapshot.range(&prefix) {
            let object = object::parse(&entry.served);
            if !quota::covers(quota, collection, &object) {
                continue;
            }
            let counted = quota::usage(collection, &object, now);
            for name in &names {
                if let (Some(amount), Some(known)) = (counted.get(*name), used.get_mut(*name)) {
                    *known = known.plus(*amount);
                }
            }
        }
    }
    used
}

/// A quota's status: what it limits, and what of that is used.
fn status(quota: &Value, used: &Amounts) -> Value {
    let hard = quota["spec"]["hard"].as_object().cloned().unwrap_or_default();
    let told: Map<String, Value> =
        hard.keys().filter_map(|name| Some((name.clone(), used.get(name)?.to_string().into()))).collect();
    json!({"hard": hard, "used": told})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_only_what_is_limited() {
        let quota = json!({"spec": {"hard": {"pods": "2", "cpu": "1"}}});
        let used = quota::amounts(&json!({"pods": "1", "secrets": "4"}));
        assert_eq!(status(&quota, &used), json!({"hard": {"pods": "2", "cpu": "1"}, "used": {"pods": "1"}}));
    }
}
