//! What a server knows of a kind that users defined, beside its entry in the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use naru_api::status::Details;
use naru_api::{Kind, Reason, Status};
use naru_store::Revision;
use tokio_util::sync::CancellationToken;

/// What is known of every kind, by its collection.
pub(crate) type Customs = HashMap<String, Arc<Custom>>;

/// What is known of one kind, in all its versions, for as long as its definition says the same of it.
#[derive(Debug)]
pub(crate) struct Custom {
    /// The version that objects are stored in, whether it is served or not.
    pub(crate) storage: Arc<Kind>,
    /// Objects that were written before may have the form of an earlier definition. Zero: there was none.
    pub(crate) since: Revision,
    /// Only a webhook can make an object of one version one of another.
    pub(crate) by_webhook: bool,
    /// There may be objects in other versions than the one that is stored now.
    pub(crate) mixed: bool,
    /// The definition is being deleted.
    ending: AtomicBool,
    /// Cancelled when the definition says something else, or is gone.
    pub(crate) ended: CancellationToken,
}

// === impl Custom ===

impl Custom {
    pub(crate) fn new(storage: Arc<Kind>, since: Revision, by_webhook: bool, mixed: bool) -> Custom {
        let (ending, ended) = (AtomicBool::new(false), CancellationToken::new());
        Custom { storage, since, by_webhook, mixed, ending, ended }
    }

    /// Notes whether the definition is being deleted.
    pub(crate) fn set_ending(&self, ending: bool) {
        self.ending.store(ending, Ordering::Relaxed);
    }

    /// Refuses new objects of a kind whose definition is being deleted.
    ///
    /// # Errors
    /// 405, as Kubernetes says it.
    pub(crate) fn takes_objects(&self) -> Result<(), Status> {
        if self.ending.load(Ordering::Relaxed) { Err(refuse_new(self.storage.collection())) } else { Ok(()) }
    }

    /// Refuses requests about objects in a version that they can only be brought to by a webhook.
    ///
    /// # Errors
    /// 500.
    pub(crate) fn can_convert(&self, kind: &Kind) -> Result<(), Status> {
        let (asked, stored) = (kind.api_version(), self.storage.api_version());
        if !self.by_webhook || (asked == stored && !self.mixed) {
            return Ok(());
        }
        let why = if asked == stored {
            format!("some {} may be stored in other versions than {stored}", kind.plural)
        } else {
            format!("{} are stored as {stored} and were asked for as {asked}", kind.plural)
        };
        let way = if asked == stored { "" } else { "; ask for the stored version" };
        Err(Status::internal(format!("{why}: this version of the server calls no conversion webhooks yet{way}")))
    }
}

/// The refusal of a new object in a collection whose definition is being deleted.
pub(crate) fn refuse_new(collection: &str) -> Status {
    let text = "create not allowed while custom resource definition is terminating";
    let mut status = Status::new(Reason::MethodNotAllowed, text);
    let (plural, group) = collection.split_once('.').unwrap_or((collection, ""));
    status.details = Some(Box::new(Details { group: group.into(), kind: plural.into(), ..Details::default() }));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::fixture;

    fn custom(by_webhook: bool, mixed: bool) -> Custom {
        let (_, custom) = fixture::served("v1");
        Custom::new(custom.storage.clone(), Revision(0), by_webhook, mixed)
    }

    #[test]
    fn what_only_a_webhook_converts_is_refused_with_a_reason() {
        let (kinds, _) = fixture::served("v1");
        let other = fixture::kind("v2", "v1");
        for mixed in [false, true] {
            custom(false, mixed).can_convert(&other).expect("only the version changes");
        }
        custom(true, false).can_convert(&kinds[0]).expect("as stored");
        let refused = custom(true, false).can_convert(&other).expect_err("a webhook would have to");
        assert_eq!(refused.code(), 500);
        assert!(refused.message.contains("widgets are stored as example.com/v1 and were asked for as example.com/v2"));
        custom(true, true).can_convert(&kinds[0]).expect_err("some are stored otherwise");
    }

    #[test]
    fn a_kind_that_ends_takes_no_objects() {
        let custom = custom(false, false);
        custom.takes_objects().expect("not ending");
        custom.set_ending(true);
        let refused = custom.takes_objects().expect_err("ending");
        assert_eq!(refused.code(), 405);
        assert_eq!(refused.message, "create not allowed while custom resource definition is terminating");
    }
}
