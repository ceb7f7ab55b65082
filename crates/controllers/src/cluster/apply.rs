//! Carrying plans out.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use naru_client::{BoxError, ClientError, ObjectRef, Resource};
use serde_json::Value;

use super::Cluster;
use crate::plan::{Notice, Write};
use crate::resources::PODS;

/// Writes of one plan that are under way at once.
const CONCURRENT: usize = 64;
/// Writes of all controllers that are under way at once. More would not be done sooner: they would stand in the server's
/// queue before its users, of whom it turns away those that wait too long.
pub(super) const AT_ONCE: usize = 96;
/// Bindings that are under way at once, besides. A set may ask for thousands of pods in one plan; those that are there
/// already must not wait for their node until all others have been made.
pub(super) const BINDINGS_AT_ONCE: usize = 32;
/// How long to wait for one's own writes; beyond it the view is taken as it is, and guards catch what is stale.
const PATIENCE: Duration = Duration::from_secs(10);

/// A plan was not carried out wholly.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The view was stale: look and plan again.
    #[error("{what} has changed meanwhile")]
    Conflict {
        /// What was to be written.
        what: String,
    },
    /// Its namespace ends or has ended: nobody's fault, and nothing that could be tried again.
    #[error("the namespace of what was to be written is on its way out: {what}")]
    Ending {
        /// What was to be written.
        what: String,
    },
    /// A write failed.
    #[error("cannot {what}")]
    Write {
        /// What was to be written.
        what: String,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// Something outside the cluster failed.
    #[error("cannot {what}")]
    Outside {
        /// What was to be done.
        what: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The controller itself is at fault.
    #[error("{what}")]
    Bug {
        /// What happened.
        what: String,
    },
}

/// What to wait for after a write.
enum Expect {
    Nothing,
    Revision(Resource, u64),
    Leaving(Resource, ObjectRef, String),
}

impl Cluster {
    /// Makes all writes, a bounded number at once, then waits until they are visible in the informers.
    ///
    /// # Errors
    /// The gravest failure of a write, if any failed; the others are made nevertheless. Objects to be deleted that are
    /// gone are no error.
    pub async fn apply(&self, writes: Vec<Write>, notices: Vec<Notice>) -> Result<(), ApplyError> {
        for notice in notices {
            self.notices.tell(notice);
        }
        let mut outcome = Ok(());
        let mut expected = Vec::new();
        let mut writing = stream::iter(writes).map(|write| self.write(write)).buffer_unordered(CONCURRENT);
        while let Some(written) = writing.next().await {
            match written {
                Ok(expect) => expected.push(expect),
                Err(error) => {
                    if outcome.as_ref().err().is_none_or(|known: &ApplyError| known.weight() < error.weight()) {
                        outcome = Err(error);
                    }
                }
            }
        }
        let visible = async {
            for expect in &expected {
                self.visible(expect).await;
            }
        };
        if tokio::time::timeout(PATIENCE, visible).await.is_err() {
            tracing::warn!("own writes are not visible yet; going on without them");
        }
        outcome
    }

    async fn write(&self, write: Write) -> Result<Expect, ApplyError> {
        let text = short(&write);
        let sent = {
            // Never closed; without a place it would only be less orderly.
            let binds = matches!(write, Write::Post { .. });
            let _room = if binds { &self.binding } else { &self.writing }.acquire().await;
            self.send(&write).await
        };
        match sent {
            Ok(expect) => Ok(expect),
            Err(error) if error.is_not_found() && matches!(write, Write::Delete { .. }) => Ok(Expect::Nothing),
            // A deletion guarded by uid: a successor of the same name is left alone.
            Err(error) if error.is_conflict() && matches!(write, Write::Delete { .. }) => Ok(Expect::Nothing),
            Err(error) if error.is_conflict() => Err(ApplyError::Conflict { what: text }),
            Err(error) if error.is_already_exists() => Err(ApplyError::Conflict { what: text }),
            Err(error) if is_ending(&error) => Err(ApplyError::Ending { what: text }),
            Err(error) if error.is_not_found() && !matches!(write, Write::Create { .. }) => {
                Err(ApplyError::Conflict { what: text })
            }
            Err(source) => {
                if let Write::Create { object, .. } = &write {
                    self.notices.tell_refused(object, &source);
                }
                Err(ApplyError::Write { what: text, source })
            }
        }
    }

    async fn send(&self, write: &Write) -> Result<Expect, ClientError> {
        let at = |resource: &Resource, key: &ObjectRef| self.client.dynamic(resource.clone(), key.scope());
        let seen = |resource: &Resource, object: &Value| {
            let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
            revision.map_or(Expect::Nothing, |revision| Expect::Revision(resource.clone(), revision))
        };
        Ok(match write {
            Write::Create { resource, namespace, object } => {
                let scope = (!namespace.is_empty()).then_some(namespace.as_str());
                let created = self.client.dynamic(resource.clone(), scope).create(object).await?;
                if *resource == PODS {
                    self.notices.tell_created(&created);
                }
                seen(resource, &created)
            }
            Write::Patch { resource, key, subresource, kind, patch } => {
                let api = at(resource, key);
                let object = match subresource {
                    Some(which) => api.patch_subresource(&key.name, which, *kind, patch).await?,
                    None => api.patch(&key.name, *kind, patch).await?,
                };
                seen(resource, &object)
            }
            Write::Delete { resource, key, options } => {
                at(resource, key).delete(&key.name, options).await?;
                match &options.uid {
                    Some(uid) => Expect::Leaving(resource.clone(), key.clone(), uid.clone()),
                    None => Expect::Nothing,
                }
            }
            Write::Post { resource, key, subresource, body } => {
                at(resource, key).create_subresource(&key.name, subresource, body).await?;
                Expect::Nothing
            }
            Write::Put { resource, key, subresource, body } => {
                at(resource, key).replace_subresource(&key.name, subresource, body).await?;
                Expect::Nothing
            }
        })
    }

    async fn visible(&self, expect: &Expect) {
        match expect {
            Expect::Nothing => {}
            Expect::Revision(resource, revision) => {
                if let Some(followed) = self.followed.get(resource) {
                    followed.reached(*revision).await;
                }
            }
            Expect::Leaving(resource, key, uid) => {
                if let Some(followed) = self.followed.get(resource) {
                    followed.leaving(key, uid).await;
                }
            }
        }
    }
}

// === impl ApplyError ===

impl ApplyError {
    /// What says more about a plan's outcome: an error more than a conflict, and that more than a namespace's end.
    fn weight(&self) -> u8 {
        match self {
            ApplyError::Ending { .. } => 0,
            ApplyError::Conflict { .. } => 1,
            ApplyError::Write { .. } | ApplyError::Outside { .. } | ApplyError::Bug { .. } => 2,
        }
    }
}

/// Whether the server refuses because the namespace is being terminated or is not there.
fn is_ending(error: &ClientError) -> bool {
    let Some(status) = error.status() else { return false };
    status.details.as_ref().is_some_and(|details| {
        let terminating = details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating");
        (status.is_forbidden() && terminating) || (status.is_not_found() && details.kind == "namespaces")
    })
}

/// A write in a few words, for errors.
fn short(write: &Write) -> String {
    let text = write.to_string();
    match text.find('{') {
        Some(end) => text[..end].trim_end().to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use naru_api::Status;
    use serde_json::json;

    use super::*;

    fn refused(code: u16, reason: &str, details: &Value) -> ClientError {
        let body = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "details": details });
        let status = Status::from_json(&body).expect("a status");
        ClientError::Refused { request: "POST /x".into(), status: Box::new(status) }
    }

    #[test]
    fn a_namespace_on_its_way_out_is_told_from_other_refusals() {
        let causes = json!({ "causes": [{ "reason": "NamespaceTerminating", "message": "" }] });
        assert!(is_ending(&refused(403, "Forbidden", &causes)));
        assert!(is_ending(&refused(404, "NotFound", &json!({ "kind": "namespaces", "name": "shop" }))));
        assert!(!is_ending(&refused(403, "Forbidden", &json!({}))));
        assert!(!is_ending(&refused(404, "NotFound", &json!({ "kind": "pods", "name": "web" }))));
    }
}
