//! What a server knows of a kind that users defined, beside its entry in the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use naru_api::status::Details;
use naru_api::{Kind, Reason, Status};
use naru_store::Revision;
use tokio_util::sync::CancellationToken;

use super::convert::Webhook;
use super::kinds::Versions;
use super::lately::Lately;

/// What is known of every kind, by its collection.
pub(crate) type Customs = HashMap<String, Arc<Custom>>;

/// What is known of one kind, in all its versions, for as long as its definition says the same of it.
#[derive(Debug)]
pub(crate) struct Custom {
    /// The version that objects are stored in, whether it is served or not.
    pub(crate) storage: Arc<Kind>,
    /// All versions, served or not, by `apiVersion`.
    versions: HashMap<String, Arc<Kind>>,
    /// How stored objects begin that have the stored version.
    pub(super) stored_head: String,
    /// Objects that were written before may have the form of an earlier definition. Zero: there was none.
    pub(crate) since: Revision,
    /// Who makes objects of one version objects of another, where more than the name of the version changes.
    pub(super) webhook: Option<Webhook>,
    /// What was converted for watchers.
    pub(super) lately: Lately,
    /// The definition is being deleted.
    ending: AtomicBool,
    /// Cancelled when the definition says something else, or is gone.
    pub(crate) ended: CancellationToken,
}

// === impl Custom ===

impl Custom {
    pub(crate) fn new(versions: Versions, since: Revision) -> Custom {
        let Versions { all, storage, webhook } = versions;
        Custom {
            stored_head: format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", storage.kind, storage.api_version()),
            versions: all.into_iter().map(|kind| (kind.api_version(), kind)).collect(),
            storage,
            since,
            webhook,
            lately: Lately::default(),
            ending: AtomicBool::new(false),
            ended: CancellationToken::new(),
        }
    }

    /// A version by its `apiVersion`.
    pub(crate) fn version(&self, api_version: &str) -> Option<&Arc<Kind>> {
        self.versions.get(api_version)
    }

    /// Whether others than this server are asked for what an object is in another version.
    pub(crate) fn asks(&self) -> bool {
        self.webhook.is_some()
    }

    /// Notes whether the definition is being deleted.
    pub(crate) fn set_ending(&self, ending: bool) {
        self.ending.store(ending, Ordering::Relaxed);
    }

    /// Notes that the definition says something else, or is gone.
    pub(super) fn retire(&self) {
        self.ended.cancel();
        self.lately.clear();
    }

    /// Refuses new objects of a kind whose definition is being deleted.
    ///
    /// # Errors
    /// 405, as Kubernetes says it.
    pub(crate) fn takes_objects(&self) -> Result<(), Status> {
        if self.ending.load(Ordering::Relaxed) { Err(refuse_new(self.storage.collection())) } else { Ok(()) }
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

    #[test]
    fn all_versions_are_known_also_those_that_are_not_served() {
        let custom = Custom::new(fixture::versions(&["v1", "v2"]), Revision(0));
        assert_eq!(custom.storage.version, "v1");
        assert_eq!(custom.version("example.com/v2").map(|kind| kind.version.as_ref()), Some("v2"));
        assert!(custom.version("example.com/v3").is_none() && !custom.asks());
    }

    #[test]
    fn a_kind_that_ends_takes_no_objects() {
        let custom = Custom::new(fixture::versions(&["v1"]), Revision(0));
        custom.takes_objects().expect("not ending");
        custom.set_ending(true);
        let refused = custom.takes_objects().expect_err("ending");
        assert_eq!(refused.code(), 405);
        assert_eq!(refused.message, "create not allowed while custom resource definition is terminating");
    }
}
