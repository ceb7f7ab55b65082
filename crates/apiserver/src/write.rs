//! One write: prepared outside the store, compared and put inside a transaction.
//!
//! Everything that takes time (decoding, defaulting, validation, encoding) happens before, against a snapshot; the
//! transaction only checks that what was decided on is still so. Whoever loses that race plans again.

use std::time::Duration;

use bytes::Bytes;
use naru_api::Status;
use naru_store::{CommitError, Entry, Key, Revision, StoreError};
use std::sync::Arc;

use crate::admission::quota::Charge;
use crate::authorization::index::COLLECTIONS as RBAC;
use crate::extension;
use crate::state::Core;

/// What must be true of an object for a plan to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Absent,
    At(Revision),
}

/// A write, ready to be committed.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) key: Key,
    pub(crate) expect: Expect,
    /// The new stored bytes; `None` deletes.
    pub(crate) put: Option<Bytes>,
    /// The object's namespace and the state in which it was seen to take objects.
    pub(crate) namespace: Option<(Key, Revision)>,
    /// What must be as it was seen besides.
    pub(crate) steady: Vec<(Key, Revision)>,
    /// Keys that must be free, and what takes them.
    pub(crate) reserve: Vec<(Key, Bytes)>,
    /// Keys that are given back.
    pub(crate) release: Vec<Key>,
    /// Objects that come along where they are not there yet.
    pub(crate) along: Vec<(Key, Bytes)>,
    /// Quotas that pay for it.
    pub(crate) charges: Vec<Charge>,
}

/// Why a plan did not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The name is taken.
    Exists,
    /// The object, or its namespace, is no longer as it was seen.
    Changed,
    /// A reservation went to someone else.
    Taken(Key),
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    Status(Status),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Status(status)
    }
}

// === impl Plan ===

impl Plan {
    pub(crate) fn put(key: Key, expect: Expect, stored: Bytes) -> Plan {
        Plan { put: Some(stored), ..Plan::delete(key, expect) }
    }

    pub(crate) fn delete(key: Key, expect: Expect) -> Plan {
        Plan {
            key,
            expect,
            put: None,
            namespace: None,
            steady: vec![],
            reserve: vec![],
            release: vec![],
            along: vec![],
            charges: vec![],
        }
    }

    /// The definition of the kind that an object is to be made of, which must still take some; none for kinds that
    /// nobody defined.
    fn definition(&self, core: &Core) -> Option<Key> {
        let collection = self.key.collection();
        let defined = || core.serving().registry.by_collection(collection).is_none_or(|kind| kind.custom().is_some());
        let made = self.expect == Expect::Absent && self.put.is_some();
        (made && defined()).then(|| Key::new(extension::COLLECTION, "", collection))
    }

    /// Commits and answers the object as it now is, or, for a deletion, as it last was.
    pub(crate) async fn commit(self, core: &Core) -> Result<Arc<Entry>, Failure> {
        let definition = self.definition(core);
        let mut ending = false;
        let committed = core.store.commit(|txn| {
            ending = definition.as_ref().is_some_and(|key| !extension::takes_objects(txn.get(key).as_deref()));
            if ending {
                return Err(Refusal::Changed);
            }
            if let Some((key, seen)) = &self.namespace
                && txn.get(key).map(|e| e.modified) != Some(*seen)
            {
                return Err(Refusal::Changed);
            }
            if self.steady.iter().any(|(key, seen)| txn.get(key).map(|e| e.modified) != Some(*seen)) {
                return Err(Refusal::Changed);
            }
            match (self.expect, txn.get(&self.key).map(|e| e.modified)) {
                (Expect::Absent, Some(_)) => return Err(Refusal::Exists),
                (Expect::At(seen), now) if now != Some(seen) => return Err(Refusal::Changed),
                _ => {}
            }
            if self.charges.iter().any(|charge| txn.get(&charge.key).map(|e| e.modified) != Some(charge.seen)) {
                return Err(Refusal::Changed);
            }
            for charge in &self.charges {
                txn.put(charge.key.clone(), charge.stored.clone());
            }
            for (key, value) in &self.reserve {
                if txn.get(key).is_some() {
                    return Err(Refusal::Taken(key.clone()));
                }
                txn.put(key.clone(), value.clone());
            }
            for key in &self.release {
                txn.delete(key.clone());
            }
            for (key, value) in &self.along {
                if txn.get(key).is_none() {
                    txn.put(key.clone(), value.clone());
                }
            }
            match &self.put {
                Some(stored) => txn.put(self.key.clone(), stored.clone()),
                None => txn.delete(self.key.clone()),
            }
            Ok(())
        });
        let committed = match committed.await {
            Err(_) if ending => return Err(extension::refuse_new(self.key.collection()).into()),
            committed => committed.map_err(failure)?,
        };
        if RBAC.contains(&self.key.collection()) {
            follow(core, committed.revision).await;
        }
        if self.key.collection() == extension::COLLECTION {
            extension::wait(core, self.key.name(), committed.revision).await;
        }
        let change = committed.changes.iter().find(|c| c.key == self.key);
        let object = change.and_then(|c| c.object()).cloned();
        object.ok_or_else(|| Status::internal(format!("the write of {} left no change", self.key)).into())
    }
}

/// Waits until authorisation knows a change of roles or bindings, so that whoever makes one can rely on it in their
/// next request. Not for ever: the write itself is done.
async fn follow(core: &Core, revision: Revision) {
    let mut known = core.rbac_revision.subscribe();
    // Zero: nobody follows yet, for the server is just being set up.
    if *known.borrow() == 0 {
        return;
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), known.wait_for(|r| *r >= revision.0)).await;
}

fn failure(error: CommitError<Refusal>) -> Failure {
    Failure::Status(match error {
        CommitError::Rejected(refusal) => return Failure::Refused(refusal),
        CommitError::TooLarge { key, size, limit } => {
            let mut status = Status::too_large(limit);
            status.message = format!("{key} would be {size} bytes, the limit is {limit}: keep the data elsewhere");
            status
        }
        CommitError::Codec { key, source } => Status::internal(format!("{key} cannot be served: {source}")),
        CommitError::Store(error) => unavailable(&error),
    })
}

/// etcd's words for a request beyond its limits.
fn is_too_large(source: &(dyn std::error::Error + 'static)) -> bool {
    let text = source.to_string();
    text.contains("request is too large") || text.contains("too many operations")
}

/// The answer while the store cannot do its work.
pub(crate) fn unavailable(error: &StoreError) -> Status {
    let cause = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
    // The store's own log has it, once; here it would stand once a try.
    tracing::debug!(%error, cause, "the store refused");
    match error {
        // Client libraries repeat what they are told to repeat, and this may have happened.
        StoreError::Unknown { .. } => return Status::timeout(format!("{error}{cause}")),
        StoreError::Refused { source } if is_too_large(source) => {
            return Status::new(naru_api::Reason::RequestEntityTooLarge, format!("{error}{cause}"));
        }
        StoreError::Refused { .. } => return Status::internal(format!("{error}{cause}")),
        _ => {}
    }
    let mut status = Status::unavailable(format!("{error}{cause}"));
    // Client libraries try again by themselves when they are told when.
    status.details = Some(Box::new(naru_api::status::Details { retry_after_seconds: 1, ..Default::default() }));
    status
}
